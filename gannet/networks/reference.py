"""Reference batch norm: statistics from a batch that is chosen once, so that no row depends on the others beside it.

Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016, section 3.5, "virtual batch normalization".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.parts import Referring
from gannet.core.types import Batch, DataSpec
from gannet.networks.layers import joined, one_hot
from gannet.networks.sizes import judged_shape

ROWS = 64
"""Rows of a generator's reference; a discriminator takes as many as it is given."""


class NoReference(nn.Module):
    """What a network without a reference has in its place: it puts nothing beside a batch and takes nothing off."""

    def beside(self, x: Tensor) -> Tensor:
        return x

    def apart(self, h: Tensor) -> Tensor:
        return h


class Reference(nn.Module):
    """R rows that a network runs through its layers along with every batch.

    `beside(x)` puts them before the rows of `x`, `[B, …]` → `[R + B, …]`; `apart(h)` takes them off again. Between the
    two stand the layers of `referring`.
    """

    rows: Tensor

    def beside(self, x: Tensor) -> Tensor:
        return torch.cat([self.rows.to(x), x])

    def apart(self, h: Tensor) -> Tensor:
        return h[len(self.rows) :]


class DrawnReference(Reference):
    """A generator's reference: latents from torch's own generator, the classes in turn beside them, `[64, latent +
    classes]`. It belongs to the weights."""

    def __init__(self, latent: int, classes: int):
        super().__init__()
        rows = torch.randn(ROWS, latent)
        if classes:
            rows = torch.cat([rows, one_hot(torch.arange(ROWS) % classes, classes).to(rows)], dim=1)
        self.register_buffer("rows", rows)


class ShownReference(Reference, Referring):
    """A discriminator's reference: images of the training rows, joined with their condition where there is one.

    It is the same for the same data, so it is not kept with the weights. Raises `UsageError` for rows of another shape
    than the discriminator judges, and where a network is called before it was shown any.
    """

    def __init__(self, data: DataSpec):
        super().__init__()
        self.data = data
        self.register_buffer("rows", torch.empty(0, *judged_shape(data, "norm=reference")), persistent=False)

    @torch.no_grad()
    def refer(self, batch: Batch) -> None:
        wanted = {name: tuple(field.shape) for name, field in self.data.fields.items()}
        found = {name: tuple(batch[name].shape[1:]) for name in wanted if name in batch}
        if found != wanted:
            raise UsageError(
                f"norm=reference: the discriminator judges {_told(wanted)}, and the training rows it should refer to "
                f"hold {_told(found)}. Choose another norm for this task: none, instance or layer."
            )
        self.rows = joined(batch["x"], batch.get("given"), self.data).to(self.rows).clone()

    def beside(self, x: Tensor) -> Tensor:
        if not len(self.rows):
            raise UsageError(
                "norm=reference: this discriminator has no reference batch yet. Training gives it one; in code of your "
                "own call refer({'x': rows}), with training rows, on its module `reference` first."
            )
        return super().beside(x)


def _told(shapes: dict[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {list(shape)}" for name, shape in shapes.items())


class ReferenceNorm(nn.Module):
    """(x − μ)/√(σ² + ε), then a gain and a bias for each channel: `[R + B, C, H, W]` to the same.

    The R rows of the reference share their own μ and σ². Row i of the others has those of a batch of the R reference
    rows and itself: with means m over its places, μᵢ = (R·m(ref) + m(xᵢ))/(R + 1), the same for the second moment, and
    σᵢ² is the second moment less μᵢ². So no row depends on another one of its batch.
    """

    def __init__(self, reference: Reference, channels: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps
        # In a tuple, so that the reference is a child of its network alone.
        self._reference = (reference,)

    def forward(self, x: Tensor) -> Tensor:
        rows = len(self._reference[0].rows)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # as batch norm does under autocast
        mean, variance = wide.mean((2, 3)), wide.var((2, 3), correction=0)  # [R + B, C]
        shared = mean[:rows].mean(0, keepdim=True)
        spread = (variance[:rows] + (mean[:rows] - shared).square()).mean(0, keepdim=True)
        # The variance of R rows and one, without a difference of squares, which could fall below 0.
        away = mean[rows:] - shared
        own = (rows * spread + variance[rows:]) / (rows + 1) + rows * (away / (rows + 1)).square()
        mean = torch.cat([shared.expand(rows, -1), shared + away / (rows + 1)])
        variance = torch.cat([spread.expand(rows, -1), own])
        scale = self.weight * (variance + self.eps).rsqrt()
        return ((wide - mean[:, :, None, None]) * scale[:, :, None, None] + self.bias[:, None, None]).to(x.dtype)


def referring(module: nn.Module, reference: Reference) -> None:
    """Turn every batch norm inside `module` into a `ReferenceNorm` over `reference` with its gain and bias."""
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                other = ReferenceNorm(reference, layer.num_features, layer.eps)
                other.weight, other.bias = layer.weight, layer.bias
                setattr(parent, name, other)
