"""Distances between two clouds of points, in fp64: Fréchet, kernel (polynomial MMD) and sliced Wasserstein."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gannet.core.errors import DataError, DivergedError, GannetError, UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS

ENTRIES = 1 << 22
"""Numbers of an n × m matrix held at once (32 MB in fp64); larger matrices are walked in rows."""


def clouds(fake: np.ndarray, real: np.ndarray, fakes: int = 1, reals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Both clouds as fp64 `[n, d]` and `[m, d]`, with at least `fakes` and `reals` rows.

    Raises `DivergedError` if a generated number is not finite, `DataError` for a non-finite reference, too few rows
    or clouds of different dimensions: a distance is never taken from numbers that cannot carry one.
    """
    check(fake, real, fakes, reals)
    return np.ascontiguousarray(fake, np.float64), np.ascontiguousarray(real, np.float64)


def check(fake: np.ndarray, real: np.ndarray, fakes: int = 1, reals: int = 1) -> None:
    """What `clouds` refuses, for metrics that convert rows piece by piece."""
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise DataError(
            f"a metric compares rows [n, d] with rows [m, d]; received {list(fake.shape)} and {list(real.shape)}."
        )
    enough(fake, "generated", fakes)
    enough(real, "reference", reals)
    finite(fake, "generated", DivergedError)
    finite(real, "reference")


def enough(rows: np.ndarray, name: str, least: int) -> None:
    """Raises `DataError` for fewer than `least` rows."""
    if len(rows) < least:
        raise DataError(f"{len(rows)} {name} samples; this metric needs at least {least}. Raise n.")


def finite(rows: np.ndarray, name: str, error: type[GannetError] = DataError) -> None:
    """Raises `error` if a number of `rows` `[n, d]` is not finite."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise error(f"{len(bad)} of {len(rows)} {name} rows are not finite, first row {bad[0]}; no metric was taken.")


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

    def report_rows(self, dimension: int) -> int:
        """The fewest samples a side to report it of, in features of `dimension` numbers: with fewer the covariance has
        no full rank whatever the distribution is, and most of the value is bias."""
        return dimension + 1

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        check(fake, real, fakes=2, reals=2)
        (mean_x, x), (mean_y, y) = _mean_and_factor(fake), _mean_and_factor(real)
        return _gaussian_distance(mean_x - mean_y, x, y)


def frechet_from(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    """The Fréchet distance of two Gaussians: means `[d]`, covariances `[d, d]` (N−1), as `moments` gives them.

    What the metric would give of the rows themselves: to rounding, or to 1e-7 of the traces where a covariance is
    singular. Raises `DataError` for shapes that do not match and numbers that are not finite.
    """
    arrays = [np.asarray(a, np.float64) for a in (mean_x, cov_x, mean_y, cov_y)]
    d = arrays[0].size
    if [a.shape for a in arrays] != [(d,), (d, d)] * 2:
        raise DataError(f"means [d] and covariances [d, d] are compared; received {[list(a.shape) for a in arrays]}.")
    if not all(np.isfinite(a).all() for a in arrays):
        raise DataError("a mean or covariance is not finite; no metric was taken.")
    return _gaussian_distance(arrays[0] - arrays[2], _factor(arrays[1]), _factor(arrays[3]))


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[d]` and covariance `[d, d]` (N−1) of `rows` `[n, d]`, n ≥ 2, in fp64 without an fp64 copy of the rows."""
    mean = rows.mean(0, dtype=np.float64)
    cov = np.zeros((len(mean), len(mean)))
    for part in row_slices(*rows.shape):
        away = rows[part] - mean
        cov += away.T @ away
    return mean, cov / (len(rows) - 1)


