"""What a run says while it trains: one bar on a terminal, a line every ten seconds anywhere else, both on stderr.

Nothing here may stop a run. A stream that goes away silences the console; letters it cannot write are replaced.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TextIO

Record = dict[str, Any]

EVERY = 10.0
"""Seconds between lines where there is no terminal."""
REDRAW = 0.1
"""Seconds between drawings of the bar."""
PLAIN = str.maketrans(
    {"·": "|", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'"}
)
"""What stands in for the house's own signs where the locale has no letter for them."""
SHORT = {"generator": "G", "discriminator": "D"}


class Console:
    """Progress of one run. `update` takes log records and keeps the newest value of every key.

    `start(total, unit)` opens it ("images" of `total`, 0 while the end is not known); `total(n)` moves the end; `note`
    and `alarm` say a line above the bar; `stop` closes it. Calls before `start` and after `stop` are fine.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream if stream is not None else sys.stderr
        self._bar: _Bar | None = None
        self._known: Record = {}
        self._score = ""
        self._total = 0
        self._unit = "samples"
        self._first: tuple[float, float] | None = None
        self._shown = -math.inf
        self._fresh = False

    def start(self, total: int, unit: str = "samples") -> None:
        self._total, self._unit = total, unit
        self._first, self._shown = None, -math.inf
        if self._stream is not None and _is_terminal(self._stream):
            self._guarded(self._open_bar)

    def total(self, total: int) -> None:
        self._total = total

    def update(self, record: Record) -> None:
        """Take in what was logged, and show it when it is time."""
        self._known.update({key: value for key, value in record.items() if value is not None})
        if isinstance(scores := record.get("scores"), dict) and scores:
            name, value = next(iter(scores.items()))
            self._score = f"{name} {_figure(value)}" + (" (best)" if record.get("best") else "")
        now = time.monotonic()
        samples = float(self._known.get("samples", 0))
        self._first = self._first or (now, samples)
        self._fresh = True
        if now - self._shown >= (REDRAW if self._bar else EVERY):
            self._shown = now
            self._show()

    def note(self, text: str) -> None:
        """Say one line."""
        self._say(text, "")

    def alarm(self, text: str) -> None:
        """Say one line that must not be missed."""
        self._say(f"ALARM: {text}", "bold red")

    def stop(self) -> None:
        """Show the last state and leave the terminal as it was."""
        if self._fresh:
            self._show()
        bar, self._bar = self._bar, None
        if bar is not None:
            self._guarded(bar.close)
        self._known, self._score = {}, ""

    def _open_bar(self) -> None:
        self._bar = _Bar(self._stream)  # type: ignore[arg-type]

    def _show(self) -> None:
        self._fresh = False
        samples = float(self._known.get("samples", 0))
        share = min(1.0, samples / self._total) if self._total else 0.0
        where = f"{samples:,.0f}{f' / {self._total:,}' if self._total else ''} {self._unit}"
        head, detail = [where, *self._pace(samples)], self._signals()
        if self._bar is not None:
            bar, text = self._bar, (self._letters(" · ".join(head)), self._letters(" · ".join(detail)))
            self._guarded(lambda: bar.show(share, *text))
        else:
            self._line(" · ".join([f"{share:4.0%}", *head, *detail]))

    def _pace(self, samples: float) -> list[str]:
        rate = _number(self._known.get("images_per_second"))
        if not rate > 0 and self._first is not None:
            rate = (samples - self._first[1]) / max(1e-9, time.monotonic() - self._first[0])
        if not (rate > 0 and math.isfinite(rate)):
            return []
        pace = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"]
        return [*pace, f"{_clock(max(0.0, self._total - samples) / rate)} left"] if self._total else pace

    def _signals(self) -> list[str]:
        losses = [
            f"{SHORT.get(player := key.removeprefix('loss/'), player)} {_figure(value)}"
            for key, value in self._known.items()
            if key.startswith("loss/")
        ]
        parts = ["loss " + " ".join(losses)] if losses else []
        if "p_real_above_fake" in self._known:
            held = self._known.get("p_real_above_fake/heldout")
            aside = f" (held out {_chance(held)})" if held is not None else ""
            parts.append(f"P(real > fake) {_chance(self._known['p_real_above_fake'])}{aside}")
        return [*parts, self._score] if self._score else parts

    def _say(self, text: str, style: str) -> None:
        if self._bar is not None:
            bar, letters = self._bar, self._letters(text)
            self._guarded(lambda: bar.say(letters, style))
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        def write() -> None:
            self._stream.write(self._letters(text) + "\n")  # type: ignore[union-attr]
            self._stream.flush()  # type: ignore[union-attr]

        self._guarded(write)

    def _letters(self, text: str) -> str:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            return text.translate(PLAIN).encode("ascii", "replace").decode("ascii")
        return text

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do it; if the stream is gone, say nothing from now on."""
        if self._stream is None:
            return
        try:
            act()
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed file
            bar, self._bar = self._bar, None
            with contextlib.suppress(OSError, ValueError):
                if bar is not None:
                    bar.close()
            self._stream = None


class Silent(Console):
    """The same interface for use from Python: says nothing, but an alarm becomes a warning."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = None

    def start(self, total: int, unit: str = "samples") -> None:
        pass

    def update(self, record: Record) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def alarm(self, text: str) -> None:
        warnings.warn(text, RuntimeWarning, stacklevel=2)


class Mute(Silent):
    """For the processes that are not the first: what the first one says is enough."""

    def alarm(self, text: str) -> None:
        pass


class _Bar:
    """Two lines at the foot of a terminal. rich is imported here, where it is known to be needed."""

    def __init__(self, stream: TextIO):
        import rich.console
        import rich.live
        import rich.text

        self._text = rich.text.Text
        self._console = rich.console.Console(file=stream, highlight=False)
        # Drawn on update only: a refreshing thread would die of a closed stream on its own, out of our reach.
        self._live = rich.live.Live(
            self._text(), console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=True
        )
        self._live.start()
        self._console.show_cursor(True)  # a run that is killed must not leave a terminal without a cursor

    def show(self, share: float, head: str, detail: str) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 1))
        room = max(10, min(40, self._console.width - len(head) - 8))
        bar = ProgressBar(total=1.0, completed=share, width=room, complete_style="cyan", finished_style="green")
        row.add_row(bar, self._text(f"{share:4.0%}"), self._text(head, no_wrap=True, overflow="ellipsis"))
        self._live.update(Group(row, self._text(detail, style="dim", no_wrap=True, overflow="ellipsis")), refresh=True)

    def say(self, text: str, style: str) -> None:
        # Text, not a string: square brackets in a score's name are no markup.
        self._console.print(self._text(text, style=style))

    def close(self) -> None:
        self._live.stop()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (OSError, ValueError):
        return False


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _figure(value: Any) -> str:
    """Three figures, or all before the point: 0.693, 12.3, 4,321, 1.20e-05."""
    number = _number(value)
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e7 else f"{number:#.3g}".rstrip(".")


def _chance(value: Any) -> str:
    return f"{_number(value):.2f}"


def _clock(seconds: float) -> str:
    """0:07, 12:30, 3:05:00 or 2 d 4 h."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours}:{minutes % 60:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
