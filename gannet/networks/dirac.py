"""The Dirac-GAN: the smallest game there is, in which the way of both players can be drawn."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict


def _on_the_line(data: DataSpec) -> None:
    if data.shape != (1,) or data.classes or data.given is not None:
        raise UsageError(
            f"dirac: received samples of shape {list(data.shape)} with {data.classes} classes; it is a game on the "
            "line, without classes or conditions, as in data=points(name=dirac). Use mlp for other points."
        )


@GENERATORS.register("dirac")
class DiracGenerator(nn.Module):
    """G(z) = θ: all mass on one point, whatever the latent is.

    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018, definition 2.1. `z` `[B, 1]`
    → `[B, 1]`. θ begins at `start`, with a tenth of it as noise, so that seeds differ. Raises `UsageError` for samples
    that are no single number.
    """

    latent = 1

    def __init__(self, data: DataSpec, *, start: float = 1.0):
        super().__init__()
        _on_the_line(data)
        self.theta = nn.Parameter(start * (1 + 0.1 * torch.randn(1)))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.theta.expand(len(z), 1)


@DISCRIMINATORS.register("dirac")
class DiracDiscriminator(nn.Module):
    """D(x) = ψ·x: a slope and nothing else, the same paper. `x` `[B, 1]` → score `[B]`, no features.

    ψ begins at `start`, with a tenth as noise. Raises `UsageError` for samples that are no single number, and for a
    task that asks for more than a score.
    """

    def __init__(self, data: DataSpec, heads: Mapping[str, int] = SCORE, *, start: float = 0.0):
        super().__init__()
        _on_the_line(data)
        if dict(heads) != dict(SCORE):
            raise UsageError(f"dirac: a discriminator of one number gives a score, not {', '.join(heads)}.")
        self.psi = nn.Parameter(start + 0.1 * torch.randn(1))

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        return Verdict((self.psi * x[:, 0],), {}, ())
