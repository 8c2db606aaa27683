"""Where a step's time goes: a trace and a table from a handful of steps of a run."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

PREFIX = "gannet/"
STEP = "gannet/step"
TOP = 15


@dataclass(frozen=True)
class Span:
    """A named stretch of time of one thread, in microseconds."""

    name: str
    start: float
    end: float
    thread: int = 0


def span(name: str) -> contextlib.AbstractContextManager[Any]:
    """A named stretch of a step. It costs nothing unless a profiler records; small networks would feel the marks."""
    return record_function(name) if torch.autograd._profiler_enabled() else contextlib.nullcontext()


class Profiler:
    """Records `steps` engine steps after the first `warmup` ones, and leaves in `folder`

        trace.json.gz    for chrome://tracing or ui.perfetto.dev
        table.txt        time by phase, then the operators that cost most; also the attribute `table`

    Wrap every engine step in `with profiler.step():`, and its parts in `span("gannet/<phase>")`: a phase
    counts the time that no phase inside it claims. `close()` writes what a run that ended early recorded. Once the
    files are written, `step()` costs nothing. Times are the host's; `device` columns are kernels an accelerator ran.
    """

    def __init__(self, folder: Path | str, warmup: int = 10, steps: int = 8):
        self.folder = Path(folder)
        self.table: str | None = None
        self._warmup = warmup
        self._steps = steps
        self._seen = 0
        self._profile: profile | None = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """One engine step."""
        if self.table is not None or self._seen < self._warmup:
            self._seen += 1
            yield
            return
        if self._profile is None:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profile = profile(activities=activities)
            self._profile.start()
        with record_function(STEP):
            yield
        self._seen += 1
        if self._seen == self._warmup + self._steps:
            self.close()

    def close(self) -> str | None:
        """Write trace and table, and return the table; `None` when no step was recorded."""
        recorded, self._profile = self._profile, None
        if recorded is None:
            return self.table
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # kernels still under way belong to the last step
        recorded.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{os.getpid()}.trace.json.gz"
        recorded.export_chrome_trace(str(temporary))
        os.replace(temporary, self.folder / "trace.json.gz")
        self.table = _table(recorded, max(1, self._seen - self._warmup))
        (self.folder / "table.txt").write_text(self.table, encoding="utf-8")
        return self.table


def own_times(spans: Iterable[Span]) -> dict[str, float]:
    """Microseconds by name, each stretch without the stretches nested in it on the same thread."""
    totals: dict[str, float] = defaultdict(float)
    open_: dict[int, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda s: (s.thread, s.start, -s.end)):
        outer = open_[span.thread]
        while outer and outer[-1].end <= span.start:
            outer.pop()
        if outer:
            totals[outer[-1].name] -= span.end - span.start
        totals[span.name] += span.end - span.start
        outer.append(span)
    return dict(totals)


def _table(recorded: profile, steps: int) -> str:
    spans = [
        Span(event.name, event.time_range.start, event.time_range.end, event.thread)
        for event in recorded.events() or []
        if event.name.startswith(PREFIX) and event.device_type == DeviceType.CPU
    ]
    own = own_times(spans)
    whole = sum(span.end - span.start for span in spans if span.name == STEP)
    phases = [(name.removeprefix(PREFIX) if name != STEP else "the rest", time) for name, time in own.items()]
    lines = [f"{steps} steps, {whole / steps / 1000:.2f} ms each", "", f"{'phase':<40}{'ms/step':>10}{'share':>8}"]
    for name, time in sorted(phases, key=lambda phase: -phase[1]):
        lines.append(f"{name:<40}{time / steps / 1000:>10.3f}{time / max(whole, 1e-9):>8.1%}")
    return "\n".join([*lines, "", *_operators(recorded, steps)]) + "\n"


def _operators(recorded: profile, steps: int) -> list[str]:
    rows: list[Any] = [row for row in recorded.key_averages() if not row.key.startswith(PREFIX)]
    rows = [row for row in rows if not row.key.startswith("ProfilerStep")]
    device = any(row.self_device_time_total for row in rows)
    rows.sort(key=lambda row: -(row.self_device_time_total if device else row.self_cpu_time_total))
    total = sum(row.self_cpu_time_total for row in rows)
    head = f"{'operator (its own time)':<40}{'ms/step':>10}{'share':>8}{'calls/step':>12}"
    lines = [head + (f"{'device ms':>12}" if device else "")]
    for row in rows[:TOP]:
        name = row.key if len(row.key) < 40 else row.key[:38] + "…"
        host = row.self_cpu_time_total
        line = f"{name:<40}{host / steps / 1000:>10.3f}{host / max(total, 1e-9):>8.1%}{row.count / steps:>12.1f}"
        lines.append(line + (f"{row.self_device_time_total / steps / 1000:>12.3f}" if device else ""))
    return lines
