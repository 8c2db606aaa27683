"""Writes into every preset what the results page's cells say of it: `python tools/preset_scores.py`.

A line for digits and one for MNIST, at 60 seconds, over the seeds that are measured and not stale; of data without any,
a preset keeps what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from gannet import bench
from gannet.bench_cell import Record, mean_and_deviation
from gannet.core.presets import PRESETS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
DATA, SECONDS = ("digits", "mnist"), 60
UNKNOWN = "# Last score: not measured yet\n"
HEAD = r"^# Last score.*:\n"


def fresh(preset: str, data: str) -> list[Record]:
    """The cells of a preset that are measured and not stale, by seed."""
    entries = bench.entries(bench.plan([preset], [data], [SECONDS]), PAGE)
    return [e.record for e in entries if e.record is not None and e.state in ("finished", "diverged")]


def line(records: Iterable[Record]) -> str:
    """One line of a preset's header, from at least one record."""
    records = list(records)
    results = [record.result for record in records if record.result is not None]
    seeds = ", ".join(str(record.cell.seed) for record in records)
    said = f"{records[0].cell.data}, {SECONDS} s alone on 2 CPU cores, seed{'s'[: len(records) - 1]} {seeds}: "
    if len(results) < len(records):
        said += f"{len(records) - len(results)} of {len(records)} diverged; " if results else "diverged"
    if results:
        first = results[0]
        last, best = (figure([getattr(r, which).distance for r in results]) for which in ("last", "best"))
        said += f"{first.metric} last {last}, best {best} (reals {first.floor.distance:.3g})"
    return f"#   {said}\n"


def figure(values: list[float]) -> str:
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.3g}" if deviation is None else f"{mean:.3g} ± {deviation:.2g}"


def written(text: str, records: list[Record]) -> str:
    """The preset's text with the line of these records, which are of one source, in it; the text itself without any."""
    if not records:
        return text
    new, place = line(records), DATA.index(records[0].cell.data)
    old = [f"(?:#   {data}, .*\n)?" for data in DATA[: place + 1]]
    text = text.replace(UNKNOWN, "# Last score:\n")
    where = re.compile(f"({HEAD}{''.join(old[:-1])}){old[-1]}", re.MULTILINE)
    return where.sub(lambda kept: kept[1] + new, text, count=1)


def main() -> None:
    for preset in bench.image_presets():
        path = PRESETS / f"{preset}.yaml"
        text = path.read_text(encoding="utf-8")
        for data in DATA:
            text = written(text, fresh(preset, data))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
