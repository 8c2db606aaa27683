"""The processes that train together, as seen from one of them. Everything is the identity when there is only one."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 … size−1. Only rank 0 writes files."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """All processes' rows in rank order. The adjoint of a gather is a summed scatter: every process's loss may depend
    on every row, so gradients are summed over processes before each takes its own slice."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[override]
        parts = [torch.empty_like(rows) for _ in range(size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.clone(memory_format=torch.contiguous_format)  # autograd's own, which others may still read
        dist.all_reduce(grad)
        return grad.chunk(size())[rank()]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows `[B, …]` of every process as `[size·B, …]`, differentiable; batch-coupled terms take their means over it."""
    return rows if size() == 1 else _Gather.apply(rows)  # type: ignore[no-any-return]
