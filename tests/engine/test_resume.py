"""A run that is broken off and resumed is the run that was not: the same bits, the same lines."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from gannet import api
from gannet.core.errors import CheckpointError, DataError, UsageError
from gannet.core.overrides import resolve
from gannet.core.presets import preset_names
from gannet.engine import checkpoint
from gannet.engine.assembly import assemble
from gannet.metrics.evaluator import Evaluator

pytestmark = [
    pytest.mark.usefixtures("no_plots"),
    pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead"),
]

BREAKS = ((0, "discriminator"), (4, "generator"), (5, "discriminator"), (9, "generator"), (11, "discriminator"))
"""Before the first step, inside steps, right before and right after a checkpoint (every third step)."""

SCORED = {"metrics": ["frechet"], "n": 16, "every": "10%"}  # not by the clock, which no two runs share
BEYOND = {
    "lecam": ("hinge", {"regularizers": "lecam(warmup=3)"}),
    "lazy": ("quick", {"regularizers.r1.every": 3, "regularizers.r2.every": 3}),
    "dropout": ("hinge", {"discriminator.dropout": 0.3, "generator.dropout": 0.2}),
    "augmented": ("quick", {"augment": "diffaugment"}),
    "accumulated": ("wgan-gp", {"accumulate": 2, "share": "nothing"}),
    "low precision": ("quick", {"precision": "bf16"}),
    "double precision": ("gan", {"precision": "fp64"}),
    "batch norm in both": ("lsgan", {"share": "nothing"}),
    "late generator": ("gan", {"players": {"generator": {"start": "50%"}, "discriminator": {"until": "75%"}}}),
    "two generator turns": ("gan", {"players": {"generator": {"repeats": 2}}}),
    "scored": ("gan", {"evaluate": {**SCORED, "every": 16}}),
    "several averages": ("gan", {"evaluate": {**SCORED, "every": 16}, "ema": {"halflife": [64, 8, 24], "ramp": None}}),
    "pools in another memory layout": ("cycle-mini", {"channels_last": False}),
    "steered": (
        "quick",
        {
            "controllers": "[steer-penalty(low=0.9, ahead=0.999, runaway=0.9, patience=1), "
            "steer-augmentation(patience=2, target=0.3, step=0.3), steer-rate(low=0.9, high=0.95, patience=3)]",
            "augment": "diffaugment",
        },
    ),
    "rolled back": ("quick", {"controllers": "[rollback(spread=0.99, patience=2, times=2)]"}),
    "weight penalties": ("gan", {"regularizers": "[orthogonal, l2, centering]", "clip.generator": 0.5}),
}
CASES = {name: (name, {}) for name in preset_names()} | BEYOND


@pytest.mark.parametrize("name", CASES)
def test_broken_off_five_times_is_bit_for_bit_the_run_that_was_not(name, tiny, place, broken_at, assert_same_run):
    preset, more = CASES[name]
    overrides = {**tiny(preset), **more}
    straight, _ = api.train(preset, overrides, place("straight"))
    players = list(assemble(resolve(preset, overrides).experiment).players)
    for number, (step, who) in enumerate(BREAKS):
        player = players[0] if who == "discriminator" else players[-1]
        if name == "late generator" and step in (4, 11):
            player = "discriminator" if step == 4 else "generator"
        with broken_at(step, player):
            if number == 0:
                api.train(preset, overrides, place("broken"))
            else:
                api.resume(place("broken"))
    broken, outcome = api.resume(place("broken"))
    assert outcome.reason == "samples"
    assert_same_run(straight, broken)


def test_the_comparison_sees_a_single_changed_setting(tiny, place, assert_same_run):
    one, _ = api.train("quick", tiny("quick", steps=4), place("one"))
    other, _ = api.train("quick", tiny("quick", steps=4, optim__generator__betas=[0, 0.991]), place("other"))
    with pytest.raises(AssertionError):
        assert_same_run(one, other)


def test_the_log_has_every_line_once(tiny, place, broken_at, records):
    with broken_at(7, "generator"):
        api.train("gan", tiny("gan"), place("run"))
    run, _ = api.resume(place("run"))
    lines = records(run)
    assert [r["step"] for r in lines if r["kind"] == "step"] == list(range(1, 13))
    assert [r["samples"] for r in lines if r["kind"] == "sample"] == [48, 96]
    assert [r["kind"] for r in lines].count("note") == 1
    assert lines[-1] == {"kind": "stop", "samples": 96, "step": 12, "reason": "samples"}


def test_a_finished_run_is_left_as_it_is(tiny, place, records, last_commit, refused):
    run, _ = api.train("gan", tiny("gan", evaluate=SCORED), place("run"))
    before, lines = last_commit(run), records(run)
    assert "is finished" in refused(UsageError, api.resume, run.path)
    after = last_commit(run)
    assert after[1] == before[1]
    assert all(after[0][k].equal(t) for k, t in before[0].items())
    assert records(run) == lines


def test_a_kill_between_the_last_commit_and_the_stop_line_repeats_nothing(tiny, place, assert_same_run):
    straight, _ = api.train("gan", tiny("gan", evaluate=SCORED), place("straight"))
    run, _ = api.train("gan", tiny("gan", evaluate=SCORED), place("run"))
    lines = run.log.read_text().splitlines(keepends=True)
    assert '"stop"' in lines[-1]
    run.log.write_text("".join(lines[:-1]))
    api.resume(run.path)
    assert_same_run(straight, run)


def test_a_longer_stop_keeps_the_recorded_schedules(tiny, place):
    decay = 'adam(lr=linear(1e-3, 1e-4, over="100%"))'
    run, _ = api.train("gan", tiny("gan", optim__generator=decay), place("run"))
    _, outcome = api.resume(run.path, {"stop.samples": 160})
    assert outcome.samples == 160
    state = checkpoint.latest(run.checkpoints).state
    assert (state["samples"], state["planned"], state["total"]) == (160, 160, 96)


def test_a_longer_stop_is_the_run_that_was_planned_longer_where_nothing_is_scheduled(
    tiny, place, assert_same_run, last_commit
):
    long = tiny("gan", steps=24, ema__ramp=None)
    whole, _ = api.train("gan", long, place("whole"))
    run, _ = api.train("gan", {**long, "stop.samples": 96}, place("run"))
    api.resume(run.path, {"stop.samples": 192})
    (expected, _), (found, _) = last_commit(whole), last_commit(run)
    assert all(found[k].equal(t) for k, t in expected.items())


@pytest.mark.parametrize("key", ["batch", "seed", "optim.generator.lr", "from", "evaluate.n"])
def test_what_would_make_it_another_run_is_refused_with_the_way_out(key, tiny, place, refused):
    run, _ = api.train("gan", tiny("gan", steps=2), place("run"))
    text = refused(UsageError, api.resume, run.path, {key: 4})
    assert key in text
    assert "allowed: stop" in text
    assert f"from={run.path}" in text


def test_other_data_is_refused(tiny, place, refused):
    run, _ = api.train("gan", tiny("gan", steps=2), place("run"))
    facts = json.loads(run.environment.read_text())
    facts["data"]["fingerprint"] = "0" * 16
    run.environment.write_text(json.dumps(facts))
    assert "other data" in refused(DataError, api.resume, run.path)


def test_data_that_was_moved_is_named_anew_once(tiny, place, tmp_path, refused, last_commit):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    old, new, other = (tmp_path / f"{name}.npy" for name in ("old", "new", "other"))
    np.save(old, images)
    np.save(other, 255 - images)
    overrides = tiny("gan", steps=4, data=f"array(path='{old}')")
    whole, _ = api.train("gan", {**overrides, "stop.samples": 64}, place("whole"))
    run, _ = api.train("gan", overrides, place("run"))
    old.rename(new)
    said = refused(DataError, api.resume, run.path, {"stop.samples": 48})
    assert f"{old} is not a file" in said
    assert f"gannet resume {run.path} data.path=WHERE" in said
    before = run.experiment.read_text()
    assert "other data" in refused(DataError, api.resume, run.path, {"data.path": str(other), "stop.samples": 48})
    assert run.experiment.read_text() == before
    api.resume(run.path, {"data.path": str(new), "stop.samples": 48})
    assert str(new) in run.experiment.read_text()
    api.resume(run.path, {"stop.samples": 64})
    (expected, _), (found, _) = last_commit(whole), last_commit(run)
    assert all(found[k].equal(t) for k, t in expected.items())


def test_weights_of_another_architecture_are_listed(tiny, place, refused):
    run, _ = api.train("gan", tiny("gan", steps=2), place("run"))
    text = run.experiment.read_text()
    assert "width=4" in text
    run.experiment.write_text(text.replace("width=4", "width=5").replace("layers=2", "layers=1"))
    said = refused(CheckpointError, api.resume, run.path, {"stop.samples": 64})
    assert "shape" in said
    assert "needed (5," in said
    assert "unexpected" in said


def test_a_new_run_can_begin_from_the_weights_of_another(tiny, place, last_commit, refused):
    first, _ = api.train("gan", tiny("gan", steps=4), place("first"))
    second, _ = api.train(
        "gan", tiny("gan", steps=4, **{"from": str(first.path), "seed": 5, "stop__samples": 0}), place("second")
    )
    old, new = last_commit(first)[0], last_commit(second)[0]
    weights = [k for k in old if k.startswith("weights/")]
    assert weights
    assert all(old[k].equal(new[k]) for k in weights)
    other = tiny("gan", steps=4, **{"from": str(first.path), "generator__width": 5})
    assert "generator" in refused(CheckpointError, api.train, "gan", other, place("third"))


def test_a_damaged_newest_checkpoint_is_put_aside_and_the_end_is_the_same(tiny, place, assert_same_run, broken_at):
    straight, _ = api.train("gan", tiny("gan"), place("straight"))
    with broken_at(8, "generator"):
        api.train("gan", tiny("gan"), place("run"))
    newest = checkpoint.latest(place("run") / "checkpoints").path
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="damaged|cut off"):
        run, _ = api.resume(place("run"))
    assert_same_run(straight, run)
    assert (newest.with_name(newest.name + ".corrupt")).is_dir()


def test_the_best_checkpoint_survives_a_resume_from_itself(tiny, place, monkeypatch):
    """It was committed before it could know its own name."""
    scores = iter([1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(Evaluator, "score", lambda self, generate: {self.primary: next(scores)})
    run, outcome = api.train("gan", tiny("gan", evaluate={**SCORED, "every": "100%"}, keep__newest=1), place("run"))
    assert outcome.best["samples"] == 96
    (run.checkpoints / "best.json").unlink()  # a kill between the commit and the pointer
    _, later = api.resume(run.path, {"stop.samples": 192})
    assert later.best["samples"] == 96
    assert checkpoint.latest(run.checkpoints).state["samples"] == 192
    best = checkpoint.read(run.checkpoints / checkpoint.pointed(run.checkpoints, "best"))
    assert best.state["samples"] == 96


def test_a_run_that_lost_its_checkpoints_says_so(tiny, place, refused):
    run, _ = api.train("gan", tiny("gan", steps=2), place("run"))
    shutil.rmtree(run.checkpoints)
    assert "no usable checkpoint" in refused(CheckpointError, api.resume, run.path)
