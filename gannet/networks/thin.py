"""Convolutions between an image of few channels and many features, where the general kernels of a CPU are slowest.

The step from features to an image (a generator's last layer, and the gradient that a discriminator's first layer gives
its input) has so few output channels that a blocked kernel leaves most of its lanes empty. As one matrix product whose
results are added where they overlap, it takes a third to a seventh of the time at one channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

THIN = 3
"""Channels up to which the product is the faster way."""


class ThinDown(nn.Conv2d):
    """`nn.Conv2d` of a 4×4 kernel, stride 2, padding 1, from at most `THIN` channels to half the size.

    Same parameters and values; its gradient to the image is the fast product.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if not _suited(x):
            return super().forward(x)
        return _Down.apply(x, self.weight, self.bias)


class ThinUp(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of a 4×4 kernel, stride 2, padding 1 to at most `THIN` channels, by the fast product."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _suited(x) or output_size is not None:
            return super().forward(x, output_size)
        image = _Up.apply(x, self.weight)
        return image if self.bias is None else image + self.bias.view(-1, 1, 1)


def _suited(x: Tensor) -> bool:
    """Other devices have good kernels for this; autocast chooses types, and forward mode wants a tangent, that a pair
    of gradients of one's own does not give."""
    dual = forward_ad.unpack_dual(x).tangent is not None
    return x.device.type == "cpu" and not dual and not torch.is_autocast_enabled("cpu")


class _Down(torch.autograd.Function):
    """The convolution, whose gradient to its input is `_Up`; both are differentiable as often as asked."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _Up.apply(grad, weight) if to_x else None,
            _to_weight(x, grad, weight) if to_weight else None,
            grad.sum((0, 2, 3)) if to_bias else None,
        )


class _Up(torch.autograd.Function):
    """The adjoint of `_Down`: `[B, O, H, W]` → `[B, C, 2H, 2W]`."""

    @staticmethod
    def forward(ctx: FunctionCtx, h: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        return _overlapped(h, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        h, weight = ctx.saved_tensors
        to_h, to_weight = ctx.needs_input_grad
        return _Down.apply(grad, weight, None) if to_h else None, _to_weight(grad, h, weight) if to_weight else None


def _to_weight(image: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Gradient of Σ features · conv(image, weight) to the weight, `[O, C, 4, 4]`."""
    return torch.ops.aten.convolution_backward(
        features, image, weight, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False)
    )[1]


def _overlapped(h: Tensor, weight: Tensor) -> Tensor:
    """Every feature vector times the kernel gives a 4×4 patch of each channel; patches lie 2 pixels apart and add up.

    Pixel (2i + p, 2j + q) of the padded image is Σ_{a, b ∈ {0, 1}} patch(i − a, j − b)[2a + p, 2b + q].
    """
    batch, features, height, width = h.shape
    channels = weight.shape[1]
    patches = h.permute(0, 2, 3, 1).reshape(-1, features) @ weight.reshape(features, -1)
    patches = patches.view(batch, height, width, channels, 4, 4)
    # Rows first, then columns: each sum shifts one half of the patches by one place.
    rows = F.pad(patches[..., :2, :], (0, 0) * 4 + (0, 1)) + F.pad(patches[..., 2:, :], (0, 0) * 4 + (1, 0))
    image = F.pad(rows[..., :2], (0, 0) * 3 + (0, 1)) + F.pad(rows[..., 2:], (0, 0) * 3 + (1, 0))
    return image.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, 2 * height + 2, 2 * width + 2)[..., 1:-1, 1:-1]
