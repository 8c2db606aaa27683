"""Fidelity and diversity apart, from nearest-neighbour balls: precision, recall, density, coverage, and realism.

The ball of a point reaches to its k-th nearest neighbour in its own set, itself not counted.
"""

from __future__ import annotations

import numpy as np
import torch

from gannet.core.errors import UsageError
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds, row_slices
from gannet.metrics.neighbours import held, measure, radii
from gannet.metrics.rowmean import RowMean


class _Balls(RowMean):
    """A mean over points or balls: reads features, higher is better."""

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

    side = "fake"

    def __init__(self, *, k: int = 3):
        super().__init__(k=k)

    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        fake, real = clouds(fake, real, reals=self.k + 1)
        return (held(fake, real, self.k, True)[0] > 0).astype(float)


@METRICS.register("recall")
class Recall(_Balls):
    """Share of the reals that lie in a ball of some fake, edge included: diversity, 0 … 1.

    Precision with the sets exchanged (Kynkäänniemi et al. 2019, arXiv 1904.06991). More than k fakes are needed. Fakes
    that repeat one sample have balls of radius 0 and so cover nothing but exact copies.
    """

    side = "real"

    def __init__(self, *, k: int = 3):
        super().__init__(k=k)

    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        fake, real = clouds(fake, real, fakes=self.k + 1)
        return (held(real, fake, self.k, True)[0] > 0).astype(float)


@METRICS.register("density")
class Density(_Balls):
    """Mean number of reals whose open ball holds a fake, over k: fidelity that outliers among the reals cannot inflate.

    (1/(k n)) Σ_x #{i : |x − yᵢ| < r_k(yᵢ)} (Naeem et al. 2020, arXiv 2002.09797). About 1 for equal distributions, and
    may exceed it. More than k reals are needed.
    """

    side = "fake"

    def __init__(self, *, k: int = 5):
        super().__init__(k=k)

    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        fake, real = clouds(fake, real, reals=self.k + 1)
        return held(fake, real, self.k, False)[0] / self.k


@METRICS.register("coverage")
class Coverage(_Balls):
    """Share of the reals whose own open ball holds a fake: diversity, 0 … 1.

    (1/m) #{i : ∃x |x − yᵢ| < r_k(yᵢ)} (Naeem et al. 2020, arXiv 2002.09797). About 1 − 2⁻ᵏ for equal distributions of
    equal size. More than k reals are needed.
    """

    side = "real"

    def __init__(self, *, k: int = 5):
        super().__init__(k=k)

    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        fake, real = clouds(fake, real, reals=self.k + 1)
        return (held(fake, real, self.k, False)[1] > 0).astype(float)


def realism(fake: np.ndarray, real: np.ndarray, k: int = 3) -> np.ndarray:
    """How far inside the reals' balls each fake lies, `[n]`: higher is more real, 1 the edge of a ball.

    max_i r_k(yᵢ) / |x − yᵢ| over the balls of at most median radius, for large balls stand where there is little data
    (Kynkäänniemi et al. 2019, arXiv 1904.06991, §5). It ranks samples, best and worst; a mean over samples says little,
    for a copy of a real is infinitely real. Features `[n, d]` and `[m, d]`, m > k. Raises as `clouds` does.
    """
    fake, real = clouds(fake, real, reals=k + 1)
    radius = radii(real, k)
    dense = radius <= np.median(radius)
    reach, centres = torch.tensor(radius[dense]), torch.tensor(real[dense])
    found = np.empty(len(fake))
    for part in row_slices(len(fake), len(centres)):
        away = measure(torch.from_numpy(fake[part]), centres)
        # A copy of a repeated real stands 0 from a ball of radius 0.
        found[part] = torch.where(away == 0, torch.inf, reach / away).amax(1).numpy()
    return found
