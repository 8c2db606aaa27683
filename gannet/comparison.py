"""Runs side by side, from their directories alone: scores, speed, settings that differ, curves and samples."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.registry import EXTRACTORS, METRICS
from gannet.core.spec import Spec, render
from gannet.engine.console import Console
from gannet.engine.run import Run
from gannet.evaluation import evaluate
from gannet.fakes import find
from gannet.report import ARROWS, SCHEMA, Report, Value, cell, figure, table

LEAST = 2
MOST = 12
"""More runs than can be told apart by colour on one page."""
LEGEND = "±: 95 % interval over samples of one seed; sd: standard deviation over three sampling seeds."
NOT_SETTINGS = ("preset", "seed", "keep", "log", "profile")
"""Keys of an experiment that are told elsewhere, or say nothing of the method."""


@dataclass(frozen=True)
class Side:
    """One run: its `name` on the page, facts from its directory, scores at its last and its best checkpoint."""

    name: str
    path: str
    preset: str
    seed: int
    samples: int
    minutes: float
    images_per_second: float | None
    parameters: int
    last: dict[str, Value]
    best: dict[str, Value]
    settings: dict[str, str] = field(repr=False)
    log: list[dict[str, Any]] = field(repr=False)
    grid: Path | None = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: a `Side` a run, the better direction and the protocol of every metric, notes."""

    sides: tuple[Side, ...]
    better: dict[str, str]
    protocols: dict[str, str]
    curves: tuple[str, ...] = ()
    """Metrics whose scores in the logs compare."""
    notes: tuple[str, ...] = ()

    def facts(self) -> list[list[str]]:
        """What every run came to, a row a fact, a head with the names of the runs above them."""
        rows = [["", *(side.name for side in self.sides)]]
        for metric in self.protocols:
            arrow = ARROWS.get(self.better.get(metric, ""), "")
            rows.append([f"{metric} {arrow} last", *(cell(side.last.get(metric)) for side in self.sides)])
            rows.append([f"{metric} {arrow} best", *(cell(side.best.get(metric)) for side in self.sides)])
        shown: dict[str, Callable[[Side], str]] = {
            "samples": lambda side: f"{side.samples:,}",
            "samples/s": lambda side: figure(side.images_per_second),
            "minutes": lambda side: figure(round(side.minutes, 2)),
            "parameters": lambda side: f"{side.parameters:,}",
            "preset": lambda side: side.preset,
            "seed": lambda side: str(side.seed),
        }
        return [*rows, *([name, *map(show, self.sides)] for name, show in shown.items())]

    def differences(self) -> list[list[str]]:
        """The settings that are not the same in all runs, a row a key, a head above them; empty if there are none."""
        keys = list(dict.fromkeys(key for side in self.sides for key in side.settings))
        rows = [[key, *(side.settings.get(key, "–") for side in self.sides)] for key in keys]
        rows = [row for row in rows if len(set(row[1:])) > 1]
        return [["setting", *(side.name for side in self.sides)], *rows] if rows else []

    def to_json(self) -> str:
        """JSON with a stable schema: `docs/metrics.md` names its keys."""
        left = ("settings", "log", "grid")
        sides = [
            {
                f.name: {k: dataclasses.asdict(v) for k, v in value.items()} if isinstance(value, dict) else value
                for f in dataclasses.fields(side)
                if f.name not in left
                for value in [getattr(side, f.name)]
            }
            for side in self.sides
        ]
        differences = self.differences()[1:]
        content = {
            "schema": SCHEMA,
            "gannet": version("gannet"),
            "runs": sides,
            "differences": {key: values for key, *values in differences},
            "better": self.better,
            "protocols": self.protocols,
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | Path) -> Path:
        """Write one self-contained page, `FILE.html`, or a picture, `FILE.png`. Raises `UsageError` for another."""
        from gannet import comparison_page

        return comparison_page.save(self, path)

    def __str__(self) -> str:
        differences = self.differences()
        parts = [table(self.facts()), *([table(differences)] if differences else [])]
        parts += [f"note: {note}" for note in self.notes]
        return "\n".join(
            [*parts, *(["protocols:", *(f"  {p}" for p in self.protocols.values())] * bool(self.protocols))]
        )