def _mean_and_factor(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of `rows`, and a matrix F `[d, r]` with F Fᵀ their covariance."""
    if len(rows) > rows.shape[1]:
        mean, cov = moments(rows)
        return mean, _factor(cov)
    # The rows themselves are the smaller factor, and keep the digits that a product of them would lose.
    mean = rows.mean(0, dtype=np.float64)
    return mean, ((rows - mean) / np.sqrt(len(rows) - 1)).T


def _factor(cov: np.ndarray) -> np.ndarray:
    """A matrix F `[d, r]` with F Fᵀ = `cov`."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:  # singular: features that never vary, a collapsed generator, n ≤ d
        values, vectors = np.linalg.eigh(cov)
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        return vectors[:, kept] * np.sqrt(values[kept])


def _gaussian_distance(shift: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    # With Sx = XXᵀ and Sy = YYᵀ the eigenvalues of Sx^½ Sy Sx^½ are the squared singular values of XᵀY. Taken as
    # singular values they are never squared and never negative, so nothing is clipped and nothing can be NaN.
    root = np.linalg.svd(x.T @ y, compute_uv=False).sum()
    return float(shift @ shift + max(0.0, (x**2).sum() + (y**2).sum() - 2 * root))


@METRICS.register("kernel")
class Kernel(Metric):
    """Kernel distance: the unbiased squared MMD with k(x, y) = (x·y/d + 1)³, over the full sample.

    Σ_{i≠j} k(xᵢ, xⱼ)/(n(n−1)) + Σ_{i≠j} k(yᵢ, yⱼ)/(m(m−1)) − 2 Σ k(xᵢ, yⱼ)/(nm) (Bińkowski et al. 2018, arXiv
    1801.01401). No subsets are drawn, so there is no noise but the sample's. Unbiased, so it falls below 0 for equal
    distributions, and for a set against itself. n, m ≥ 2.
    """

    reads, better, symbol, needs_rows = "features", "lower", "kd", 2

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return _squared_mmd(*clouds(fake, real, fakes=2, reals=2))


@METRICS.register("kernel-subsets")
class KernelSubsets(Metric):
    """Kernel distance as it is often published: the mean of `kernel` over random subsets of `size` rows a side.

    Each subset is drawn without replacement, by place, so the value depends on the order of the rows as far as the
    draw is noisy; `kernel` has no such noise. n, m ≥ `size`. The usual protocol is 100 subsets of 1,000.
    """

    reads, better, symbol = "features", "lower", "kd-subsets"

    def __init__(self, *, subsets: int = 100, size: int = 1000, seed: int = 0):
        if subsets < 1 or size < 2:
            raise UsageError(
                f"kernel-subsets: subsets={subsets}, size={size}; at least 1 subset of 2 rows is needed, "
                f"100 of 1000 are usual."
            )
        self.subsets, self.size, self.seed = subsets, size, seed
        self.needs_rows = size

    def values(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        """The value of every subset, `[subsets]`. Their standard deviation is what is published beside the mean; it is
        the spread of one subset, and no standard error of the mean."""
        check(fake, real, fakes=self.size, reals=self.size)
        rng = np.random.default_rng(self.seed)

        def drawn(rows: np.ndarray) -> np.ndarray:
            return rows[rng.choice(len(rows), self.size, replace=False)].astype(np.float64)

        return np.array([_squared_mmd(drawn(fake), drawn(real)) for _ in range(self.subsets)])

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return float(self.values(fake, real).mean())


def _squared_mmd(fake: np.ndarray, real: np.ndarray) -> float:
    across = sum(float(_kernel(fake[part], real).sum()) for part in row_slices(len(fake), len(real)))
    return _within(fake) + _within(real) - 2 * across / (len(fake) * len(real))


def _within(rows: np.ndarray) -> float:
    """Mean kernel of different rows. Blocks right of the diagonal stand for those on its other side."""
    total = 0.0
    for part in row_slices(len(rows), len(rows)):
        k = _kernel(rows[part], rows[part.start :])
        square = k[:, : len(k)]
        total += float(2 * k[:, len(k) :].sum() + square.sum() - square.trace())
    return total / (len(rows) * (len(rows) - 1))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    k = a @ b.T
    k /= a.shape[1]
    k += 1
    return np.asarray(k * k * k)  # a power would cost more than the product of the rows


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
        u = unit_directions(np.random.default_rng(self.seed), fake.shape[1], self.directions)
        total = sum(float(((x - y) ** 2 @ width).sum()) for width, x, y in projected(fake, real, u))
        return float(np.sqrt(total / self.directions))


def unit_directions(rng: np.random.Generator, d: int, count: int) -> np.ndarray:
    """`count` directions, uniform on the sphere, as columns `[d, count]`."""
    u = rng.standard_normal((d, count))
    return u / np.linalg.norm(u, axis=0)


def projected(x: np.ndarray, y: np.ndarray, u: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Quantile functions of both clouds along each of the directions `u` `[d, directions]`, a few directions at once.

    Both are constant between neighbouring cuts, for any n and m: gives widths `[cuts]`, which sum to 1, and values of
    `x` and `y`, `[directions, cuts]`. A mean over q ∈ [0, 1] of any cost is then an exact sum.
    """
    n, m = len(x), len(y)
    cuts = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m)
    width = np.diff(cuts, prepend=0.0)
    middle = cuts - width / 2
    x_row, y_row = (middle * n).astype(int), (middle * m).astype(int)
    for part in row_slices(u.shape[1], len(cuts)):
        a, b = (np.sort(u[:, part].T @ rows.T, axis=1) for rows in (x, y))  # along memory: several times faster
        yield width, a[:, x_row], b[:, y_row]
