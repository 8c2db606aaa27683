"""What the mode benchmark's cells say: tables, as text and as Markdown, a picture, and the page they are put in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from modes_cells import DRAWN, Cell, Record, Result, State, known, state
from modes_judging import protocol, reals
from modes_methods import BENCHES, Score

from gannet.bench_cell import mean_and_deviation
from gannet.core.errors import UsageError
from gannet.data.points import SHAPES
from gannet.engine.pictures import figure_png, write
from gannet.engine.run import write_text_atomic

PICTURE = "images/collapse-points.png"
BEGIN, END = "<!-- results: made by benchmarks/modes.py --page -->", "<!-- end of results -->"


@dataclasses.dataclass(frozen=True)
class Table:
    """One distribution at one budget: its head, and rows of as many words."""

    title: str
    said: str
    rows: list[list[str]]


def tables(cells: Iterable[Cell], folder: Path) -> list[Table]:
    """A table for each distribution and budget of the cells, in the order of `BENCHES`."""
    groups: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault((cell.data, cell.budget), {}).setdefault(cell.method, []).append(cell)
    records, order = known(folder), list(BENCHES)
    return [
        _table(*group, groups[group], records)
        for group in sorted(groups, key=lambda group: (order.index(group[0]), group[1]))
    ]


def _table(data: str, budget: str, methods: dict[str, list[Cell]], records: Mapping[str, Record]) -> Table:
    bench = BENCHES[data]
    head = ["method"]
    for score in bench.scores:
        head += [score.head.format(modes=bench.modes), "published"]
    rows, floors, machines = [[*head, "weights", "training samples", "seeds"]], [], []
    for method in bench.methods:
        if method not in methods:
            continue
        states = {cell: state(cell, records) for cell in methods[method]}
        finished = [records[cell.name] for cell, now in states.items() if now == "finished"]
        results = [record.result for record in finished if record.result]
        floors += [result.floor for result in results]
        machines += [record.machine for record in finished]
        published = bench.published.get(method, ())
        row = [method]
        for place, score in enumerate(bench.scores):
            row.append(_figure(score, [result.scores[score.key] for result in results]))
            row.append(published[place] if published else "")
        row.append(", ".join(sorted({result.weights for result in results})))
        row.append(", ".join(f"{n:,}" for n in sorted({result.samples for result in results})))
        rows.append([*row, _seeds(states, records)])
    if floors:
        row = ["real samples"]
        for score in bench.scores:
            row += [_figure(score, [floors[0][score.key]]), ""]
        rows.append([*row, "", "", ""])
    on = [f"On {name}." for name in sorted(set(machines))]
    said = " ".join([f"Protocol: {protocol(data)}.", *on])
    return Table(f"{data}, {budget.replace('-', ' ')}", said, rows)


def _figure(score: Score, values: list[float]) -> str:
    """Mean ± standard deviation over seeds, and the worst of them where there are several that differ."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    shown = [f"{score.factor * value:.{score.places}f}" for value in (mean, deviation or 0, score.worst(values))]
    return shown[0] if len(set(values)) == 1 else f"{shown[0]} ± {shown[1]} (worst {shown[2]})"


def _seeds(states: Mapping[Cell, State], records: Mapping[str, Record]) -> str:
    """How many seeds the row's numbers are of, and what became of the others."""
    found = list(states.values())
    words = [f"{found.count('finished')} of {len(found)}"] if "finished" in found else []
    for name in ("stale", "not run", "failed", "diverged"):
        if name in found:
            words.append(name if found.count(name) == len(found) else f"{found.count(name)} {name}")
    reasons = [records[cell.name].words.split("\n")[0] for cell, now in states.items() if now == "failed"]
    return "; ".join([*words, *dict.fromkeys(reasons)])


def as_text(table: Table) -> str:
    widths = [max(len(row[i]) for row in table.rows) for i in range(len(table.rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in table.rows]
    return "\n".join([table.title, table.said, *(line.rstrip() for line in lines)])


def as_markdown(table: Table) -> str:
    head, *rows = [[re.sub(r"([|`*_<>\\])", r"\\\1", word) for word in row] for row in table.rows]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([f"### {table.title}", "", table.said, "", *(f"| {' | '.join(line)} |" for line in lines)])


def write_page(cells: Iterable[Cell], folder: Path, out: Path) -> None:
    """Put the tables of these and of all measured cells, and the picture where there are points to draw, between the
    markers of the page `out`. Raises `UsageError` for a page without them."""
    text = out.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"{out} lacks the lines {BEGIN!r} and {END!r}, once each and in this order.")
    cells = list(cells)
    found = [record.cell for record in known(folder).values()]
    parts = [as_markdown(table) for table in tables(dict.fromkeys([*cells, *found]), folder)]
    picture = scatter(cells, folder)
    if picture is not None:
        write(out.parent / PICTURE, picture)
        parts.append(
            f"![Points of seed 0 of every method, beside real ones]({PICTURE})\n\n*{DRAWN:,} points of seed 0.*"
        )
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    write_text_atomic(out, "\n\n".join([before + BEGIN, *parts, after]))


def scatter(cells: Iterable[Cell], folder: Path) -> bytes | None:
    """A PNG with a row for each distribution of points and a column for each method, of seed 0, after reals; `None`
    where nothing is measured."""
    # Imported late: only a page needs it.
    from matplotlib.figure import Figure

    records = known(folder)
    shown: dict[str, dict[str, Result]] = {}
    for cell in cells:
        if BENCHES[cell.data].plane and cell.seed == 0 and state(cell, records) == "finished":
            result = records[cell.name].result
            if result is not None:
                shown.setdefault(cell.data, {})[cell.method] = result
    if not shown:
        return None
    columns = 1 + max(len(found) for found in shown.values())
    figure = Figure(figsize=(2 * columns, 2.2 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, (data, found) in zip(axes, shown.items(), strict=True):
        panels = {"real samples": reals(data)(DRAWN, 0).numpy()}
        panels |= {method: np.array(result.points) for method, result in found.items()}
        for axis in line:
            axis.axis("off")
        for axis, (name, points) in zip(line, panels.items(), strict=False):
            low, high = SHAPES[data].view
            axis.scatter(
                points[:, 0], points[:, 1], s=2, linewidths=0, color="#333333" if axis is line[0] else "#0072B2"
            )
            axis.set(xlim=(low, high), ylim=(low, high), xticks=[], yticks=[], aspect="equal")
            axis.set_title(f"{data}: {name}" if axis is line[0] else name, fontsize=8)
            axis.axis("on")
    return figure_png(figure)
