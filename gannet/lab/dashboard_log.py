"""A run's log as the browser gets it: rows from a byte on, thinned; and what it comes to, in a few numbers.

The log is read while it is written, and may hold anything: a torn last line waits, what is no row is left out.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from gannet.lab.dashboard_files import opened

MOST_BYTES = 16_000_000
"""Of a log that are read at once; a longer line is no row."""
MOST_ROWS = 2000
MOST_KEYS = 64
MOST_TEXT = 2000
TAIL = 64
KINDS = ("step", "score", "sample", "alarm", "decision", "plan", "note", "stop")
WORDS = ("text", "reason", "path", "controller", "actuator")
STEP = b'{"kind": "step"'

T = TypeVar("T")
Row = dict[str, Any]


def rows(path: Path, after: int = 0, mark: int | None = None) -> dict[str, Any]:
    """The rows from byte `after` on: `{"rows" (at most 2,000, steps evenly thinned), "next" (the byte to ask for then),
    "mark" (to be given with it), "more" (whether there is more already), "again" (whether it begins at the beginning
    after all, as the log was cut or replaced: what was read before counts no more), "bad" (lines that are none)}`.

    Raises `OSError` for a log that is no plain file.
    """
    with opened(path) as file:
        size = file.seek(0, 2)
        again = after > size or (after > 0 and mark is not None and _tail(file, after) != mark)
        if again:
            after = 0
        lines, read = _lines(file, after)
        found = [row(line) for line in lines]
        good = [r for r in found if r is not None]
        end = after + read
        return {
            "rows": thinned(good), "next": end, "mark": _tail(file, end), "more": size - after > MOST_BYTES,
            "again": again, "bad": len(found) - len(good),
        }  # fmt: skip


def row(line: bytes) -> Row | None:
    """A line of the log as plain JSON without surprises: `None` if it is none. What is not finite becomes `None`."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("kind") not in KINDS:
        return None
    place = {key: number(record.get(key)) for key in ("samples", "step", "seconds")}
    if any(value is None or value < 0 for value in place.values()):
        return None
    made: Row = {"kind": record["kind"], **place}
    if made["kind"] == "step":
        made |= _numbers({k: v for k, v in record.items() if k not in made})
        standing = record.get("alarms")
        made["alarms"] = [str(a)[:100] for a in standing[:9]] if isinstance(standing, list) else []
    elif made["kind"] == "score":
        scores = record.get("scores")
        made["scores"] = _numbers(scores) if isinstance(scores, dict) else {}
        made["best"] = record.get("best") is True
    else:
        made |= {key: record[key][:MOST_TEXT] for key in WORDS if isinstance(record.get(key), str)}
        if "factor" in record:
            made["factor"] = number(record["factor"])
    return made


def number(value: Any) -> float | None:
    """A finite number to six digits, `None` for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not math.isfinite(value):
        return None
    if isinstance(value, int) or value.is_integer():
        return int(value) if abs(value) < 2**53 else float(value)
    return float(f"{value:.6g}")


def thinned(found: list[Row], most: int = MOST_ROWS) -> list[Row]:
    """At most `most` rows in their order; steps give way first, as neighbours say nearly the same."""
    others = evenly([k for k, r in enumerate(found) if r["kind"] != "step"], most // 2)
    steps = evenly([k for k, r in enumerate(found) if r["kind"] == "step"], most - len(others))
    return [found[k] for k in sorted([*others, *steps])]


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[k * (len(items) - 1) // (most - 1)] for k in range(most)]


class Summary:
    """What a log comes to: read further at every `look`, and from the beginning where it is not the same any more."""

    def __init__(self, path: Path):
        self.path = path
        self._begin(0)

    def _begin(self, inode: int) -> None:
        self.inode, self.at, self.mark, self.size = inode, 0, 0, 0
        self.end: Row = {"samples": 0, "step": 0, "seconds": 0.0}
        self.last: dict[str, float | None] = {}
        self.best: dict[str, float | None] = {}
        self.alarm: Row | None = None
        self.stop: str | None = None
        self.speed: float | None = None
        self.standing: list[str] = []
        self.bad = 0
        self.good = 0
        self.whole = True
        """Whether all that was there was read."""

    def look(self) -> int:
        """Read on, at most `MOST_BYTES`; returns how many. Raises `OSError`."""
        with opened(self.path) as file:
            told = os.fstat(file.fileno())
            if told.st_ino != self.inode or told.st_size < self.at or (self.at and _tail(file, self.at) != self.mark):
                self._begin(told.st_ino)
            self.size = told.st_size
            if self.size == self.at:
                return 0
            self.whole = self.size - self.at <= MOST_BYTES
            lines, read = _lines(file, self.at)
            if read:
                self.at += read
                self.mark = _tail(file, self.at)
        # Of many steps only the last one is parsed: a thousand runs are listed in a moment.
        step = b""
        for line in lines:
            if line.startswith(STEP):
                step, self.stop = line, None
                self.good += 1
            else:
                self._take(line)
        if step:
            self._take(step)
        return read

    def _take(self, line: bytes) -> None:
        found = row(line)
        if found is None:
            self.bad += 1
            return
        self.good += 1
        if found["step"] >= self.end["step"]:
            self.end = {key: found[key] for key in ("samples", "step", "seconds")}
        kind = found["kind"]
        if kind == "step":
            self.standing = found["alarms"]
            rate = found.get("images_per_second")
            self.speed = number(rate * found["step"] / found["samples"]) if rate and found["samples"] else None
            return
        self.stop = found.get("reason", "") if kind == "stop" else None
        if kind == "score":
            self.last = found["scores"]
            if found["best"]:
                self.best = found["scores"]
        elif kind == "alarm":
            self.alarm = {"samples": found["samples"], "text": found.get("text", "")}


def _numbers(record: dict[str, Any]) -> dict[str, float | None]:
    """The numbers of a record, and `None` for those JSON lacks."""
    kept = {
        str(k)[:100]: number(v)
        for k, v in record.items()
        if (isinstance(v, int | float) and not isinstance(v, bool)) or v in ("NaN", "Infinity", "-Infinity")
    }
    return dict(list(kept.items())[:MOST_KEYS])


def _lines(file: BinaryIO, after: int) -> tuple[list[bytes], int]:
    """Whole lines from byte `after` on, and how many bytes they are. A line without end is given up as it is."""
    file.seek(after)
    raw = file.read(MOST_BYTES)
    read = raw.rfind(b"\n") + 1
    if read == 0 and len(raw) == MOST_BYTES:
        return [b"?"], MOST_BYTES
    return raw[:read].split(b"\n")[:-1], read


def _tail(file: BinaryIO, end: int) -> int:
    """A mark of what stands before byte `end`: another one means another log."""
    begin = max(0, end - TAIL)
    file.seek(begin)
    return zlib.crc32(file.read(end - begin))
