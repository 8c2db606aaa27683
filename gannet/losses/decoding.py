"""A discriminator that must be able to rebuild what it saw looks at all of the image."""

# ruff: noqa: B008 — schedules are immutable, so they may be defaults.

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.parts import RoundRegularizer
from gannet.core.random import generator
from gannet.core.registry import REGULARIZERS
from gannet.core.round import Round
from gannet.core.schedule import Constant, Schedule
from gannet.core.types import sum_entries
from gannet.losses.reconstruction import l1

SCALES = 3
WIDTHS = (1, 16, 32, 64)
"""Channels of the fixed convolutions, which see one plane of the image at a time, whatever their number."""


@REGULARIZERS.register("decoding")
class Decoding(RoundRegularizer):
    """How far the discriminator's reconstruction of each real is from what it saw, `[B]`; Liu et al. 2021 (FastGAN).

    Σ over 3 scales, each half the one before, of the mean |reconstruction − seen|, plus Σ over 3 layers of the mean
    |φ(reconstruction) − φ(seen)|, φ being 3×3 convolutions with ReLU whose weights are drawn once, the same for ever,
    and halved grids between them. It stands for the distance in features of a trained network (LPIPS) of the paper.
    Raises `UsageError` for a discriminator without a decoder.
    """

    def __init__(self, *, weight: Schedule = Constant(1.0), every: int = 1):
        super().__init__(weight, every)
        source = generator("decoding")
        for number, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
            kernel = torch.randn(outputs, inputs, 3, 3, generator=source) * math.sqrt(2 / (9 * inputs))
            self.register_buffer(f"kernel{number}", kernel, persistent=False)

    def forward(self, round: Round) -> Tensor:
        heads = round.verdict("real").heads
        if "reconstruction" not in heads or "seen" not in heads:
            raise UsageError(
                "decoding compares what the discriminator rebuilds with what it saw, but this one rebuilds nothing: "
                "Verdict.heads has no reconstruction and seen. Use discriminator=fastgan, or leave decoding out."
            )
        built, seen = heads["reconstruction"], heads["seen"]
        return sum_entries([l1(a, b) for a, b in zip(self._looks(built), self._looks(seen), strict=True)])

    def _looks(self, x: Tensor) -> list[Tensor]:
        """`x` `[B, C, h, w]` as it is compared: at every scale, then in every layer of the fixed convolutions."""
        looks = [x]
        while len(looks) < SCALES and min(looks[-1].shape[2:]) > 1:
            looks.append(F.avg_pool2d(looks[-1], 2))
        h = x.reshape(-1, 1, *x.shape[2:])
        for number in range(len(WIDTHS) - 1):
            h = F.avg_pool2d(h, 2) if number and min(h.shape[2:]) > 1 else h
            h = F.conv2d(h, getattr(self, f"kernel{number}").to(h), padding=1).relu()
            looks.append(h.reshape(len(x), -1))
        return looks
