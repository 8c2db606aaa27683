"""Self-attention over the places of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """x + γ · W_o (softmax(QKᵀ) V): every place reads from all others, `[B, C, H, W]` to the same.

    Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019. Queries, keys and values are 1×1
    convolutions of x to C/8, C/8 and C/2 channels (1 at least), the softmax runs over the places of the keys, and γ
    starts at 0, so that a network begins without it. As in BigGAN (Brock et al., ICLR 2019) keys and values are the
    maxima of 2×2 places, a quarter of the products; an odd last row or column is kept, not dropped.
    """

    def __init__(self, channels: int):
        super().__init__()
        small, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, small, 1, bias=False)
        self.key = nn.Conv2d(channels, small, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = _places(self.query(x)), _places(_pooled(self.key(x))), _places(_pooled(self.value(x)))
        # Spelled out: the fused kernels of attention cannot be differentiated twice, which gradient penalties need.
        read = torch.softmax(query @ key.transpose(1, 2), dim=2) @ value  # [B, H·W, C/2]
        grid = read.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return x + self.gamma * self.output(grid)


def _pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, ceil_mode=True)


def _places(x: Tensor) -> Tensor:
    """`[B, C, H, W]` → `[B, H·W, C]`."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
