"""What the auto-pilot benchmark's cells say: tables of Markdown, and the page they are put in."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from autopilot_cells import DATA, FIXED, METHODS, STEERED, WITHIN, Record, Result

from gannet.bench_cell import mean_and_deviation
from gannet.core.errors import UsageError
from gannet.engine.run import write_text_atomic

BEGIN, END = "<!-- results: made by benchmarks/autopilot.py --page -->", "<!-- end of results -->"


def tables(records: Sequence[Record]) -> str:
    """All that the records say, as Markdown."""
    pieces = []
    for minutes in sorted({record.cell.minutes for record in records if record.cell.minutes is not None}):
        some = alike([record for record in records if record.cell.minutes == minutes])
        steered = [record for record in some if record.cell.method == STEERED]
        pieces += [f"### {minutes:g} minutes", health(some), distances(some), decisions(steered)]
    pairs = ablation(alike([r for r in records if r.cell.samples is not None and r.outcome != "absent"]))
    if pairs:
        pieces += ["### One controller switched off", pairs]
    return "\n\n".join(piece for piece in pieces if piece)


def alike(records: Sequence[Record]) -> list[Record]:
    """Of each kind of data the records of one protocol, that of most of them: scores by two do not compare."""
    counts = {data: collections.Counter(r.key.protocol for r in records if r.cell.data == data) for data in DATA}
    return [r for r in records if r.key.protocol == counts[r.cell.data].most_common(1)[0][0]]


def health(records: Sequence[Record]) -> str:
    rows = []
    for method in METHODS:
        of = [record for record in records if record.cell.method == method]
        if of:
            well = sum(not record.ails for record in of)
            counts = collections.Counter(name for record in of for name in record.ails)
            why = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
            rows.append([method, f"{well} of {len(of)}", f"{100 * well / len(of):.0f} %", why])
    return table(["method", "healthy", "share", "what ails the others"], rows)


def distances(records: Sequence[Record]) -> str:
    """Last scores of every method on all data, and whether the auto-pilot keeps up with the better fixed preset."""
    methods = [m for m in METHODS if any(record.cell.method == m for record in records)]
    rows = []
    for data in DATA:
        of = {m: [r for r in records if r.cell.data == data and r.cell.method == m] for m in methods}
        results = {m: [r.result for r in found if r.result] for m, found in of.items()}
        if not any(of.values()):
            continue
        # The same rows on every machine, but for a float's last bits.
        floors = {round(r.floor, 6) for found in results.values() for r in found if r.floor is not None}
        cells = [figure([r.last for r in results[m]]) + unwell(of[m]) for m in methods]
        rows.append([data, *cells, figure(list(floors)), keeps_up(results)])
    return table(["data", *methods, "reals", "within 10 % or one sd of the better fixed one"], rows)


def unwell(records: Sequence[Record]) -> str:
    """How many of some runs are healthy, where not all are."""
    well = sum(not record.ails for record in records)
    return f" ({well}/{len(records)} healthy)" if well < len(records) else ""


def keeps_up(results: dict[str, list[Result]]) -> str:
    mine = results.get(STEERED)
    fixed = [results[m] for m in FIXED if results.get(m)]
    if not mine or not fixed:
        return ""
    sign = 1 if mine[0].better == "lower" else -1
    means = [mean_and_deviation([sign * result.last for result in found]) for found in fixed]
    mean, deviation = min(means, key=lambda pair: pair[0])
    met = mean_and_deviation([sign * result.last for result in mine])[0] <= mean + max(
        WITHIN * abs(mean), deviation or 0.0
    )
    return "MET" if met else "MISSED"


def decisions(records: Sequence[Record]) -> str:
    """How often each controller moved, and where its factor ended."""
    runs = [record.result for record in records if record.result]
    rows = []
    for name in sorted({move.controller for result in runs for move in result.moves}):
        moved = [[m for m in result.moves if m.controller == name] for result in runs]
        data = {r.cell.data for r in records if r.result and any(m.controller == name for m in r.result.moves)}
        ends = [moves[-1].factor for moves in moved if moves]
        rows.append(
            [
                name,
                f"{sum(map(bool, moved))} of {len(runs)}",
                f"{statistics.fmean(len(moves) for moves in moved):.1f}",
                f"{min(ends):.3g} … {max(ends):.3g}",
                ", ".join(d for d in DATA if d in data),
            ]
        )
    return table(["controller", "runs it moved in", "moves a run", "last factor", "data"], rows)


def ablation(records: Sequence[Record]) -> str:
    """The auto-pilot beside itself without one controller, on the data, samples and seeds that both have."""
    rows = []
    for name in sorted({record.cell.without for record in records} - {""}):
        lengths = {(r.cell.data, r.cell.samples or 0) for r in records}
        for data, samples in sorted(lengths, key=lambda pair: (list(DATA).index(pair[0]), pair[1])):
            of = [r for r in records if (r.cell.data, r.cell.samples, r.cell.method) == (data, samples, STEERED)]
            sides = [{r.cell.seed: r for r in of if r.cell.without == off} for off in ("", name)]
            both = [[side[seed] for seed in sorted(sides[0].keys() & sides[1].keys())] for side in sides]
            if both[0]:
                lasts = [figure([r.result.last for r in side if r.result]) for side in both]
                well = [f"{sum(not r.ails for r in side)} of {len(side)}" for side in both]
                rows.append([name, data, f"{samples:,}", *lasts, *well])
    head = ["samples", "last with it", "without", "healthy with it", "without"]
    return table(["switched off", "data", *head], rows)


def figure(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds, to three figures of the mean."""
    if not values:
        return "–"
    mean, deviation = mean_and_deviation(list(values))
    places = max(0, 2 - math.floor(math.log10(abs(mean)))) if mean else 2
    return f"{mean:.{places}f}" + (f" ± {deviation:.{places}f}" if deviation else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def write_page(page: Path, records: Sequence[Record]) -> None:
    """Put the tables between the marks of `page`. Raises `UsageError` where it has none."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{page} has no place for the tables. Put two lines where they belong: {BEGIN} and {END}")
    write_text_atomic(page, f"{head}{BEGIN}\n\n{tables(records)}\n\n{END}{tail}")
