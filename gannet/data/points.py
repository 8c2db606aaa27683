"""Densities on the line and in the plane, generated once from a seed, where modes can be seen and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import mix
from gannet.core.registry import SOURCES
from gannet.data.memory import MemorySource, class_numbers, keep_classes
from gannet.data.plane import Density, Mixture, gaussians, strung

TEST = 10_000
Points = tuple[np.ndarray, np.ndarray | None]
"""Coordinates `[n, D]` and the component `[n]` each came from, `None` where there are no components."""


@dataclass(frozen=True)
class Shape:
    """A named density. `draw(n, rng)` gives n points; `view` is the interval (low, high) of every axis that shows it;
    `centres` `[k, D]` and `sigma` are its modes, where it has any that a sample can be counted for; `density` is p(x),
    where it can be written down."""

    draw: Callable[[int, np.random.Generator], Points]
    view: tuple[float, float]
    components: int = 0
    density: Density | None = None
    centres: np.ndarray | None = None
    sigma: float | None = None


def _mixture(centres: Sequence[tuple[float, ...]], sigma: float, view: tuple[float, float]) -> Shape:
    """Equal Gaussians of standard deviation `sigma`."""
    middle = np.array(centres, dtype=np.float64)

    def draw(n: int, rng: np.random.Generator) -> Points:
        k = rng.integers(len(middle), size=n)
        return middle[k] + sigma * rng.standard_normal((n, middle.shape[1])), k

    return Shape(draw, view, len(middle), gaussians(middle, sigma), middle, sigma)


def _segment(u: np.ndarray) -> np.ndarray:
    return np.stack([0.8 - 0.75 * u, 0.6 + 0.3 * u], axis=1)


def _line(n: int, rng: np.random.Generator) -> Points:
    return _segment(rng.random(n)) + 0.01 * rng.standard_normal((n, 2)), None


_PAIR = gaussians(np.array([[0.3, 0.7], [0.7, 0.4]]), np.array([[0.1, 0.1], [0.05, 0.2]]))


def _gaussians(n: int, rng: np.random.Generator) -> Points:
    k = rng.integers(2, size=n)
    return _PAIR.centres[k] + _PAIR.spreads[k] * rng.standard_normal((n, 2)), k


def _ellipse(u: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * u
    return np.stack([0.5 + 0.3 * np.cos(angle), 0.45 + 0.25 * np.sin(angle)], axis=1)


def _ring(n: int, rng: np.random.Generator) -> Points:
    return _ellipse(rng.random(n)) + 0.025 * rng.standard_normal((n, 2)), None


def _moon(u: np.ndarray) -> np.ndarray:
    angle = np.pi * u
    return np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=1)


def _moons(n: int, rng: np.random.Generator) -> Points:
    k = rng.integers(2, size=n)
    upper = _moon(rng.random(n))
    # The lower moon is the upper one turned by half a circle.
    return np.where(k[:, None] == 0, upper, -upper) + 0.05 * rng.standard_normal((n, 2)), k


def _arm(u: np.ndarray, k: np.ndarray | int) -> np.ndarray:
    angle = 3 * np.pi * u
    return _polar(2 * angle / (3 * np.pi), angle + np.pi * k)


def _spiral(n: int, rng: np.random.Generator) -> Points:
    k = rng.integers(2, size=n)
    # The square root spreads points evenly along the arms, whose length grows with the square of the angle.
    return _arm(np.sqrt(rng.random(n)), k) + 0.04 * rng.standard_normal((n, 2)), k


def _roll(u: np.ndarray) -> np.ndarray:
    angle = 1.5 * np.pi * (1 + 2 * u)
    return _polar(2 * angle / (4.5 * np.pi), angle)


def _swiss_roll(n: int, rng: np.random.Generator) -> Points:
    return _roll(rng.random(n)) + 0.04 * rng.standard_normal((n, 2)), None


def _checkerboard(n: int, rng: np.random.Generator) -> Points:
    column, half = rng.integers(4, size=n), rng.integers(2, size=n)
    row = 2 * half + column % 2
    return np.stack([column, row], axis=1) + rng.random((n, 2)) - 2.0, None


def _on_the_board(x: np.ndarray) -> np.ndarray:
    square = np.floor(np.asarray(x, dtype=np.float64) + 2)
    return ((square >= 0) & (square < 4)).all(axis=1) * (square.sum(axis=1) % 2 == 0) / 8


def _pinwheel(n: int, rng: np.random.Generator) -> Points:
    k = rng.integers(5, size=n)
    radius = 1 + 0.3 * rng.standard_normal(n)
    across = 0.05 * rng.standard_normal(n)
    # A blade is a thin radial Gaussian, turned the more the farther out it reaches.
    angle = 2 * np.pi * k / 5 + 0.25 * np.exp(radius)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.stack([radius * cosine - across * sine, radius * sine + across * cosine], axis=1), k


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_EIGHTHS = [(float(np.cos(a)), float(np.sin(a))) for a in np.arange(8) * np.pi / 4]
_GRID = [(float(a), float(b)) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)]

SHAPES: dict[str, Shape] = {
    # The first four are those of GAN Lab (Kahng et al., 2019), in its unit square.
    "line": Shape(_line, (0.0, 1.0), 0, strung([_segment], 0.01)),
    "gaussians": Shape(_gaussians, (0.0, 1.0), 2, _PAIR),
    "ring": Shape(_ring, (0.0, 1.0), 0, strung([_ellipse], 0.025)),
    "disjoint": _mixture([(0.35, 0.75), (0.75, 0.6), (0.45, 0.35)], 0.025, (0.0, 1.0)),
    # The two mode-collapse benchmarks of VEEGAN (Srivastava et al., 2017) and PacGAN (Lin et al., 2018).
    "ring-8": _mixture(_EIGHTHS, 0.01, (-1.5, 1.5)),
    "grid-25": _mixture(_GRID, 0.05, (-5.0, 5.0)),
    "moons": Shape(_moons, (-2.0, 2.0), 2, strung([_moon, lambda u: -_moon(u)], 0.05)),
    "spiral": Shape(
        _spiral, (-2.5, 2.5), 2, strung([lambda u: _arm(u, 0), lambda u: _arm(u, 1)], 0.04, lambda u: 2 * u)
    ),
    "swiss-roll": Shape(_swiss_roll, (-2.5, 2.5), 0, strung([_roll], 0.04)),
    "checkerboard": Shape(_checkerboard, (-2.5, 2.5), 0, _on_the_board),
    "pinwheel": Shape(_pinwheel, (-2.5, 2.5), 5),
    # The line: one Gaussian, as in the first figure of Goodfellow et al. (2014), and three.
    "gaussian-1d": _mixture([(0.0,)], 1.0, (-4.0, 4.0)),
    "mixture-1d": _mixture([(-2.0,), (0.0,), (2.0,)], 0.25, (-3.5, 3.5)),
    # The point 0 of the Dirac-GAN (Mescheder et al., 2018), but for a thousandth, so that rows are rows.
    "dirac": _mixture([(0.0,)], 0.001, (-2.0, 2.0)),
}
if TYPE_CHECKING:
    ShapeName = str
else:
    ShapeName = Literal[tuple(SHAPES)]


@SOURCES.register("points")
class PointCloud(MemorySource):
    """Points of a named density, `[D]` float32 in its own coordinates; the list is `SHAPES`.

    `n` training and 10,000 test points, independent, the same for the same `seed`. The component a point came from is
    its class only with `classes=true`, since mode counting wants the model not to be told; `labels` keeps some
    components either way. `centres` `[k, D]` and `sigma` are the modes, `None` for a density without countable ones;
    `density` takes points `[n, D]` to p(x) `[n]`, `None` where it cannot be written down; `view` is the interval of
    every axis that shows the points.
    """

    def __init__(
        self,
        *,
        name: ShapeName = "ring-8",
        n: int = 20_000,
        seed: int = 0,
        classes: bool = False,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        if not 1 <= n <= 10_000_000:
            raise UsageError(f"points.n={n} is outside 1 … 10,000,000.")
        shape = SHAPES[name]
        if classes and not shape.components:
            among = ", ".join(key for key, other in SHAPES.items() if other.components)
            raise UsageError(f"points(name={name}) has no components to take as classes; those that have: {among}.")
        names = [str(k) for k in range(shape.components)]
        kept = class_numbers(labels, names)
        train = _rows(shape, n, mix(seed, f"points/{name}/train"))
        test = _rows(shape, TEST, mix(seed, f"points/{name}/test"))
        if labels is not None:
            train, test = keep_classes(train, kept), keep_classes(test, kept)
        if not classes:
            train, test = {"x": train["x"]}, {"x": test["x"]}
        super().__init__(train, test, [names[k] for k in kept] if classes else (), limit=limit)
        self.centres = shape.centres[kept] if shape.centres is not None else None
        self.sigma = shape.sigma
        self.density = shape.density
        if labels is not None and isinstance(shape.density, Mixture):
            self.density = shape.density.only(kept)
        self.view = shape.view


def _rows(shape: Shape, n: int, seed: int) -> dict[str, Tensor]:
    x, component = shape.draw(n, np.random.default_rng(seed))
    rows = {"x": torch.from_numpy(x.astype(np.float32))}
    return rows if component is None else {**rows, "y": torch.from_numpy(component.astype(np.int64))}
