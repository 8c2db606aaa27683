"""Demonstration sources for image-to-image tasks, made from any image source: a paired and an unpaired one."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.data.memory import MemorySource, scaled

DIGITS = Spec("digits")
CHUNK = 4096


def edge_map(x: Tensor) -> Tensor:
    """Gradient magnitude of `x` `[N, C, H, W]` in [−1, 1] as uint8 `[N, 1, H, W]`."""
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    # A step of 2, from −1 to 1, meets weights 1 + 2 + 1, hence the 8.
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    gradient = F.conv2d(grey, torch.stack([sobel, sobel.T]).unsqueeze(1))  # [N, 2, H, W]
    return gradient.norm(dim=1, keepdim=True).clamp(max=1).mul(255).round().byte()


def thick_negative(x: Tensor) -> Tensor:
    """`x` `[N, C, H, W]` in [−1, 1] with strokes grown by one pixel at half strength, then inverted, as uint8."""
    ink = (x + 1) / 2
    # Half strength, because a full pixel on either side would close the holes of an 8×8 digit.
    grown = torch.maximum(ink, F.max_pool2d(ink, 3, stride=1, padding=1) / 2)
    return grown.neg().add(1).mul(255).round().byte()


class _Derived(MemorySource):
    """A source of images `of` with `given` computed from `x`."""

    unpaired: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    @abstractmethod
    def make(x: Tensor) -> Tensor:
        """`given` as uint8 of images `[N, C, H, W]` in [−1, 1]."""

    def __init__(
        self,
        *,
        of: Spec = DIGITS,
        size: int | None = None,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        for key, value in (("size", size), ("limit", limit), ("labels", labels)):
            of = of if value is None else of.with_arg(key, value)
        source = SOURCES.build(of, where="of")
        if not isinstance(source, MemorySource) or source.spec.kind != "image":
            raise UsageError(f"of={of} holds no images; use digits, mnist or a folder of images.")
        train, test = source.split("train"), source.split("test")
        first, second = ({**split.fields, "given": self._given(split.fields["x"])} for split in (train, test))
        super().__init__(first, second, source.spec.names, flip=train.flip, own=self.unpaired)

    def _given(self, images: Tensor) -> Tensor:
        return torch.cat([self.make(scaled(part)) for part in images.split(CHUNK)])


@SOURCES.register("edges")
class Edges(_Derived):
    """Paired: `given` `[B, 1, H, W]` is the edge map of `x`, bright on dark.

    given = |∇x|: Sobel's gradient magnitude of the mean over channels, 1 for a step from black to white along an axis.
    `of` is any image source; `size`, `limit` and `labels` are handed on to it. Raises `UsageError` if it has no images.
    """

    make = staticmethod(edge_map)


@SOURCES.register("inverted")
class Inverted(_Derived):
    """Unpaired: `given` is a second domain, the images thickened and inverted (dark on bright), in an order of its own.

    `split.take` gives `x` and `y`; `split.take_own("given", indices)` the rows of the second domain. `of` is any image
    source; `size`, `limit` and `labels` are handed on to it. Raises `UsageError` if it holds no images.
    """

    unpaired = ("given",)
    make = staticmethod(thick_negative)
