"""Densities one can write down: mixtures of Gaussians, and curves that Gaussians are strung along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Density = Callable[[np.ndarray], np.ndarray]
"""Points `[n, D]` to the density at each, `[n]`, in fp64."""
ENTRIES = 1 << 20
"""Pairs of a point and a component looked at together."""


@dataclass(frozen=True)
class Mixture:
    """p(x) = Σ_k weight_k N(x; centre_k, diag(spread_k²)).

    `centres` `[k, D]`, `spreads` `[k, D]` (standard deviations), `weights` `[k]` that sum to 1; `parts` `[k]` says
    which component of a data set each Gaussian belongs to, where it has components.
    """

    centres: np.ndarray
    spreads: np.ndarray
    weights: np.ndarray
    parts: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The density at every row of `x` `[n, D]`: `[n]`."""
        x = np.asarray(x, dtype=np.float64)
        k, d = self.centres.shape
        height = self.weights / (np.prod(self.spreads, axis=1) * (2 * np.pi) ** (d / 2))
        step = max(1, ENTRIES // k)
        return np.concatenate([self._exponentials(x[i : i + step]) @ height for i in range(0, len(x), step)])

    def _exponentials(self, x: np.ndarray) -> np.ndarray:
        away = np.zeros((len(x), len(self.centres)))
        for axis in range(x.shape[1]):
            away += ((x[:, axis, None] - self.centres[:, axis]) / self.spreads[:, axis]) ** 2
        return np.exp(-away / 2)

    def on_lattice(self, *axes: np.ndarray) -> np.ndarray:
        """The density where x takes the values `axes[0]` and, in the plane, y those of `axes[1]`: `[len(y), len(x)]`,
        or `[len(x)]`. The axes of a Gaussian are independent, so this costs a sum and not a product of lengths."""
        along = [
            np.exp(-(((axis[:, None] - middle) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
            for axis, middle, spread in zip(axes, self.centres.T, self.spreads.T, strict=True)
        ]
        return (along[-1] * self.weights) @ (along[0].T if len(along) == 2 else np.ones(len(self.weights)))

    def only(self, kept: Sequence[int]) -> Mixture:
        """What is left of it with the components `kept` alone."""
        rows = np.isin(self.parts, list(kept))
        weights = self.weights[rows]
        return Mixture(self.centres[rows], self.spreads[rows], weights / weights.sum(), self.parts[rows])


def gaussians(centres: np.ndarray, spreads: np.ndarray | float) -> Mixture:
    """Equal Gaussians at `centres` `[k, D]`, of `spreads` `[k, D]` or one number; each is a component."""
    middle = np.asarray(centres, dtype=np.float64)
    k = len(middle)
    return Mixture(middle, np.broadcast_to(spreads, middle.shape), np.full(k, 1 / k), np.arange(k))


def strung(
    curves: Sequence[Callable[[np.ndarray], np.ndarray]],
    spread: float,
    weight: Callable[[np.ndarray], np.ndarray] = np.ones_like,
) -> Mixture:
    """The density of u → curve(u) + spread·N(0, I) with u in [0, 1], each of `curves` a component of equal share.

    A curve takes `[n]` and gives `[n, D]`; `weight` is the density of u. The integral over u is Gauss–Legendre's with 8
    nodes on each of 128 pieces: right to 1e-6 and better where a piece is at most three spreads long.
    """
    node, share = np.polynomial.legendre.leggauss(8)
    u = ((node + 1) / 2 + np.arange(128)[:, None]).ravel() / 128
    share = np.tile(share, 128) * weight(u)
    centres = np.concatenate([curve(u) for curve in curves])
    weights = np.tile(share / share.sum(), len(curves)) / len(curves)
    return Mixture(centres, np.full(centres.shape, spread), weights, np.repeat(np.arange(len(curves)), len(u)))


def kernel(rows: np.ndarray, finest: float, seed: int = 0) -> Mixture:
    """A kernel estimate of the density that `rows` `[n, D]` came from: equal Gaussians at the rows.

    Of twelve widths, from `finest` (in the unit of the rows; what a picture can show) to the rows' own spread, it takes
    the one under which 250 of the rows are likeliest, each left out of its own estimate.
    """
    x = np.asarray(rows, dtype=np.float64)
    few = x[np.random.default_rng(seed).permutation(len(x))[:250]]
    width = _likeliest(few, np.geomspace(finest, max(float(x.std(axis=0).max()), 1.001 * finest), 12))
    # More rows allow a finer kernel than the few it was chosen on: Scott's rate.
    return gaussians(x, max(finest, width * (len(few) / len(x)) ** (1 / (4 + x.shape[1]))))


def _likeliest(x: np.ndarray, widths: np.ndarray) -> float:
    if len(x) < 2:
        return float(widths[0])
    squared = ((x[:, None] - x) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    found = [
        np.log(np.exp(-squared / (2 * h * h)).sum(axis=1) + 1e-300).mean() - x.shape[1] * np.log(h) for h in widths
    ]
    return float(widths[int(np.argmax(found))])
