"""A replay pool of earlier fakes (Shrivastava et al. 2017), as CycleGAN shows its discriminators."""

from __future__ import annotations

import torch
from torch import Tensor

from gannet.core.random import Draw


class Pool:
    """The last `size` fakes. `exchange` returns, for each row and with even odds, the row itself or an earlier one
    whose place it takes."""

    def __init__(self, size: int = 50):
        self.size = size
        self.rows: Tensor | None = None

    def exchange(self, fakes: Tensor, draw: Draw) -> Tensor:
        """`fakes` `[B, …]` with about half of its rows replaced once the pool is full; `draw` holds B rows."""
        coins = draw.uniform().tolist()
        places = draw.integers(self.size).tolist()
        shown = []
        for row, coin, place in zip(fakes.detach(), coins, places, strict=True):
            if self.rows is None or len(self.rows) < self.size:
                self.rows = row[None].clone() if self.rows is None else torch.cat([self.rows, row[None]])
                shown.append(row)
            elif coin < 0.5:
                shown.append(self.rows[place].clone())
                self.rows[place] = row
            else:
                shown.append(row)
        return torch.stack(shown)