def compare(
    runs: Sequence[str | Path],
    n: int | None = None,
    scores: bool = True,
    console: Console | None = None,
    metrics: Sequence[Spec | str] | None = None,
    extractor: Spec | str | None = None,
) -> Comparison:
    """Put runs side by side, with the scores their training took; with `n`, `metrics` or an `extractor`, all measured
    anew on test rows, the rest of it as `evaluate` chooses.

    Without `scores` the logs are enough, whatever the runs were trained on. Raises `UsageError` for fewer than two
    runs, for one that comes twice, and for scores that do not compare: of other data, extractors or protocols.
    """
    anew = any(asked is not None for asked in (n, metrics, extractor))
    if anew and not scores:
        raise UsageError("scores are asked for and left out: leave out --no-scores, or --n, --metrics and --extractor.")
    found = [Run.open(find(run)) for run in runs]
    paths = [run.path.resolve() for run in found]
    twice = [f"{run.path} is there twice" for run, path in zip(found, paths, strict=True) if paths.count(path) > 1]
    if twice or not LEAST <= len(found) <= MOST:
        what = (twice or [f"{len(found)} given"])[0]
        raise UsageError(
            f"{what}: give {LEAST} to {MOST} different runs, as in gannet compare runs/0001-a runs/0002-b."
        )
    notes: list[str] = []
    protocols: dict[str, str] = {}
    better: dict[str, str] = {}
    curves: tuple[str, ...] = ()
    measured = [_logged(run) for run in found]
    if scores:
        kept = {run: run.facts().get("protocols", {}) for run in found}
        _same_data([run for run in found if kept[run] or anew])
        try:
            protocols = _agreed({run: taken for run, taken in kept.items() if taken})
        except UsageError:
            if not anew:
                raise
        curves = tuple(protocols)
    if anew:
        reports = [evaluate(run.path, metrics=metrics, n=n, extractor=extractor, console=console) for run in found]
        protocols = {row.metric: row.protocol for row in reports[0].rows}
        better = {row.metric: row.better for row in reports[0].rows}
        measured = [_measured(report) for report in reports]
        notes.append(LEGEND)
    elif protocols:
        better = _directions(protocols)
        notes.append("scores as training took them; --n measures anew on test rows.")
        if len({json.dumps(taken) for taken in kept.values() if taken}) > 1:
            notes.append("their reference rows were drawn with different seeds; --n compares with the same rows.")
            protocols = {metric: _but_seed(protocol) for metric, protocol in protocols.items()}
    sides = [_side(run, name, *pair) for run, name, pair in zip(found, _short_names(found), measured, strict=True)]
    return Comparison(tuple(sides), better, protocols, curves, tuple(notes))


# --------------------------------------------------------------------------------------------------- what compares


