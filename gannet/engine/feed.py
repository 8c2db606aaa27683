"""Rows of a source on the device, by position in each player's own endless order."""

from __future__ import annotations

import torch
from torch import Tensor

from gannet.core.types import Batch, Source
from gannet.engine.order import Order


class Feed:
    """Rows of a source for each player, by position; fields with an order of their own are drawn in it."""

    def __init__(
        self, source: Source, split: str, seed: int, device: torch.device, dtype: torch.dtype, channels_last: bool
    ):
        self.data, self.device, self.dtype = source.split(split), device, dtype
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.own = [name for name, f in source.spec.fields.items() if f.order == "own"]
        self.split, self.seed = split, seed
        self.orders: dict[str, Order] = {}

    def _order(self, stream: str, length: int) -> Order:
        if stream not in self.orders:
            self.orders[stream] = Order(length, self.seed, stream)
        return self.orders[stream]

    def take(self, stream: str, positions: range) -> Batch:
        """The rows at `positions` of this player's endless order, on the device."""
        batch = self.data.take(self._order(f"{self.split}/{stream}", len(self.data)).rows(positions))
        for name in self.own:
            order = self._order(f"{self.split}/{stream}/{name}", self.data.own_length(name))  # type: ignore[attr-defined]
            batch[name] = self.data.take_own(name, order.rows(positions))  # type: ignore[attr-defined]
        return {k: self._move(v) for k, v in batch.items()}

    def _move(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.device, self.dtype if tensor.is_floating_point() else None, non_blocking=True)
        return tensor.contiguous(memory_format=self.format) if tensor.dim() == 4 else tensor
