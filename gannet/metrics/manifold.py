"""Fidelity and diversity apart, from nearest-neighbour balls: precision, recall, density, coverage.

The ball of a point reaches to its k-th nearest neighbour in its own set, itself not counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds, row_slices


class _Balls(Metric):
    """A share of points and balls: reads features, higher is better."""

    reads, better = "features", "higher"

    def __init__(self, *, k: int):
        if k < 1:
            raise UsageError(
                f"k={k}: a ball reaches to the k-th neighbour, so k must be 1 or more (3 to 10 are usual)."
            )
        self.k = k
        self.needs_rows = k + 1


@METRICS.register("precision")
class Precision(_Balls):
    """Share of the fakes that lie in a ball of some real, edge included: fidelity, 0 … 1.

    (1/n) #{x : ∃i |x − yᵢ| ≤ r_k(yᵢ)} (Kynkäänniemi et al. 2019, arXiv 1904.06991). More than k reals are needed.
    """

    def __init__(self, *, k: int = 3):
        super().__init__(k=k)

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return covered_share(*clouds(fake, real, reals=self.k + 1), self.k)


@METRICS.register("recall")
class Recall(_Balls):
    """Share of the reals that lie in a ball of some fake, edge included: diversity, 0 … 1.

    Precision with the sets exchanged (Kynkäänniemi et al. 2019, arXiv 1904.06991). More than k fakes are needed. Fakes
    that repeat one sample have balls of radius 0 and so cover nothing but exact copies.
    """

    def __init__(self, *, k: int = 3):
        super().__init__(k=k)

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real, fakes=self.k + 1)
        return covered_share(real, fake, self.k)


@METRICS.register("density")
class Density(_Balls):
    """Mean number of reals whose open ball holds a fake, over k: fidelity that outliers among the reals cannot inflate.

    (1/(k n)) Σ_x #{i : |x − yᵢ| < r_k(yᵢ)} (Naeem et al. 2020, arXiv 2002.09797). About 1 for equal distributions, and
    may exceed it. More than k reals are needed.
    """

    def __init__(self, *, k: int = 5):
        super().__init__(k=k)

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real, reals=self.k + 1)
        radius = radii(real, self.k)
        inside = sum(int((rows < radius).sum()) for _, rows in distance_rows(fake, real))
        return inside / (self.k * len(fake))


@METRICS.register("coverage")
class Coverage(_Balls):
    """Share of the reals whose own open ball holds a fake: diversity, 0 … 1.

    (1/m) #{i : ∃x |x − yᵢ| < r_k(yᵢ)} (Naeem et al. 2020, arXiv 2002.09797). About 1 − 2⁻ᵏ for equal distributions of
    equal size. More than k reals are needed.
    """

    def __init__(self, *, k: int = 5):
        super().__init__(k=k)

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real, reals=self.k + 1)
        radius = radii(real, self.k)
        covered = sum(int((rows < radius[part, None]).any(1).sum()) for part, rows in distance_rows(real, fake))
        return covered / len(real)


def covered_share(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """Share of `points` `[n, d]` in a closed ball of at least one of `centres` `[m, d]`."""
    radius = radii(centres, k)
    return sum(int((rows <= radius).any(1).sum()) for _, rows in distance_rows(points, centres)) / len(points)


def radii(points: np.ndarray, k: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour in the same set, itself not counted, `[n]`."""
    return torch.cat([rows.kthvalue(k + 1, dim=1).values for _, rows in distance_rows(points, points)])


def distance_rows(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of `a` `[n, d]` to `b` `[m, d]`, a few rows at once."""
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    for part in row_slices(len(a), len(b)):
        # Differences, not |a|² + |b|² − 2ab: copies must be at distance 0 exactly, or ties and self would be lost.
        yield part, torch.cdist(left[part], right, compute_mode="donot_use_mm_for_euclid_dist")
