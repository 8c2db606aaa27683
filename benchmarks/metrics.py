"""Seconds and memory of the distances between two clouds of N × d features, beside the ways they are usually taken.

Every way runs in a process of its own on the same fp32 features; memory is what it needs on top of them.

    python benchmarks/metrics.py [--n 50000] [--d 2048]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np

from gannet.metrics.distances import Frechet, Kernel, KernelSubsets

SUBSETS = 100
Way = Callable[[np.ndarray, np.ndarray], float]


def frechet_by_sqrtm(fake: np.ndarray, real: np.ndarray) -> float:
    """Covariances of whole fp64 copies, and the root of their product by SciPy."""
    import scipy.linalg

    fake, real = fake.astype(np.float64), real.astype(np.float64)
    x, y = np.cov(fake, rowvar=False), np.cov(real, rowvar=False)
    shift = fake.mean(0) - real.mean(0)
    return float(shift @ shift + np.trace(x) + np.trace(y) - 2 * np.trace(scipy.linalg.sqrtm(x @ y).real))


def kernel_by_subsets(fake: np.ndarray, real: np.ndarray) -> float:
    """The mean over subsets, each with its three kernel matrices."""
    rng, size, values = np.random.default_rng(0), subset_size(len(fake)), []
    for _ in range(SUBSETS):
        x, y = (rows[rng.choice(len(rows), size, replace=False)].astype(np.float64) for rows in (fake, real))
        xx, yy, xy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        values.append((xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (size * (size - 1)) - 2 * xy.mean())
    return float(np.mean(values))


def kernel_subsets(fake: np.ndarray, real: np.ndarray) -> float:
    return KernelSubsets(subsets=SUBSETS, size=subset_size(len(fake)))(fake, real)


def subset_size(n: int) -> int:
    return min(1000, n // 2)


def clouds(n: int, d: int) -> list[np.ndarray]:
    """Features with variances that fall off as those of trained networks do, fp32, positive."""
    scale = (np.arange(1, d + 1, dtype=np.float32)) ** -0.5
    found = []
    for seed, shift in ((0, 0.05), (1, 0.0)):
        rows = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
        rows += np.float32(shift)
        rows *= scale
        np.abs(rows, out=rows)
        found.append(rows)
    return found


def run(way: Way, n: int, d: int) -> tuple[float, float, float]:
    """Value, seconds, and MiB at the peak beyond the features."""
    fake, real = clouds(n, d)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    value = way(fake, real)
    seconds = time.perf_counter() - begun
    return value, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


GROUPS: dict[str, dict[str, Way]] = {
    "Fréchet distance": {"gannet": Frechet(), "np.cov and scipy.linalg.sqrtm": frechet_by_sqrtm},
    "kernel distance": {
        f"gannet, {SUBSETS} subsets": kernel_subsets,
        f"{SUBSETS} subsets, full matrices": kernel_by_subsets,
        "gannet, all rows": Kernel(),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--d", type=int, default=2048)
    args = parser.parse_args()
    print(f"{args.n:,} × {args.d:,} features a side, NumPy {np.__version__}")
    for title, ways in GROUPS.items():
        print(f"\n{title:<34} {'value':>14} {'seconds':>9} {'MiB':>8} {'ratio':>7}")
        first = None
        for name, way in ways.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                value, seconds, memory = pool.apply(run, (way, args.n, args.d))
            first = first or seconds
            print(f"{name:<34} {value:14.8g} {seconds:9.2f} {memory:8.0f} {seconds / first:7.2f}", flush=True)


if __name__ == "__main__":
    main()
