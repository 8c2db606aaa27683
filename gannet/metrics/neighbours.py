"""Nearest neighbours and balls of points: decided to the last bit, at nearly the speed of a matrix product.

A comparison of two distances is a tie more often than one would think: a copy is at distance 0, a point at the edge of
the ball it defines, a collapsed generator has radius 0. |a|² + |b|² − 2ab cannot tell ties from rounding, but its error
is bounded. So it decides wherever the bound leaves no doubt, and the few pairs that are left are measured by
differences. The answer is that of differences alone, whatever the rows are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from gannet.metrics.distances import row_slices

KEPT = 8
"""Results remembered of each function: both sides at two k, and room for another reference."""
DENSE = 8
"""With more than one pair in so many in doubt, all of a block are measured at once, which is then faster."""

T = TypeVar("T")


class remembered(Generic[T]):
    """A function of arrays that keeps its last `KEPT` results by the content of its arguments.

    Precision, recall, density and coverage of two clouds so share what they have in common, and the reference's
    part is computed once in a training run. Content, not identity: an array changed in place is another argument.
    """

    def __init__(self, function: Callable[..., T]):
        self.function = function
        self.kept: dict[tuple[Any, ...], T] = {}
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> T:
        key = tuple(_digest(a) if isinstance(a, np.ndarray) else a for a in args)
        value = self.kept.pop(key) if key in self.kept else self.function(*args)
        self.kept[key] = value  # newest last
        for oldest in list(self.kept)[:-KEPT]:
            del self.kept[oldest]
        return value


def _digest(rows: np.ndarray) -> tuple[Any, ...]:
    content = np.ascontiguousarray(rows).data.cast("B")
    return rows.shape, rows.dtype.str, hashlib.blake2b(content, digest_size=16).digest()


def nearest(points: np.ndarray, others: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the `k` nearest of `others` `[m, d]` of each of `points` `[n, d]`, and their places, both `[n, k]`.

    fp64 and finite. Nearest first; of equals the one that stands first. k ≤ m.
    """
    pair = _Pair(points, others)
    distance, place = np.empty((len(points), k)), np.empty((len(points), k), np.int64)
    for part in pair.blocks():
        # Squared distance less a part that the row shares: an upper bound, then whatever could be below the k-th bound.
        bound = torch.addmm((1 + pair.slack) * pair.right_square, pair.left[part], pair.right.T, alpha=-2)
        limit = bound.topk(k, dim=1, largest=False).values[:, -1] + 2 * pair.slack * pair.left_square[part]
        bound -= 2 * pair.slack * pair.right_square
        i, j, d = pair.measured(part, ~(bound > limit[:, None]))
        order = np.lexsort((j, d, i))
        first = np.searchsorted(i, np.arange(len(limit)))  # rows are in order before and after sorting
        chosen = order[first[:, None] + np.arange(k)]
        distance[part], place[part] = d[chosen], j[chosen]
    return distance, place


@remembered
def radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance of each point to its k-th nearest neighbour in the same set, itself not counted, `[n]`. k < n."""
    # Every point is its own nearest, or as near as the copies that come before it.
    return _frozen(nearest(points, points, k + 1)[0][:, k].copy())


@remembered
def held(points: np.ndarray, centres: np.ndarray, k: int, edge: bool) -> tuple[np.ndarray, np.ndarray]:
    """How many balls hold each of `points`, `[n]`, and how many points each ball holds, `[m]`.

    The ball of one of `centres` `[m, d]` reaches to its k-th nearest neighbour among them; with `edge` it is closed
    (≤), without it is open (<).
    """
    pair, radius = _Pair(points, centres), torch.tensor(radii(centres, k))
    square = radius * radius
    balls, inside = np.zeros(len(points), np.int64), torch.zeros(len(centres), dtype=torch.int64)
    for part in pair.blocks():
        gap = torch.addmm(pair.right_square - square, pair.left[part], pair.right.T, alpha=-2)
        gap += pair.left_square[part, None]  # squared distance − squared radius
        error = pair.slack * ((pair.right_square + square) + pair.left_square[part, None])
        holds = gap < 0
        i, j, d = pair.measured(part, ~(gap.abs() > error))
        holds[i, j] = torch.from_numpy(d <= radius.numpy()[j] if edge else d < radius.numpy()[j])
        balls[part] = holds.sum(1).numpy()
        inside += holds.sum(0)
    return _frozen(balls), _frozen(inside.numpy())


class _Pair:
    """Two clouds seen from their middle, where squares are small, and the bound of the rounding error of their squared
    distances: `slack` · (|a|² + |b|²), twice what the terms of a product of d numbers, three sums and the shift to the
    middle can amount to. Numbers too large for a square have no bound; they fail every comparison, and are measured."""

    def __init__(self, left: np.ndarray, right: np.ndarray):
        middle = right.mean(0)
        self.ends = torch.from_numpy(left), torch.from_numpy(right)
        self.left, self.right = torch.from_numpy(left - middle), torch.from_numpy(right - middle)
        self.left_square, self.right_square = (self.left**2).sum(1), (self.right**2).sum(1)
        self.slack = 4 * (left.shape[1] + 8) * np.finfo(float).eps

    def blocks(self) -> Iterator[slice]:
        return row_slices(len(self.left), len(self.right))

    def measured(self, part: slice, doubt: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows (in order), columns and distances of the pairs in `doubt` `[rows of part, m]`."""
        i, j = doubt.nonzero(as_tuple=True)
        left, right = self.ends[0][part], self.ends[1]
        if len(i) * DENSE > doubt.numel():
            found = measure(left, right)[i, j]
        else:
            found = torch.empty(len(i), dtype=torch.float64)
            for some in row_slices(len(i), left.shape[1]):
                found[some] = measure(left[i[some], None], right[j[some], None])[:, 0, 0]
        return i.numpy(), j.numpy(), found.numpy()


def measure(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances of `a` `[…, n, d]` to `b` `[…, m, d]` by differences: exactly 0 for copies, and the same bits
    for a pair wherever it stands."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _frozen(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False  # remembered, so nobody may change it
    return values
