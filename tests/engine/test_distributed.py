"""Several processes are one: the same step, the same rows, one writer, one end."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus
from torch.testing import assert_close

from gannet import api
from gannet.core.overrides import resolve
from gannet.core.types import Clock
from gannet.engine.assembly import assemble
from gannet.engine.run import Run
from gannet.engine.turn import Table

HELPER = Path(__file__).parent / "helpers" / "ranks.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(HELPER)]


# ------------------------------------------------------------------------------------------------------- exactness


@pytest.fixture(scope="module")
def exactness(root):
    spec = importlib.util.spec_from_file_location("exactness", root / "tools" / "exactness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured(exactness):
    return exactness.measure(whole=False)


def test_two_processes_take_the_step_of_one(measured):
    across = measured["2 × 4"]
    assert len(across) > 50
    assert {cell: d for cell, d in across.items() if not d <= 1e-10} == {}


def test_accumulation_takes_it_too_where_rows_are_only_summed(measured, exactness):
    differences = measured["2 × 2 × 2"]
    summed = {cell: d for cell, d in differences.items() if not exactness.mixes_rows(cell)}
    assert {cell: d for cell, d in summed.items() if not d <= 1e-10 and "hinge/average" not in cell} == {}
    mixed = {cell: d for cell, d in differences.items() if exactness.mixes_rows(cell)}
    assert len(mixed) > 10
    assert min(mixed.values()) > 1e-6


def test_under_accumulation_a_batch_mean_is_that_of_the_micro_batch(tiny):
    overrides = tiny("gan", objective="nonsaturating(pairing=average)", precision="fp64", discriminator__dropout=0.0)
    gradients = {}
    for parts in (1, 2):
        game = assemble(resolve("gan", {**overrides, "accumulate": parts, "share": "nothing"}).experiment)
        table, d = Table(game), game.networks["discriminator"]
        before = {k: v.clone() for k, v in d.state_dict().items()}
        report = table.turn("discriminator", game.players["discriminator"], Clock(), None)
        gradients[parts] = [p.grad.clone() for p in d.parameters()]
        if parts == 1:
            whole = report.rounds[0]
    d.load_state_dict(before)

    def loss(rows):
        r, f = (d(side.x.detach()[rows], side.y[rows]).score[0] for side in (whole.real, whole.fake))
        return (softplus(f.mean() - r) + softplus(f - r.mean())).mean()

    halves = torch.autograd.grad((loss(slice(0, 4)) + loss(slice(4, 8))) / 2, list(d.parameters()))
    assert_close(gradients[2], list(halves), rtol=1e-9, atol=1e-14)
    assert_close(
        gradients[1], list(torch.autograd.grad(loss(slice(0, 8)), list(d.parameters()))), rtol=1e-9, atol=1e-14
    )
    assert max(float((a - b).abs().max()) for a, b in zip(gradients[1], gradients[2], strict=True)) > 1e-6


# ------------------------------------------------------------------------------------------------------------ runs


def start(place: Path, *words: str, timeout: int = 120) -> tuple[subprocess.CompletedProcess, float]:
    # torchrun leaves a folder of its own wherever temporary files go.
    quiet = {"OMP_NUM_THREADS": "1", "GANNET_TIMEOUT": "20", "PYTHONWARNINGS": "ignore", "TMPDIR": str(place)}
    environment = {**os.environ, **quiet}
    began = time.monotonic()
    done = subprocess.run(
        [*TORCHRUN, str(place), *words], env=environment, capture_output=True, text=True, timeout=timeout
    )
    return done, time.monotonic() - began


@pytest.fixture(scope="module")
def together(tiny, tmp_path_factory):
    """Everything two processes did in one launch."""
    place = tmp_path_factory.mktemp("together")
    done, _ = start(place, json.dumps(tiny("gan", precision="fp64")), json.dumps(tiny("quick")))
    assert done.returncode == 0, done.stderr[-4000:]
    return place


def told(place, name, rank):
    return json.loads((place / f"{name}-{rank}.json").read_text())


def test_one_writer_and_the_samples_of_one_process(together, tiny, place, no_plots, last_commit, records):
    alone, _ = api.train("gan", tiny("gan", precision="fp64"), place("alone"))
    two = Run.open(together / "straight")
    assert told(together, "straight", 0) == told(together, "straight", 1) == {"reason": "samples", "samples": 96}
    (expected, state), (found, found_state) = last_commit(alone), last_commit(two)
    assert found_state["cursors"] == state["cursors"]
    for key, tensor in expected.items():
        if not key.startswith("training"):  # Adam's second moments amplify rounding where a gradient is near 0
            assert_close(found[key], tensor, rtol=1e-6, atol=1e-9)
    assert [r["kind"] for r in records(two)] == [r["kind"] for r in records(alone)]
    assert json.loads(two.environment.read_text())["world_size"] == 2


def test_a_resume_of_two_processes_is_bit_for_bit_the_run_that_was_not_broken_off(together, assert_same_run):
    assert_same_run(Run.open(together / "straight"), Run.open(together / "broken"))


def test_processes_with_different_experiments_refuse_to_start(together):
    texts = [told(together, "differ", rank)["text"] for rank in (0, 1)]
    assert texts[0] == texts[1]
    assert "process 1 differs from process 0 in experiment" in texts[0]
    assert not (together / "differ" / "experiment.yaml").exists()


def test_a_signal_to_one_stops_all_at_the_same_step_with_a_commit(together, last_commit):
    one, other = (told(together, "stopped", rank) for rank in (0, 1))
    assert one["samples"] == other["samples"] == 48  # it came within the fifth step; the sixth carries the wish
    assert (one["reason"], one["signal"]) == ("signal", None)
    assert (other["reason"], other["signal"]) == ("signal", 15)
    assert last_commit(Run.open(together / "stopped"))[1]["samples"] == 48


def test_a_target_only_the_writer_knows_of_stops_all(together, records):
    assert told(together, "target", 0) == told(together, "target", 1) == {"samples": 24}
    assert records(Run.open(together / "target"))[-1]["reason"] == "target"


def test_averages_keep_their_statistics_where_one_process_knows_which_is_the_better(together):
    one, other = (told(together, "averages", rank) for rank in (0, 1))
    assert (one["order"], other["order"]) == ([64, 8], [8, 64])
    assert one["found"] == other["found"]
    assert one["found"]["8"] != one["found"]["64"]
    assert len(one["found"]["8"]) > 0


def test_a_process_that_dies_ends_the_run_within_a_minute_with_its_cause(tiny, place, last_commit):
    folder = place("dying")
    folder.mkdir()
    done, took = start(folder, json.dumps(tiny("gan")), "die")
    assert done.returncode != 0
    assert took < 60
    assert "SIGKILL" in done.stderr or "Signal 9" in done.stderr
    assert "nobody noticed" not in done.stderr
    assert last_commit(Run.open(folder / "die"))[1]["samples"] == 24
