"""What every test shares: one thread a process, presets made small, a loud skip where a data set is not at hand."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch is imported, and for every process a test starts.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest
import torch

from gannet.core import registry
from gannet.core.experiment import Experiment
from gannet.core.overrides import resolve

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
SMALL = {"width": 4, "max_width": 8, "latent": 4, "layers": 2}
BATCH = 8


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested is said at the end, however quiet pytest is: a skip must not pass for a success."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    told = Counter(r.removeprefix("Skipped: ") for r in reasons if "NOT TESTED" in r)
    if told:
        terminalreporter.section("NOT TESTED", "!", yellow=True)
    for reason, count in told.items():
        terminalreporter.line(f"{reason.removeprefix('NOT TESTED: ')} ({count})", yellow=True)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tiny() -> Callable[..., dict[str, Any]]:
    """`tiny(preset, steps=12, **more)`: overrides that make any preset train `steps` steps of 8 in a blink.

    Further overrides are written with dots as double underscores, as in Python's `GAN`.
    """

    def overrides(preset: str, steps: int = 12, **more: Any) -> dict[str, Any]:
        given = {k.replace("__", "."): v for k, v in more.items()}
        parts = {k: v for k, v in given.items() if k in ("data", "generator", "discriminator")}
        experiment = resolve(preset, parts).experiment
        if str(experiment.data.args.get("path", "")).startswith("./"):  # a folder of somebody's own
            parts["data"] = "digits"
            experiment = resolve(preset, parts).experiment
        found: dict[str, Any] = {**parts, "batch": BATCH, "evaluate.metrics": [], "stop.minutes": None}
        for key in ("generator", "discriminator"):
            found |= {f"{key}.{k}": v for k, v in SMALL.items() if k in _options(experiment, key)}
        if preset == "gan" and "generator" not in parts:
            found["generator.norm"] = "none"  # the tests' smallest game, in which rows do not touch one another
        if "latent" in registry.TASKS.options(experiment.task.name):
            found["task.latent"] = SMALL["latent"]
        if experiment.task.name == "infogan":
            found |= {"task.categories": [2], "task.continuous": 1}
        if "limit" in _options(experiment, "data"):
            found["data.limit"] = 64
        samples = steps * BATCH * repeats(experiment)
        found |= {"stop.samples": samples, "keep.checkpoints": samples // 4, "keep.samples": samples // 2}
        return {**found, "keep.log": samples // steps, **{k: v for k, v in given.items() if k not in parts}}

    return overrides


def repeats(experiment: Experiment) -> int:
    """Turns a step of the first player, whose samples are counted."""
    turns = experiment.players.get("discriminator")
    return (turns.repeats if turns else None) or 1


def _options(experiment: Experiment, key: str) -> set[str]:
    registries = {
        "generator": (registry.GENERATORS, registry.TRANSLATORS),
        "discriminator": (registry.DISCRIMINATORS,),
        "data": (registry.SOURCES,),
    }[key]
    name = getattr(experiment, key).name
    return next(set(r.options(name)) for r in registries if name in r.names())


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("mnist")`: a data set below $GANNET_DATA, or a skip that says what is missing."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("GANNET_DATA", ROOT / ".." / "shared" / "data")) / name
        if not path.exists():
            pytest.skip(f"NOT TESTED: {path} is missing. Set GANNET_DATA to the directory that holds {name}.")
        return path

    return find
