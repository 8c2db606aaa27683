"""Train, resume, load, sample, explain: what the command line, the server and the laboratory are made of."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from gannet import bench, describe
from gannet.comparison import Comparison, compare
from gannet.core import registry
from gannet.core.errors import GannetError, UsageError, unknown
from gannet.core.experiment import data_shorthand
from gannet.core.overrides import resolve
from gannet.core.presets import paper_sizes, preset_names, preset_text
from gannet.data.inspect import inspect as inspect_data
from gannet.data.pack import pack
from gannet.engine import distributed
from gannet.engine.assembly import assemble, pick_device
from gannet.evaluation import evaluate
from gannet.explore import directions, interpolate, seeds_of, show
from gannet.gan import GAN
from gannet.metrics import classifiers
from gannet.metrics.inception import convert as convert_inception
from gannet.model import Model, load, sample
from gannet.report import Report, check_ending
from gannet.training import (
    Overrides,
    load_plugins,
    make_scorer,
    memory_errors,
    planned,
    resume,
    set_threads,
    startable,
    train,
)

__all__ = [
    "GAN",
    "Comparison",
    "Model",
    "Report",
    "bench",
    "catalog",
    "check_ending",
    "compare",
    "convert_inception",
    "directions",
    "doctor",
    "dry_run",
    "evaluate",
    "explain",
    "inspect_data",
    "interpolate",
    "load",
    "pack",
    "resume",
    "sample",
    "seeds_of",
    "show",
    "train",
    "train_classifier",
]

KINDS: dict[str, tuple[registry.Registry[Any], ...]] = {
    "tasks": (registry.TASKS,),
    "networks": (registry.GENERATORS, registry.DISCRIMINATORS, registry.TRANSLATORS),
    "objectives": (registry.OBJECTIVES,),
    "regularizers": (registry.REGULARIZERS,),
    "constraints": (registry.CONSTRAINTS,),
    "augment": (registry.AUGMENTATIONS,),
    "opponents": (registry.OPPONENTS,),
    "controllers": (registry.CONTROLLERS,),
    "optimisers": (registry.OPTIMISERS,),
    "data": (registry.SOURCES,),
    "metrics": (registry.METRICS,),
    "extractors": (registry.EXTRACTORS,),
}


def catalog(kind: str) -> list[tuple[str, str]]:
    """Names and one-line descriptions of every part of a kind: presets, tasks, networks, objectives …"""
    if kind == "presets":
        return [(n, preset_text(n).split("\n")[0].lstrip("# ")) for n in (*preset_names(), *paper_sizes())]
    if kind not in KINDS:
        raise UsageError(unknown("list", kind, ["presets", *KINDS]))
    rows = []
    for parts in KINDS[kind]:
        for name in parts.names():
            options = ", ".join(o.shown().replace(" (=", "=").rstrip(")") for o in parts.options(name).values())
            title = f"{name} ({parts.kind})" if len(KINDS[kind]) > 1 else name
            rows.append((title, parts.describe(name) + (f" [{options}]" if options else "")))
    return rows


def explain(preset: str, overrides: Overrides = (), plugins: tuple[str, ...] = ()) -> str:  # type: ignore[assignment]
    """What an experiment is: players, equations, schedules and every value with its origin. Nothing is trained."""
    load_plugins(plugins)
    resolved = resolve(preset, overrides)
    resolved, _, chosen = planned(resolved, measure=False)
    # On the meta device networks have shapes and no numbers: counting a large one's parameters costs nothing.
    game = assemble(resolved.experiment.model_copy(update={"device": "meta"}))
    comments = [line.lstrip("# ") for line in preset_text(preset).splitlines() if line.startswith("#")]
    sections = {
        "": [preset, *(f"  {line}" for line in comments), *describe.composition(game)],
        **({"what the auto-pilot chose, without measuring": chosen.reasons} if chosen.reasons else {}),
        "the game": describe.equations(game),
        "schedules": describe.schedules(game),
        "values": describe.values(resolved, game),
    }
    return "\n\n".join("\n".join([title, *lines] if title else lines) for title, lines in sections.items())


def dry_run(
    preset: str,
    overrides: Overrides = (),  # type: ignore[assignment]
    run: str | Path | None = None,
    plugins: tuple[str, ...] = (),
) -> str:
    """What `train` would do: every value with its origin, the networks, memory and time from a trial of a few steps,
    and where it would write. Nothing is written; whatever `train` would refuse is refused."""
    load_plugins(plugins)
    resolved = resolve(preset, overrides)
    set_threads(resolved.experiment)
    distributed.join(pick_device(resolved.experiment.device))
    with memory_errors(resolved.experiment):
        resolved, source, chosen = planned(resolved)
        experiment = resolved.experiment
        game = assemble(experiment, source)
        startable(game)
        make_scorer(game)
        where = describe.destination(experiment, run)
        lines = [*describe.values(resolved, game), "", *describe.composition(game), "", *chosen.reasons, ""]
        lines += describe.forecast(experiment.stop, describe.trial(game), game.device)
    return "\n".join([*lines, f"writes   {where}/ once it is started without --dry-run; nothing was written now"])


def train_classifier(data: str, out: str | Path) -> dict[str, Any]:
    """Train a classifier on a labelled source, as `data=` names it, and write it to `out` (`.safetensors`, its card
    beside it). `gannet evaluate RUN --extractor "classifier(path='…')"` measures in its features. Returns the card."""
    return classifiers.train_classifier(registry.SOURCES.build(data_shorthand(data), where="data"), out)


def doctor() -> tuple[str, list[GannetError]]:
    """What the machine offers, whether training works on it, and what is wrong."""
    lines, problems = describe.machine(), []
    for look in (describe.data, _self_test):
        try:
            lines += look()
        except GannetError as error:
            problems.append(error)
    return "\n".join(lines), problems


def _self_test() -> list[str]:
    """Train a tiny GAN on the built-in digits in a temporary directory, load it and sample from it."""
    began = time.monotonic()
    short = {"data": "digits", "stop.samples": 640, "stop.minutes": None, "evaluate.metrics": []}
    with tempfile.TemporaryDirectory(prefix="gannet-") as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # alarms about ten steps of training mean nothing
        _, outcome = train("gan", short, Path(directory) / "run")
        pictures = load(Path(directory) / "run").sample(8)
    took = time.monotonic() - began
    return [
        f"test     trained {outcome.samples:,} samples, committed, sampled {len(pictures)} pictures in {took:.1f} s"
    ]
