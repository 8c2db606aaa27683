"""Which row of the data is the k-th a player sees: a pure function of the seed, so a position is all a resume needs."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from gannet.core.random import generator


class Order:
    """Endless shuffled passes over `length` rows: pass e is its own permutation, seeded by (seed, stream, e)."""

    def __init__(self, length: int, seed: int, stream: str):
        self.length, self.seed, self.stream = length, seed, stream
        self._permutation = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> Tensor:
        return torch.randperm(self.length, generator=generator(self.seed, "order", self.stream, epoch))

    def rows(self, positions: range) -> Tensor:
        """Row numbers `[B]` of the given positions of the endless sequence."""
        pieces, start = [], positions.start
        while start < positions.stop:
            epoch, offset = divmod(start, self.length)
            stop = min(positions.stop, (epoch + 1) * self.length)
            pieces.append(self._permutation(epoch)[offset : offset + stop - start])
            start = stop
        return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.long)
