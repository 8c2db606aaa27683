"""The training images nearest to a sample: has it been learnt by heart?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import generator
from gannet.core.types import Source, Split
from gannet.metrics.neighbours import nearest

MOST = 20_000
"""Training rows that are looked through."""
NUMBERS = 1 << 26
"""Most features of them held; of large images fewer rows are."""
ASIDE = 128
"""Held-out rows whose distance to the training rows says what is usual."""
CHUNK = 1024


def flattened(x: Tensor) -> Tensor:
    """Samples as the numbers they are: distances in pixel space."""
    return x.flatten(1)


class Training:
    """Training rows of `source`, to be asked for the nearest of a sample in `features` (of samples `[B, *shape]`,
    `[B, d]`; the pixels themselves unless others are given).

    Up to 20,000 rows at even distances are looked through. Raises `UsageError` for a source without rows.
    """

    def __init__(self, source: Source, features: Callable[[Tensor], Tensor] = flattened):
        self.source, self.features = source, features
        split = source.split("train")
        if not len(split):
            raise UsageError("this source has no training rows to look among.")
        wide = self._of(split, torch.arange(1)).shape[1]
        count = min(len(split), MOST, max(1, NUMBERS // wide))
        self.places = torch.arange(count) * len(split) // count

    def __len__(self) -> int:
        return len(self.places)

    def _of(self, split: Split, places: Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.features(split.take(places)["x"].float()).float().numpy()

    @cached_property
    def rows(self) -> np.ndarray:
        split = self.source.split("train")
        return np.concatenate([self._of(split, part) for part in self.places.split(CHUNK)])

    def nearest(self, x: Tensor, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """Distances of samples `[B, *shape]` to their `n` nearest training rows and the indices of those, both
        `[B, n]`, nearest first. Raises `UsageError` for an n that is out of range."""
        if not 1 <= n <= len(self):
            raise UsageError(f"n={n}: ask for 1 to {len(self)} neighbours, as many as rows are looked through.")
        with torch.no_grad():
            asked = self.features(x.float()).double().numpy()
        return self._nearest(asked, n)

    def _nearest(self, asked: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        distances: np.ndarray = np.empty((len(asked), 0))
        places: np.ndarray = np.empty((len(asked), 0), np.int64)
        for at in range(0, len(self), CHUNK):
            part = self.rows[at : at + CHUNK].astype(np.float64)
            d, place = nearest(asked, part, min(n, len(part)))
            distances = np.concatenate([distances, d], axis=1)
            places = np.concatenate([places, place + at], axis=1)
            order = np.argsort(distances, axis=1, kind="stable")[:, :n]
            distances, places = (np.take_along_axis(a, order, axis=1) for a in (distances, places))
        return distances, self.places.numpy()[places]

    @cached_property
    def typical(self) -> float:
        """The distance of the median held-out row to its nearest training row: what is usual for a sample that was
        never seen. Where nothing was held out, that of the median training row to the nearest other."""
        held = self.source.split("test")
        if len(held):
            places = torch.randperm(len(held), generator=generator(0, "aside"))[:ASIDE]
            return float(np.median(self._nearest(self._of(held, places).astype(np.float64), 1)[0]))
        rows = self.rows[:ASIDE].astype(np.float64)
        found = self._nearest(rows, min(2, len(self)))[0]
        return float(np.median(found[:, -1]))

    def images(self, indices: np.ndarray) -> Tensor:
        """The training rows themselves, `[n, *shape]`."""
        return self.source.split("train").take(torch.from_numpy(np.ascontiguousarray(indices)))["x"].float()