def _same_data(runs: list[Run]) -> None:
    """Raises `UsageError` where runs were trained on different data."""
    kept = {run.path: run.facts().get("data", {}) for run in runs}
    for what, key in (("classes", "names"), ("data", "fingerprint")):
        values = {path: facts.get(key) for path, facts in kept.items()}
        if len({json.dumps(value) for value in values.values()}) > 1:
            told = "; ".join(f"{path}: {_listed(value)}" for path, value in values.items())
            raise UsageError(
                f"scores do not compare, as the {what} of these runs differ ({told}). Compare runs of the same data, "
                f"or without scores: --no-scores."
            )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _agreed(tables: dict[Run, dict[str, str]]) -> dict[str, str]:
    """The protocols all runs have in common. Raises `UsageError` where one metric was taken in two ways, or the first
    metrics are others."""
    shared: dict[str, str] = {}
    for run, taken in tables.items():
        for metric, protocol in taken.items():
            known = shared.setdefault(metric, protocol)
            if _but_seed(known) != _but_seed(protocol):
                first = next(r for r, t in tables.items() if metric in t)
                raise UsageError(
                    f"scores do not compare, as {metric} was taken in two ways: {known} by {first.path}, {protocol} by "
                    f"{run.path}. Measure all alike with --n 2000, or compare without scores: --no-scores."
                )
    common = {m: p for m, p in shared.items() if all(m in table for table in tables.values())}
    if tables and not common:
        told = "; ".join(f"{run.path}: {', '.join(table)}" for run, table in tables.items())
        raise UsageError(
            f"these runs have no score in common ({told}). Measure all alike with --n 2000, or compare without "
            f"scores: --no-scores."
        )
    return common


def _but_seed(protocol: str) -> str:
    """A protocol without the seed its reference rows were drawn with: other rows of one split are as good."""
    return re.sub(r",seed=\d+(?=[\],])", "", protocol)


def _directions(protocols: dict[str, str]) -> dict[str, str]:
    """Which direction is better, of the metrics that are known here."""
    known = {name: METRICS.get(name).better for name in METRICS.names()}
    known |= {
        METRICS.get(name).symbol: better for name, better in known.items() if hasattr(METRICS.get(name), "symbol")
    }
    for extractor in EXTRACTORS.names():
        own = getattr(EXTRACTORS.get(extractor), "symbols", {})
        known |= {name: known[symbol] for symbol, name in own.items() if symbol in known}
    words = {key: re.split(r"[\[(]", key)[0] for key in protocols}
    return {key: known[word] for key, word in words.items() if word in known}


# ------------------------------------------------------------------------------------------------- what a run keeps


def _logged(run: Run) -> tuple[dict[str, Value], dict[str, Value]]:
    """Last and best scores of a log."""
    taken = [record for record in run.read_log() if record.get("kind") == "score"]
    best = [record for record in taken if record.get("best")]
    return _scores(taken), _scores(best)


def _scores(records: list[dict[str, Any]]) -> dict[str, Value]:
    """The finite scores of the last record."""
    found = records[-1]["scores"] if records else {}
    return {k: Value(v, None, None, None, (v,)) for k, v in found.items() if isinstance(v, float) and math.isfinite(v)}


def _measured(report: Report) -> tuple[dict[str, Value], dict[str, Value]]:
    last, best = ({r.metric: r.values[w] for r in report.rows if w in r.values} for w in ("last", "best"))
    return last, best


def _side(run: Run, name: str, last: dict[str, Value], best: dict[str, Value]) -> Side:
    experiment, log, facts = resolve(str(run.experiment)).experiment, run.read_log(), run.facts()
    speeds = [r["images_per_second"] for r in log if r.get("kind") == "step" and "images_per_second" in r]
    grids = sorted(run.samples.glob("[0-9]*.png"))
    end = log[-1] if log else {}
    return Side(
        name=name,
        path=str(run.path),
        preset=experiment.preset,
        seed=experiment.seed,
        samples=int(end.get("samples", 0)),
        minutes=float(end.get("seconds", 0)) / 60,
        images_per_second=statistics.median(speeds) if speeds else None,
        parameters=sum(facts.get("parameters", {}).values()),
        last=last,
        best=best,
        settings=dict(_flat(experiment.canonical())),
        log=log,
        grid=grids[-1] if grids else None,
    )


def _flat(tree: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        if above or key not in NOT_SETTINGS:
            path = f"{above}{key}"
            found += _flat(value, f"{path}.") if isinstance(value, dict) else [(path, _text(value))]
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else render(value)


def _short_names(runs: list[Run]) -> list[str]:
    """Names of directories; whole paths where two are the same."""
    names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]
