"""Which parts of a distribution a generator reaches: known modes of points, classes of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gannet.core.errors import DataError, UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds
from gannet.metrics.rowmean import RowMean

HIGH_QUALITY = 3.0
"""A sample within this many σ of a mode's centre is of high quality."""


class _KnownModes(Metric):
    """A metric on samples of a source whose modes are Gaussians: `centres` `[K, d]` and one standard deviation `sigma`.

    Raises `UsageError` for a source without known modes.
    """

    reads = "samples"
    wants_source = True

    def __init__(self, source: Any):
        centres, sigma = getattr(source, "centres", None), getattr(source, "sigma", None)
        if centres is None or sigma is None:
            raise UsageError(
                f"{type(source).__name__} does not know its modes; metrics that count modes need a source with centres "
                f"and sigma, such as points(name=ring-8). sliced-wasserstein and coverage work on any source."
            )
        self.centres = np.asarray(centres, dtype=np.float64)
        self.sigma = float(sigma)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mode nearest to each row of `x` `[n, d]` and its distance in σ; both `[n]`."""
        if x.shape[1] != self.centres.shape[1]:
            raise DataError(f"samples have {x.shape[1]} coordinates, the modes have {self.centres.shape[1]}.")
        away = np.stack([np.linalg.norm(x - centre, axis=1) for centre in self.centres], axis=1) / self.sigma
        mode = away.argmin(axis=1)
        return mode, away[np.arange(len(x)), mode]


@METRICS.register("modes-covered")
class ModesCovered(_KnownModes):
    """Number of modes with at least one fake within 3σ of the centre, 0 … K.

    Srivastava et al. 2017, arXiv 1705.07761.
    """

    better, unit = "higher", "modes"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        mode, away = self.nearest(clouds(fake, real)[0])
        return float(len(np.unique(mode[away <= HIGH_QUALITY])))


@METRICS.register("high-quality")
class HighQuality(_KnownModes, RowMean):
    """Share of the fakes within 3σ of a mode's centre, 0 … 1 (Srivastava et al. 2017, arXiv 1705.07761).

    Reals reach 1 − e^(−9/2) = .989 in the plane, not 1.
    """

    better, side = "higher", "fake"

    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        return (self.nearest(clouds(fake, real)[0])[1] <= HIGH_QUALITY).astype(float)


@METRICS.register("reverse-kl")
class ReverseKL(_KnownModes):
    """KL(fake ‖ real) of the shares of samples nearest to each mode: 0 when alike, log K when K even modes fall to one.

    Σ_k p_k log(p_k / q_k), p from fakes, q from reals (Lin et al. 2018, arXiv 1712.04086). Every sample counts for its
    nearest mode, so it says nothing of quality. Raises `DataError` if a mode with fakes has no real: n is too small.
    """

    better, unit = "lower", "nat"

    def __init__(self, source: Any):
        super().__init__(source)
        modes = len(self.centres)
        # Then some mode of equals has no real once in a thousand times: P ≤ K (1 − 1/K)ⁿ ≤ K e^(−n/K) = e⁻⁷.
        self.needs_rows = math.ceil(modes * (math.log(modes) + 7))

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real)
        p, q = (np.bincount(self.nearest(x)[0], minlength=len(self.centres)) / len(x) for x in (fake, real))
        missed = np.flatnonzero((p > 0) & (q == 0))
        if len(missed):
            raise DataError(f"no reference sample is nearest to mode {missed[0]}: {len(real)} are too few. Raise n.")
        return divergence(p, q)


@METRICS.register("class-kl")
class ClassKL(Metric):
    """KL(fake ‖ real) of the mean class probabilities: 0 when every class is generated as often as it occurs.

    Σ_c p̄_c log(p̄_c / q̄_c), with the extractor's classes. `fake` `[n, classes]`, `real` `[m, classes]`.
    """

    reads, better, unit = "probabilities", "lower", "nat"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real)
        return divergence(fake.mean(0), real.mean(0))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p ‖ q) in nats; terms with p = 0 are 0."""
    some = p > 0
    # Rounding may leave a hair below 0 where both are equal.
    return max(0.0, float((p[some] * np.log(p[some] / q[some])).sum()))
