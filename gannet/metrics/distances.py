"""Distances between two clouds of points, in fp64: Fréchet, kernel (polynomial MMD) and sliced Wasserstein."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS

ENTRIES = 1 << 22
"""Numbers of an n × m matrix held at once (32 MB in fp64); larger matrices are walked in rows."""


def clouds(fake: np.ndarray, real: np.ndarray, fakes: int = 1, reals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Both clouds as fp64 `[n, d]` and `[m, d]`, with at least `fakes` and `reals` rows.

    Raises `DivergedError` if a generated number is not finite, `DataError` for a non-finite reference, too few rows
    or clouds of different dimensions: a distance is never taken from numbers that cannot carry one.
    """
    fake, real = np.ascontiguousarray(fake, np.float64), np.ascontiguousarray(real, np.float64)
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise DataError(
            f"a metric compares rows [n, d] with rows [m, d]; received {list(fake.shape)} and {list(real.shape)}."
        )
    for name, rows, least in (("generated", fake, fakes), ("reference", real, reals)):
        if len(rows) < least:
            raise DataError(f"{len(rows)} {name} samples; this metric needs at least {least}. Raise n.")
    for name, rows, error in (("generated", fake, DivergedError), ("reference", real, DataError)):
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise error(
                f"{len(bad)} of {len(rows)} {name} rows are not finite, first row {bad[0]}; no metric was taken."
            )
    return fake, real


def row_slices(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that slice × `columns` stays within `ENTRIES`."""
    step = max(1, ENTRIES // max(1, columns))
    return (slice(start, start + step) for start in range(0, rows, step))


@METRICS.register("frechet")
class Frechet(Metric):
    """Fréchet distance of the two clouds taken as Gaussians.

    |μx − μy|² + tr(Sx + Sy − 2 (Sx^½ Sy Sx^½)^½), covariances with N−1 (Heusel et al. 2017, arXiv 1706.08500).
    `fake` `[n, d]`, `real` `[m, d]`, n, m ≥ 2, also fewer than d. Biased upwards at small n: compare at one n only.
    """

    reads, better, symbol, needs_rows = "features", "lower", "fd", 2

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real, fakes=2, reals=2)
        shift = fake.mean(0) - real.mean(0)
        x, y = _root(fake), _root(real)
        # With Sx = XᵀX and Sy = YᵀY the traced root is the nuclear norm of X Yᵀ. No eigenvalue is squared on the way,
        # so singular covariances (n ≤ d, collapse) lose no digits and cannot give NaN.
        root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
        return float(shift @ shift + max(0.0, (x**2).sum() + (y**2).sum() - 2 * root))


def _root(rows: np.ndarray) -> np.ndarray:
    """A triangular R, `[min(n, d), d]`, with RᵀR the covariance of `rows`."""
    return np.asarray(np.linalg.qr((rows - rows.mean(0)) / np.sqrt(len(rows) - 1), mode="r"))


@METRICS.register("kernel")
class Kernel(Metric):
    """Kernel distance: the unbiased squared MMD with k(x, y) = (x·y/d + 1)³, over the full sample.

    Σ_{i≠j} k(xᵢ, xⱼ)/(n(n−1)) + Σ_{i≠j} k(yᵢ, yⱼ)/(m(m−1)) − 2 Σ k(xᵢ, yⱼ)/(nm) (Bińkowski et al. 2018, arXiv
    1801.01401). No subsets are drawn, so there is no noise but the sample's. Unbiased, so it falls below 0 for equal
    distributions, and for a set against itself. n, m ≥ 2.
    """

    reads, better, symbol, needs_rows = "features", "lower", "kd", 2

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real, fakes=2, reals=2)
        return _within(fake) + _within(real) - 2 * _kernel_sum(fake, real) / (len(fake) * len(real))


def _within(rows: np.ndarray) -> float:
    own = (((rows**2).sum(1) / rows.shape[1] + 1) ** 3).sum()
    return float((_kernel_sum(rows, rows) - own) / (len(rows) * (len(rows) - 1)))


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum(((a[part] @ b.T / a.shape[1] + 1) ** 3).sum() for part in row_slices(len(a), len(b))))


@METRICS.register("sliced-wasserstein")
class SlicedWasserstein(Metric):
    """Sliced 2-Wasserstein distance: √ mean over unit directions u of W₂²(u·x, u·y).

    W₂² on a line is ∫₀¹ (F_x⁻¹(q) − F_y⁻¹(q))² dq, taken exactly for any n and m (Bonneel et al. 2015). In the unit of
    the samples; a shift by δ reads |δ|/√d. On images it is taken of flattened pixels. The same `seed` draws the same
    `directions`.
    """

    reads, better, unit = "samples", "lower", "sample units"

    def __init__(self, *, directions: int = 256, seed: int = 0):
        if directions < 1:
            raise UsageError(f"sliced-wasserstein: directions={directions}; at least 1 is needed, 256 is usual.")
        self.directions = directions
        self.seed = seed

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real)
        n, m = len(fake), len(real)
        u = np.random.default_rng(self.seed).standard_normal((fake.shape[1], self.directions))
        u /= np.linalg.norm(u, axis=0)
        # Both quantile functions are constant between neighbouring cuts: one weight and one row of each an interval.
        cuts = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
        width = np.diff(cuts, prepend=0.0)
        middle = cuts - width / 2
        x_row, y_row = (middle * n).astype(int), (middle * m).astype(int)
        total = 0.0
        for part in row_slices(self.directions, len(cuts)):
            x, y = np.sort(fake @ u[:, part], axis=0), np.sort(real @ u[:, part], axis=0)
            total += float((width @ (x[x_row] - y[y_row]) ** 2).sum())
        return float(np.sqrt(total / self.directions))
