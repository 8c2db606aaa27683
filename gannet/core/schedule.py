"""Schedules: whatever changes during training is a function of the clock, in samples seen.

`over` is an extent: a share of the run ("50%") or a number of samples (200_000). `start` delays it. Before the extent
a schedule holds its first value, after it its last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from gannet.core.errors import UsageError, unknown
from gannet.core.spec import Spec, parse_value, render
from gannet.core.types import Clock

Extent = str | int | float


class Schedule(ABC):
    """A number that depends on the clock. `schedule(clock)` gives its value."""

    @abstractmethod
    def __call__(self, clock: Clock) -> float: ...

    @property
    @abstractmethod
    def lowest(self) -> float:
        """The smallest value it ever has."""

    @abstractmethod
    def __str__(self) -> str:
        """Spec text that `schedule_from` reads back."""


def _extents(over: Extent, start: Extent = 0) -> str:
    return f", over={render(over)}" + (f", start={render(start)}" if start else "")


def in_samples(extent: Extent, clock: Clock) -> float:
    """An extent in samples: "50%" of the planned total, or a count as it stands."""
    if isinstance(extent, str):
        return float(extent[:-1]) / 100 * clock.total
    return float(extent)


def progress(clock: Clock, start: Extent, over: Extent) -> float:
    """Share of the extent that has passed, 0 … 1."""
    begin, length = in_samples(start, clock), in_samples(over, clock)
    return 1.0 if length <= 0 else min(1.0, max(0.0, (clock.samples - begin) / length))


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value for ever."""

    value: float

    def __call__(self, clock: Clock) -> float:
        return self.value

    @property
    def lowest(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Linear(Schedule):
    """From `first` to `last` in a straight line."""

    first: float
    last: float
    over: Extent = "100%"
    start: Extent = 0

    def __call__(self, clock: Clock) -> float:
        return self.first + (self.last - self.first) * progress(clock, self.start, self.over)

    @property
    def lowest(self) -> float:
        return min(self.first, self.last)

    def __str__(self) -> str:
        return f"linear({self.first:g}, {self.last:g}{_extents(self.over, self.start)})"


@dataclass(frozen=True)
class Cosine(Schedule):
    """v = last + (first − last)·(1 + cos πt)/2: from `first` to `last`, flat at both ends."""

    first: float
    last: float
    over: Extent = "100%"
    start: Extent = 0

    def __call__(self, clock: Clock) -> float:
        return self.last + (self.first - self.last) * 0.5 * (
            1 + math.cos(math.pi * progress(clock, self.start, self.over))
        )

    @property
    def lowest(self) -> float:
        return min(self.first, self.last)

    def __str__(self) -> str:
        return f"cosine({self.first:g}, {self.last:g}{_extents(self.over, self.start)})"


@dataclass(frozen=True)
class Warmup(Schedule):
    """From 0 in a straight line to `then`, which may itself be a schedule."""

    then: Schedule
    over: Extent = "5%"

    def __call__(self, clock: Clock) -> float:
        return self.then(clock) * progress(clock, 0, self.over)

    @property
    def lowest(self) -> float:
        return min(0.0, self.then.lowest)

    def __str__(self) -> str:
        return f"warmup({self.then}{_extents(self.over)})"


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Constant between corners: `piecewise(1, ["30%", 0.1], ["80%", 0.01])`."""

    first: float
    corners: tuple[tuple[Extent, float], ...]

    def __call__(self, clock: Clock) -> float:
        value = self.first
        for at, then in self.corners:
            if clock.samples >= in_samples(at, clock):
                value = then
        return value

    @property
    def lowest(self) -> float:
        return min([self.first, *(then for _, then in self.corners)])

    def __str__(self) -> str:
        corners = "".join(f", [{render(at)}, {then:g}]" for at, then in self.corners)
        return f"piecewise({self.first:g}{corners})"


_ALLOWED = {
    "constant": "constant(0.1)",
    "linear": 'linear(1, 0, over="50%", start="50%")',
    "cosine": 'cosine(1, 0.1, over="50%")',
    "warmup": 'warmup(2e-4, over="5%")',
    "piecewise": 'piecewise(1, ["50%", 0.1])',
}


def schedule_from(value: Any, where: str = "") -> Schedule:
    """A schedule from a number, spec text or `Spec`; raises `UsageError` with the place."""
    at = f"{where}: " if where else ""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Constant(_number(value, at))
    if isinstance(value, str):
        value = parse_value(value, where)
    if not isinstance(value, Spec):
        raise UsageError(f"{at}{render(value)} is not a number or a schedule such as {_ALLOWED['cosine']}.")
    if value.name not in _ALLOWED:
        raise UsageError(unknown("schedule", value.name, _ALLOWED, where))
    usage = f"{at}write {value.name} as {_ALLOWED[value.name]}, got {value}."
    positional, args = list(value.positional), dict(value.args)
    if value.name == "piecewise":
        if args or not positional or not all(isinstance(c, list) and len(c) == 2 for c in positional[1:]):
            raise UsageError(usage)
        corners = tuple((check_extent(c[0], at), _number(c[1], at)) for c in positional[1:])
        return Piecewise(_number(positional[0], at), corners)
    names = {"constant": ["value"], "warmup": ["then", "over"]}.get(value.name, ["first", "last", "over", "start"])
    if len(positional) > len(names) or any(k not in names[len(positional) :] for k in args):
        raise UsageError(usage)
    given = {**dict(zip(names, positional, strict=False)), **args}
    if any(n not in given for n in names if n in ("value", "then", "first", "last")):
        raise UsageError(usage)
    extents = {k: check_extent(given[k], at) for k in ("over", "start") if k in given}
    if value.name == "constant":
        return Constant(_number(given["value"], at))
    if value.name == "warmup":
        return Warmup(schedule_from(given["then"], where), **extents)
    kind = Linear if value.name == "linear" else Cosine
    return kind(_number(given["first"], at), _number(given["last"], at), **extents)


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{at}{render(value)} is not a finite number.")
    return float(value)


def not_negative(value: Any, name: str) -> Schedule:
    """The schedule `value`; `UsageError` if it is ever below 0."""
    schedule = schedule_from(value, name)
    if schedule.lowest < 0:
        raise UsageError(f"{name}={schedule} falls to {schedule.lowest:g}; it must stay at 0 or above.")
    return schedule


def check_extent(value: Any, at: str = "") -> Extent:
    """`value` if it is an extent; else `UsageError`."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            share = float(value[:-1])
        except ValueError:
            share = math.nan
        if 0 <= share <= 100:
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    raise UsageError(f'{at}{render(value)} is not an extent. Write a share as "50%" or a number of samples as 200_000.')
