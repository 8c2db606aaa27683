"""Looks: plain JSON that says which sample is meant, as the laboratory's explorer writes them.

    {"point": P, "class": 3, "truncation": 0.7, "directions": [[0, 1.5]], "style": {"point": P, "layers": [0, 1]}}

with a point P one of {"seed": 7}, {"x": 1.5, "y": 0.25} and {"between": [P, P], "t": 0.5}. All but the point may be
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gannet.core.errors import UsageError, unknown
from gannet.latent import arcs
from gannet.latent.arcs import Blend

DEEPEST = 4
"""Points between points between points."""
FARTHEST = 1e6
STRONGEST = 100.0
"""Standard deviations along a direction."""
KEYS = ("point", "class", "truncation", "directions", "style")


@dataclass(frozen=True)
class Point:
    """A place in the latent space: the `blend` it is in z, and in w the weighted `parts` of the straight lines that
    lead to it."""

    blend: Blend
    parts: tuple[tuple[float, Blend], ...]

    @property
    def seed(self) -> int | None:
        """The seed whose sample number 0 this is, if it is one's."""
        return next(iter(self.blend)) if len(self.blend) == len(self.parts) == 1 else None


@dataclass(frozen=True)
class Look:
    """A sample to be looked at. `label` is a class's number; `directions` are (number, standard deviations); `style`
    is the point whose styles stand in some layers."""

    point: Point
    label: int | None = None
    truncation: float = 1.0
    directions: tuple[tuple[int, float], ...] = ()
    style: tuple[Point, tuple[int, ...]] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of which this is `gannet sample`'s first sample, `None` for what has been changed."""
        return None if self.directions or self.style else self.point.seed


def of_seed(seed: int, label: int | None = None, truncation: float = 1.0) -> Look:
    return Look(_at({seed: 1.0}), label, truncation)


def _at(blend: Blend) -> Point:
    return Point(blend, ((1.0, blend),))


def look(value: Any, label: Callable[[Any], int | None] = lambda given: given) -> Look:
    """The look that JSON describes; `label` turns a class's name or number into its number. Raises `UsageError` for
    anything else than the pattern above."""
    if not isinstance(value, Mapping) or "point" not in value:
        raise UsageError(
            f"a look is an object with a point, as in {{'point': {{'seed': 7}}}}; received {_said(value)}."
        )
    strange = [key for key in value if key not in KEYS]
    if strange:
        raise UsageError(unknown("part of a look", str(strange[0])[:50], KEYS))
    truncation = value.get("truncation")
    truncation = 1.0 if truncation is None else _number(truncation, "truncation", 0, 2)
    return Look(
        point(value["point"]), label(value.get("class")), truncation, _moves(value.get("directions")),
        _style(value.get("style")),
    )  # fmt: skip


def point(value: Any, depth: int = DEEPEST) -> Point:
    """The place that JSON describes. Raises `UsageError`."""
    if isinstance(value, Mapping) and set(value) == {"seed"}:
        seed = value["seed"]
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise UsageError(f"seed {_said(seed)}: a seed is a whole number from 0 to 2^63 − 1.")
        return _at({seed: 1.0})
    if isinstance(value, Mapping) and set(value) == {"x", "y"}:
        return _at(arcs.plane(*(_number(value[axis], axis, -FARTHEST, FARTHEST) for axis in "xy")))
    if isinstance(value, Mapping) and set(value) == {"between", "t"} and depth:
        ends, t = value["between"], _number(value["t"], "t", 0, 1)
        if isinstance(ends, list | tuple) and len(ends) == 2:
            a, b = (point(end, depth - 1) for end in ends)
            if t in (0, 1):
                return b if t else a
            sides = ((1 - t, a), (t, b))
            parts = tuple((share * weight, blend) for share, side in sides for weight, blend in side.parts)
            return Point(arcs.between(a.blend, b.blend, t), parts)
    raise UsageError(
        f"{_said(value)} is no point. Points are {{'seed': 7}}, {{'x': 1.5, 'y': 0.25}} and "
        f"{{'between': [point, point], 't': 0.5}}, at most {DEEPEST} within one another."
    )


def _moves(value: Any) -> tuple[tuple[int, float], ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > 64:
        raise UsageError(f"directions {_said(value)}: up to 64 pairs [number, standard deviations] are allowed.")
    found = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UsageError(f"direction {_said(pair)}: write [number, standard deviations], as in [0, 1.5].")
        amount = _number(pair[1], "standard deviations", -STRONGEST, STRONGEST)
        if amount:
            found.append((_whole(pair[0], "direction"), amount))
    return tuple(found)


def _style(value: Any) -> tuple[Point, tuple[int, ...]] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"point", "layers"} or not isinstance(value["layers"], list):
        raise UsageError(f"style {_said(value)}: write {{'point': {{'seed': 7}}, 'layers': [0, 1]}}.")
    layers = tuple(dict.fromkeys(_whole(layer, "style layer") for layer in value["layers"][:64]))
    return (point(value["point"]), layers) if layers else None


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1000:
        raise UsageError(f"{what} {_said(value)}: a whole number from 0 is wanted.")
    return value


def _number(value: Any, what: str, low: float, high: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # not-a-number is in no range
        raise UsageError(f"{what} {_said(value)}: a number from {low:g} to {high:g} is wanted.")
    return float(value)


def _said(value: Any) -> str:
    return repr(value)[:80]
