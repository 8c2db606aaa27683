"""SIGKILL at random moments: what is resumed until it is done is bit for bit what was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gannet import api
from gannet.core.errors import UsageError
from gannet.engine.run import Run

pytestmark = [
    pytest.mark.usefixtures("no_plots"),
    pytest.mark.filterwarnings("ignore"),
]
HELPER = Path(__file__).parent / "helpers" / "train.py"
KILLS = 3
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def start(run: Path, preset: str, overrides: dict) -> subprocess.Popen:
    """A process that trains, from the moment it has imported everything."""
    words = [sys.executable, str(HELPER), str(run), preset, json.dumps(overrides)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


@pytest.mark.parametrize("preset", ["quick", "wgan-gp", "cycle-mini"])
def test_killed_at_random_moments_it_ends_with_the_same_bits(preset, tiny, place, assert_same_run):
    overrides = {**tiny(preset, steps=24), "keep.checkpoints": 8}
    began = time.monotonic()
    straight, _ = api.train(preset, overrides, place("straight"))
    took = time.monotonic() - began
    moments = random.Random(preset)
    killed = 0
    for _ in range(KILLS):
        with start(place("run"), preset, overrides) as process:
            time.sleep(moments.uniform(0.1, 0.9) * took)
            process.kill()
            killed += process.wait() == -signal.SIGKILL
    assert killed > 0
    with start(place("run"), preset, overrides) as process:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert_same_run(straight, Run.open(place("run")))
    assert not list((place("run") / "checkpoints").glob(".tmp-*"))


def test_a_run_in_use_cannot_be_resumed_by_another_process(tiny, place, refused):
    with start(place("run"), "gan", tiny("gan", steps=100_000)) as process:
        deadline = time.monotonic() + 30
        while not (place("run") / "checkpoints" / "latest.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        text = refused(UsageError, api.resume, place("run"))
        assert f"process {process.pid}" in text
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert Run.open(place("run")).read_log()[-1]["reason"] == "signal"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_takes_no_files_is_refused_before_training(tiny, place, refused):
    place("locked").mkdir(mode=0o500)
    assert "Nothing can be written" in refused(UsageError, api.train, "gan", tiny("gan"), place("locked") / "run")
