"""What an evaluation found, as numbers, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gannet.core.errors import UsageError
from gannet.engine.run import write_text_atomic
from gannet.metrics.intervals import DRAWS

SCHEMA = 1
ARROWS = {"lower": "↓", "higher": "↑"}


@dataclass(frozen=True)
class Value:
    """One metric of one set of samples: `value` is the mean over `seeds` (the value of each), `sd` their standard
    deviation (n − 1; `None` for one seed), `interval` half the width of the 95 % bootstrap interval of one seed, from
    `draws` resamplings (0: exact; `None` where there is no interval)."""

    value: float
    interval: float | None
    draws: int | None
    sd: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Column:
    """One set of samples: its short `name` (last, best, fakes) and all that must be `said` of it."""

    name: str
    said: str


@dataclass(frozen=True)
class Row:
    """One metric: its `protocol`, the `floor` (reals against other reals, `None` where there is none), a `Value` for
    each column."""

    metric: str
    better: str
    unit: str
    protocol: str
    floor: float | None
    values: dict[str, Value]


@dataclass(frozen=True)
class Report:
    """What `evaluate` found: `rows` of metrics against `reference` at `n` samples a side, `columns` of samples, and
    `notes` to read beside them."""

    what: str
    reference: str
    n: int
    seeds: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """JSON with a stable schema: `docs/metrics.md` names its keys."""
        content = {"schema": SCHEMA, "gannet": version("gannet"), **dataclasses.asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | Path) -> Path:
        """Write `FILE.json` or `FILE.txt`. Raises `UsageError` for another ending."""
        path = check_ending(path, (".json", ".txt"))
        write_text_atomic(path, (self.to_json() if path.suffix.lower() == ".json" else str(self)) + "\n")
        return path

    def __str__(self) -> str:
        lines = [f"{self.what} against {self.reference}, {self.n:,} samples a side", _table(self), *self._legend()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), "", *self._protocols()])

    def _legend(self) -> list[str]:
        lines = ["floor: as many other reals in the place of the samples; a perfect generator comes down to it."]
        values = [value for row in self.rows for value in row.values.values()]
        if any(value.interval is not None for value in values):
            lines.insert(0, "±: 95 % interval over samples of one seed, 1.96 bootstrap standard deviations.")
        if any(value.sd is not None for value in values):
            lines.insert(1, f"sd: standard deviation over {self.seeds} sampling seeds; the value is their mean.")
        fewer = {row.metric: v.draws for row in self.rows for v in row.values.values() if v.draws and v.draws < DRAWS}
        if fewer:
            told = ", ".join(f"{metric} {draws}" for metric, draws in fewer.items())
            lines.append(f"resampled fewer than {DRAWS} times for want of time: {told}.")
        return lines

    def _protocols(self) -> list[str]:
        told = [f"  {column.name}: {column.said}" for column in self.columns]
        return ["samples:", *told, "protocols:", *(f"  {row.protocol}" for row in self.rows)]


def check_ending(path: str | Path, allowed: tuple[str, ...]) -> Path:
    """`path`, if it has one of the endings. Raises `UsageError`."""
    path = Path(path)
    if path.suffix.lower() not in allowed:
        raise UsageError(f"{path}: unknown ending '{path.suffix}'. Allowed: FILE{', FILE'.join(allowed)}.")
    return path


def figure(value: Any) -> str:
    """Four figures, as many as two runs can be told apart by; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e9 else f"{value:.4g}"


def cell(value: Value | None) -> str:
    """`12.34 ± 0.51 (sd 0.20)`: two figures of the larger uncertainty, and all to the same place."""
    if value is None:
        return "–"
    parts, doubt = [figure(value.value)], max(value.interval or 0, value.sd or 0)
    if doubt:
        places = max(0, 1 - math.floor(math.log10(doubt)))
        parts = [f"{value.value:,.{places}f}"]
        parts += [] if value.interval is None else [f"± {value.interval:,.{places}f}"]
        parts += [] if value.sd is None else [f"(sd {value.sd:,.{places}f})"]
    return " ".join(parts)


def _table(report: Report) -> str:
    cells = [["metric", "", *(column.name for column in report.columns), "floor", "unit"]]
    for row in report.rows:
        shown = [cell(row.values.get(column.name)) for column in report.columns]
        cells.append([row.metric, f"{row.better} {ARROWS[row.better]}", *shown, figure(row.floor), row.unit])
    return table(cells)


def table(cells: list[list[str]]) -> str:
    """Rows of text, the first of them the head, as a table with rules above, below and under the head."""
    import rich.box
    import rich.console
    import rich.table
    import rich.text

    found = rich.table.Table(box=rich.box.HORIZONTALS, pad_edge=False, padding=(0, 2, 0, 0))
    kept = [i for i in range(len(cells[0])) if any(row[i] for row in cells[1:])]
    for i in kept:
        found.add_column(rich.text.Text(cells[0][i]), no_wrap=True)
    for row in cells[1:]:
        found.add_row(*(rich.text.Text(row[i]) for i in kept))
    stream = io.StringIO()
    # As wide as it needs: text that is cut is a number that is lost.
    rich.console.Console(file=stream, width=10_000, color_system=None).print(found)
    return "\n".join(line[1:].rstrip() for line in stream.getvalue().splitlines())  # without the box's left edge
