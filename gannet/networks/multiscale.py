"""One discriminator built several times, each to judge the image at half the size of the one before.

Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs" (pix2pixHD), CVPR 2018.
"""

# ruff: noqa: B008 — specs are immutable, so they may be defaults.

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from gannet.core.registry import DISCRIMINATORS
from gannet.core.spec import Spec
from gannet.core.types import DataSpec, Verdict
from gannet.networks.layers import at_least
from gannet.networks.sizes import judged_shape

SMALLEST = 4
"""Pixels that the shorter side of a reduced image keeps."""


@DISCRIMINATORS.register("multiscale")
class MultiscaleDiscriminator(nn.Module):
    """The discriminator `of` once a scale, on images that are halved by averaging.

    `x` and `given` `[B, C, H, W]`, `y` `[B]` → the scores of every scale, the full image first, their features from the
    finest grid to the coarsest, and the heads of the full image. At most `scales`, as many as leave the shorter side
    4 pixels. Raises `UsageError` for data that is no image, fewer scales than one, and what `of` raises.
    """

    def __init__(self, data: DataSpec, *, of: Spec = Spec("patch"), scales: int = 3):
        super().__init__()
        at_least(1, scales=scales)
        judged_shape(data, "multiscale")
        self.scales = nn.ModuleList()
        for number in range(scales):
            if number and min(data.shape[1:]) < SMALLEST:
                break
            self.scales.append(DISCRIMINATORS.build(of, data, where="multiscale.of"))
            data = _halved(data)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        verdicts: list[Verdict] = []
        for network in self.scales:
            if verdicts:
                x, given = halved(x), None if given is None else halved(given)
            verdicts.append(network(x, y, given))
        score = tuple(entry for verdict in verdicts for entry in verdict.score)
        features = [h for verdict in verdicts for h in verdict.features]
        features.sort(key=lambda h: h.shape[2:].numel(), reverse=True)
        return Verdict(score, verdicts[0].heads, tuple(features))


def halved(x: Tensor) -> Tensor:
    """The mean of 3×3 pixels around every second one, of those that exist: `[B, C, H, W]` → `[B, C, ⌈H/2⌉, ⌈W/2⌉]`."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


def _halved(data: DataSpec) -> DataSpec:
    """The data as `halved` leaves it."""
    shapes = {name: (f.shape[0], -(-f.shape[1] // 2), -(-f.shape[2] // 2)) for name, f in data.fields.items()}
    return replace(data, fields={name: replace(f, shape=shapes[name]) for name, f in data.fields.items()})
