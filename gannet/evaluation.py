"""Measuring samples against reals: of a run's checkpoints, of image files, of arrays."""

from __future__ import annotations

import re
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from gannet.core.errors import CheckpointError, DataError, UsageError, unknown
from gannet.core.experiment import Experiment, data_shorthand
from gannet.core.overrides import resolve
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.core.types import Source
from gannet.data.array import ArraySource
from gannet.engine.console import Console, Silent
from gannet.engine.run import Run
from gannet.fakes import Fakes, all_rows, check_shape, find, lossy, lossy_source, of_rows, of_run, opened, rows_at
from gannet.gan import IN_MEMORY
from gannet.metrics.defaults import most_rows
from gannet.metrics.evaluator import CHUNK, REPORTED, Evaluator
from gannet.metrics.intervals import DRAWS, Spread
from gannet.metrics.naming import source_name
from gannet.model import Model, load
from gannet.ranking import picture_ranking
from gannet.report import Column, Report, Row, Value

Which = Literal["last", "best", "both"]
WHICH = ("last", "best", "both")
SPLITS = ("train", "test")
MOST_SEEDS = 100


def evaluate(
    what: str | Path | np.ndarray,
    ref: str | Source | tuple[Source, str] | None = None,
    metrics: Sequence[Spec | str] | None = None,
    n: int | None = None,
    seeds: int = 3,
    which: Which = "both",
    extractor: Spec | str | None = None,
    console: Console | None = None,
    kept: str | Path | None = None,
    ranking: str | Path | None = None,
) -> Report:
    """Measure a run, a folder or zip of images, a `.npy` file or an array of samples against `n` reals.

    `ref` is "SOURCE:split" (`test` where the split is left out), a source, or a source and a split; a run is compared
    with the test rows of its own data by default. `metrics` and `extractor` are chosen by the data when left out. A run
    is sampled with `seeds` seeds, its last and its best checkpoint; files and arrays are one set, so they have none.
    `kept` is a file for the reference's features, as `Evaluator` says; `ranking` a picture to write, of the most and
    the least realistic samples of the first checkpoint measured.

    Arrays are as `gannet sample` writes them: bytes N×H×W×C or points `[N, D]`. Raises `UsageError` for what cannot be
    asked, `DataError` for data that is missing or of another shape, `CheckpointError` for a checkpoint that is.
    """
    if which not in WHICH:
        raise UsageError(unknown("choice of checkpoint", which, WHICH, "which"))
    if not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds={seeds}: allowed are 1 to {MOST_SEEDS}.")
    path = None if isinstance(what, np.ndarray) else find(what)
    run = opened(path) if path else None
    source, split, shown = reference(ref, run)
    rows = None
    if run is None:
        rows = _rows(what if path is None else path, source, shown)
    most = len(rows) if rows is not None else REPORTED
    if n is not None and n > most and rows is not None:
        raise UsageError(f"n={n}; {_named(what)} has {most:,} samples. Use n from 1 to {most}.")
    progress = _Progress(console or Silent())
    count = n if n is not None or rows is None else max(1, min(most, REPORTED, most_rows(source, split)))
    judge = Evaluator(source, split, extractor, metrics, count, report=True, kept=kept, tell=progress.chunk)
    notes = [
        f"{key} is left out: at n={judge.n} most of it would be bias; it needs {needs} samples a side."
        for key, needs in judge.left_out.items()
    ]
    if run is None:
        assert rows is not None
        sets = [of_rows(_named(what), rows)]
        if path and lossy(path) != _lossy_reference(ref):
            warnings.warn(
                f"{path} and the reference are not both lossless: JPEG and WebP leave marks that distances see. "
                f"Write samples as PNG."
            )
    else:
        sets, more = _checkpoints(run, which, source, shown, judge)
        notes += more
    with progress.over(judge, len({one.said for one in sets}), seeds if run else 1):
        columns, found = [], {}
        values: dict[str, dict[str, Value]] = {}
        for one in sets:  # two names may say one checkpoint, which is measured once
            columns.append(Column(one.name, _seeded(one, seeds)))
            if one.said not in values:
                values[one.said] = _measured(judge, one, seeds if one.seeds else 1, progress)
            found[one.name] = values[one.said]
        if ranking is not None:
            picture_ranking(judge, sets[0].generate(0), Path(ranking))
            notes.append(f"{ranking}: the most realistic samples of {sets[0].name} above, the least below.")
        floor: dict[str, float] = {}
        if most_rows(source, split) >= judge.n:
            floor = judge.floor()
        else:
            notes.append(f"no floor: no {judge.n:,} further reals are left; n={most_rows(source, split)} has one.")
    table = tuple(
        Row(key, m.better, m.unit, judge.protocol[key], floor.get(key), {name: v[key] for name, v in found.items()})
        for key, m in judge.metrics.items()
    )
    return Report(_named(what), shown, judge.n, seeds if run else 1, tuple(columns), table, tuple(notes))


def _seeded(one: Fakes, seeds: int) -> str:
    if not one.seeds:
        return one.said
    return f"{one.said},seeds=0…{seeds - 1}" if seeds > 1 else f"{one.said},seed=0"


