"""Divergences of points on a line or in the plane, from histograms on one grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gannet.core.errors import UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds
from gannet.metrics.modes import divergence

MOST_COORDINATES = 2
"""Of more, nearly all cells of a grid would be empty."""


class _Grid(Metric):
    """A divergence of counts on a grid of `bins` cells a side over the reals' extent.

    The outermost cells have no outer edge, so every sample falls into a cell and none is dropped. `bins` is odd by
    default, for an edge through the middle of symmetric data would cut the modes that lie there: the least shift of
    one moves half of its samples. Raises `UsageError` for samples of more than two coordinates, whose cells would
    nearly all be empty.
    """

    reads, better, unit = "samples", "lower", "nat"
    wants_source = True

    def __init__(self, source: Any, *, bins: int = 21):
        coordinates = math.prod(source.spec.shape)
        if coordinates > MOST_COORDINATES:
            raise UsageError(
                f"{type(source).__name__} gives samples of {coordinates} coordinates; histograms are taken of 1 or 2. "
                f"sliced-wasserstein works on any samples."
            )
        if bins < 2:
            raise UsageError(f"bins={bins}: at least 2 cells a side are needed, 21 are usual.")
        self.bins = bins

    def counts(self, fake: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples in every cell, `[bins ** d]`, of fakes and of reals."""
        fake, real = clouds(fake, real)
        inner = np.linspace(real.min(0), real.max(0), self.bins + 1)[1:-1]  # edges between cells, [bins − 1, d]

        def cells(rows: np.ndarray) -> np.ndarray:
            place = [np.searchsorted(inner[:, i], rows[:, i], side="right") for i in range(rows.shape[1])]
            shape = (self.bins,) * rows.shape[1]
            return np.bincount(np.ravel_multi_index(tuple(place), shape), minlength=math.prod(shape))

        return cells(fake), cells(real)


@METRICS.register("kl")
class HistogramKL(_Grid):
    """KL(real ‖ fake) of histograms: what is missing among the fakes is what it punishes.

    Σ_c p_c log(p_c / q_c), with p_c = (count_c + ½)/(n + ½ cells) of the reals, q_c so of the fakes (Krichevsky and
    Trofimov 1981): an empty cell is not an infinite one. 0 when alike; equal distributions give more than 0, the more
    the fewer samples a cell, so read it against its value for other reals of the same number.
    """

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        q, p = ((c + 0.5) / (c + 0.5).sum() for c in self.counts(fake, real))
        return divergence(p, q)


@METRICS.register("js")
class HistogramJS(_Grid):
    """Jensen–Shannon divergence of histograms: 0 when alike, log 2 = .693 when no cell has both reals and fakes.

    ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½(p + q), of shares without smoothing. Equal distributions give more than 0: read it
    against its value for other reals of the same number.
    """

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        q, p = (c / c.sum() for c in self.counts(fake, real))
        return (divergence(p, (p + q) / 2) + divergence(q, (p + q) / 2)) / 2
