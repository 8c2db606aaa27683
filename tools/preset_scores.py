"""Writes into every preset what the results page's cells say of it: `python tools/preset_scores.py`.

The line is that of digits at 60 seconds, over the seeds that are measured and not stale; a preset that has none keeps
what it says.
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
DATA, SECONDS = "digits", 60
UNKNOWN = "# Last score: not measured yet\n"
LINE = re.compile(rf"^#   {DATA}, .*\n", re.MULTILINE)
HEAD = re.compile(r"^# Last score.*:\n", re.MULTILINE)


def fresh(preset: str) -> list[Record]:
    """The cells of a preset that are measured and not stale, by seed."""
    entries = bench.entries(bench.plan([preset], [DATA], [SECONDS]), PAGE)
    return [e.record for e in entries if e.record is not None and e.state in ("finished", "diverged")]


def line(records: Iterable[Record]) -> str:
    """One line of a preset's header, from at least one record."""
    records = list(records)
    results = [record.result for record in records if record.result is not None]
    seeds = ", ".join(str(record.cell.seed) for record in records)
    said = f"{DATA}, {SECONDS} s alone on 2 CPU cores, seed{'s'[: len(records) - 1]} {seeds}: "
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
    """The preset's text with the records' line in it; the text itself where there are none."""
    if not records:
        return text
    new = line(records)
    if UNKNOWN in text:
        return text.replace(UNKNOWN, f"# Last score:\n{new}")
    if LINE.search(text):
        return LINE.sub(lambda _: new, text, count=1)
    return HEAD.sub(lambda head: head[0] + new, text, count=1)


def main() -> None:
    for preset in bench.image_presets():
        path = PRESETS / f"{preset}.yaml"
        text = path.read_text(encoding="utf-8")
        path.write_text(written(text, fresh(preset)), encoding="utf-8")


if __name__ == "__main__":
    main()