def _measured(judge: Evaluator, one: Fakes, seeds: int, progress: _Progress) -> dict[str, Value]:
    """Every metric of one set of samples: over its seeds, with the interval of the first."""
    scores: list[dict[str, float]] = []
    spreads: dict[str, Spread] = {}
    for seed in range(seeds):
        arrays = judge.read(one.generate(seed), one.walk(seed) if one.walk else None)
        scores.append(judge.measure(arrays))
        spreads = spreads or judge.spreads(arrays, progress.steps)
    found = {}
    for key in judge.metrics:
        values, spread = tuple(score[key] for score in scores), spreads.get(key)
        found[key] = Value(
            value=statistics.fmean(values),
            interval=spread.half if spread else None,
            draws=spread.draws if spread else None,
            sd=statistics.stdev(values) if seeds > 1 else None,
            seeds=values,
        )
    return found


def _checkpoints(run: Run, which: Which, source: Source, shown: str, judge: Evaluator) -> tuple[list[Fakes], list[str]]:
    """The checkpoints asked for as sets of samples, and what to say of how the best was chosen."""
    models: dict[str, Model] = {}
    notes = []
    if which in ("last", "both"):
        models["last"] = load(run.path)
    if which == "best" or (which == "both" and (run.checkpoints / "best.json").exists()):
        models["best"] = load(run.path, "best")
        chosen = next(iter(run.facts().get("protocols", {}).values()), "a score that was not recorded")
        notes.append(f"best was chosen in training by {chosen}.")
    elif which == "both":
        notes.append("there is no best checkpoint, as no scores were taken in training.")
    if len(models) == 2 and models["last"].checkpoint == models["best"].checkpoint:
        notes.append("the best checkpoint is the last one.")
    sets = []
    for name, model in models.items():
        check_shape(str(run.path), model.data, source.spec, shown)
        alike = model.data.names == source.spec.names and model.data.classes == source.spec.classes
        sets.append(of_run(name, model, judge.labels if alike else lambda: None, source.spec))
    return sets, notes


def _rows(what: Any, source: Source, shown: str) -> torch.Tensor:
    if isinstance(what, Path):
        return rows_at(what, source.spec, shown)
    found = ArraySource.from_arrays(what, scale="none")
    check_shape("the array", found.spec, source.spec, shown)
    return source.spec.x.standardised(all_rows(found))


def _named(what: Any) -> str:
    return "the array" if isinstance(what, np.ndarray) else str(find(what))


# ------------------------------------------------------------------------------------------------------ references


def reference(ref: str | Source | tuple[Source, str] | None, run: Run | None) -> tuple[Source, str, str]:
    """Source, split and name of what samples are compared with."""
    if isinstance(ref, str):
        spec, split = parse_reference(ref)
        return SOURCES.build(spec, where="ref"), split, f"{spec}:{split}"
    if ref is not None:
        source, split = ref if isinstance(ref, tuple) else (ref, "test")
        if split not in SPLITS:
            raise UsageError(unknown("split", split, SPLITS, "ref"))
        return source, split, f"{source_name(source)}:{split}"
    if run is None:
        raise UsageError("these samples say nothing of what they should look like. Say it: --ref digits:test.")
    return _own(run), "test", f"{resolve(str(run.experiment)).experiment.data}:test"


def parse_reference(text: str) -> tuple[Spec, str]:
    """`digits:test`, `mnist(size=32):train`, `./faces:test`, and without a split its test rows. Raises `UsageError`."""
    found = re.fullmatch(r"(.*?)(?::([\w-]*))?", text.strip(), re.DOTALL)
    assert found is not None
    name, split = found[1], "test" if found[2] is None else found[2]
    if not name or not split:
        raise UsageError(f"ref: '{text}' is no reference. Write SOURCE:split, as in digits:test or ./faces:train.")
    if split not in SPLITS:
        raise UsageError(unknown("split", split, SPLITS, f"ref '{text}'"))
    return data_shorthand(name), split


def _own(run: Run) -> Source:
    """The data a run was trained on. Raises `DataError` where it is not there or not the same any more."""
    experiment: Experiment = resolve(str(run.experiment)).experiment
    mend = "Restore it, or choose a reference: --ref SOURCE:split."
    if experiment.data.args.get("path") == IN_MEMORY:
        raise UsageError(f"{run.path} was trained on arrays that no file holds. Give them again: ref=source.")
    try:
        source: Source = SOURCES.build(experiment.data, where="data")
    except DataError as error:
        raise DataError(f"the data of {run.path} cannot be read: {error} {mend}") from None
    try:
        recorded = run.facts()["data"]["fingerprint"]
    except KeyError:
        raise CheckpointError(f"{run.environment} does not say what the run was trained on.") from None
    if source.fingerprint() != recorded:
        raise DataError(
            f"{experiment.data} is not the data {run.path} was trained on (fingerprint {recorded}, now "
            f"{source.fingerprint()}). {mend}"
        )
    return source


def _lossy_reference(ref: Any) -> bool:
    return isinstance(ref, str) and lossy_source(parse_reference(ref)[0])


# -------------------------------------------------------------------------------------------------------- progress


class _Progress:
    """One bar for everything: a step is a chunk of samples judged, or a draw of an interval."""

    def __init__(self, console: Console):
        self.console, self.done = console, 0

    def chunk(self, rows: int) -> None:
        self.steps(1)

    def steps(self, count: int) -> None:
        self.done += count
        self.console.update({"samples": self.done})

    def over(self, judge: Evaluator, sets: int, seeds: int) -> _Progress:
        chunks = -(-judge.n // CHUNK)
        self.console.start(sets * (seeds * chunks + DRAWS * len(judge.metrics)) + 2 * chunks, "steps")
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *caught: object) -> None:
        self.console.stop()
