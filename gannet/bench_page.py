"""The results page: tables of cells in Markdown, the same bytes for the same cells."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gannet.bench_cell import Cell, Record, Result, mean_and_deviation

State = Literal["finished", "diverged", "failed", "stale", "not run"]
HEAD = (
    "| preset | last | best | floor | precision | recall | images/s | parameters | alarms | seeds | samples |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Entry:
    """A cell of the page: how it stands, and what was measured where anything was."""

    cell: Cell
    state: State
    record: Record | None = None


def render(entries: Iterable[Entry], grids: str, command: str) -> str:
    """The page. `grids` is the folder of the pictures as seen from it, `command` makes it again."""
    tables: dict[tuple[str, int], dict[str, list[Entry]]] = {}
    everything = sorted(entries, key=lambda e: (e.cell.data, e.cell.seconds, e.cell.preset, e.cell.seed))
    for entry in everything:
        rows = tables.setdefault((entry.cell.data, entry.cell.seconds), {})
        rows.setdefault(entry.cell.preset, []).append(entry)
    machines = sorted({e.record.machine for e in everything if e.record})
    letters = {machine: chr(ord("A") + number) for number, machine in enumerate(machines)} if machines[1:] else {}
    pieces = [_introduction(machines, letters)]
    for (data, seconds), presets in tables.items():
        rows_of = [_Row(preset, found, letters) for preset, found in presets.items()]
        pieces.append(_table(data, seconds, sorted(rows_of, key=_Row.order), grids))
    pieces.append(f"Made by `{command}`, which trains what is not run or stale and writes this page again.\n")
    return "\n".join(pieces)


def _introduction(machines: list[str], letters: dict[str, str]) -> str:
    where = "on machines that differ, which the letters under *seeds* name" if letters else "on the same machine"
    lines = [
        "# Results",
        "",
        f"Every shipped preset of images, untouched, for the same seconds {where}. Each seed is one "
        "training in a process of its own, `gannet train PRESET data=DATA seed=SEED stop.minutes=…`, with its scores "
        "in training within that time, and is judged afterwards on test rows that neither training nor the choice of "
        "a checkpoint saw.",
        "",
        "- *last* and *best*: Fréchet distance of the last checkpoint and of the one with the best score against "
        "training rows, in the features and by the protocol named above each table; lower is better.",
        "- *floor*: the same of as many training images, what a perfect generator would be given.",
        "- *precision*, *recall*: of the last checkpoint, higher is better.",
        "- *images/s*: median over the log, steps alone. *alarms*: those that stood at the end in any seed.",
        "- a ± b is mean ± standard deviation over the seeds counted under *seeds*. *samples*: first seed, last "
        "checkpoint, nothing chosen.",
        "",
        *(f"{f'Machine {letters[m]}' if letters else 'Machine'}: {_safe(m)}." for m in machines),
        "",
    ]
    return "\n".join(lines)


class _Row:
    """A preset in one table: its finished seeds, the stale ones only where there is none of now. `letters` are those of
    the machines, where there are several."""

    def __init__(self, preset: str, entries: list[Entry], letters: dict[str, str]):
        self.preset, self.entries, self.letters = preset, entries, letters
        self.now = [e.record.result for e in entries if e.state == "finished" and e.record and e.record.result]
        kept = [e for e in entries if e.state == ("finished" if self.now else "stale") and e.record and e.record.result]
        self.shown: list[tuple[Cell, Record, Result]] = [
            (e.cell, e.record, e.record.result) for e in kept if e.record and e.record.result
        ]

    @property
    def waits(self) -> bool:
        """Whether no seed of it has been tried: there is nothing to put into a row."""
        return all(entry.state == "not run" for entry in self.entries)

    def order(self) -> tuple[bool, float, str]:
        """Best last distance first; what has none at the end."""
        if not self.shown:
            return True, 0.0, self.preset
        return False, mean_and_deviation([r.last.distance for _, _, r in self.shown])[0], self.preset

    def markdown(self, grids: str) -> str:
        if not self.shown:
            return f"| {self.preset} |{' |' * 8} {self._seeds()} | |"
        results = [result for _, _, result in self.shown]

        def over(value: Callable[[Result], float]) -> str:
            return _figure([value(result) for result in results])

        standing = sorted({name for result in results for name in result.standing})
        counts = sorted({sum(result.parameters.values()) for result in results})
        first = min(self.shown, key=lambda shown: shown[0].seed)[0]
        cells = [
            self.preset,
            over(lambda r: r.last.distance),
            over(lambda r: r.best.distance),
            over(lambda r: r.floor.distance),
            over(lambda r: r.last.precision),
            over(lambda r: r.last.recall),
            f"{mean_and_deviation([r.images_per_second for r in results])[0]:,.0f}",
            ", ".join(f"{count:,}" for count in counts),
            _safe(", ".join(standing)) or "none",
            self._seeds(),
            f"![{self.preset} on {first.data}, {first.seconds} s]({grids}/{first.name}.png)",
        ]
        return f"| {' | '.join(cells)} |"

    def _seeds(self) -> str:
        """How many seeds the row's numbers are of, on which machines, and what became of the others."""
        words = [f"{len(self.now)} of {len(self.entries)}"] if self.now else []
        if self.letters and self.shown:
            words.append(f"on {', '.join(sorted({self.letters[record.machine] for _, record, _ in self.shown}))}")
        for state in ("stale", "not run", "failed", "diverged"):
            count = sum(entry.state == state for entry in self.entries)
            if count:
                words.append(state if count == len(self.entries) else f"{count} {state}")
        said = [e.record for e in self.entries if e.record and e.state in ("failed", "diverged")]
        words += dict.fromkeys(f"exit {record.exit}: {_safe(record.words)}" for record in said)
        return "; ".join(words)


def _table(data: str, seconds: int, rows: list[_Row], grids: str) -> str:
    shown = [record for row in rows for _, record, _ in row.shown]
    protocols = dict.fromkeys(r.key.protocol[r.result.metric] for r in shown if r.result)
    said = [f"`{protocol.replace('`', '')}`" for protocol in protocols]
    lines = [f"## {data}, {seconds} seconds", ""]
    lines += [f"Protocol: {', '.join(said)}.", ""] if said else []
    begun = [row for row in rows if not row.waits]
    lines += [HEAD, *(row.markdown(grids) for row in begun), ""] if begun else []
    waiting = [row.preset for row in rows if row.waits]
    lines += [f"Not run yet: {', '.join(waiting)}.", ""] if waiting else []
    return "\n".join(lines)


def _figure(values: list[float]) -> str:
    """Mean ± standard deviation, which is left out where every seed gave the same."""
    mean, deviation = mean_and_deviation(values)
    places = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 2
    return f"{mean:,.{places}f}" + ("" if not deviation else f" ± {deviation:,.{places}f}")


def _safe(words: str) -> str:
    """Text in a cell of a table: one line, no markup of its own."""
    return re.sub(r"([|`*_\[\]\\])", r"\\\1", html.escape(" ".join(words.split()), quote=False))
