"""VEEGAN (Srivastava et al. 2017): an encoder that finds latents again, and a discriminator of sample and latent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import Batch, Comparison, DataSpec, Field, Generated, Inputs
from gannet.tasks.encoding import Encoding
from gannet.tasks.judged import Labels


@dataclass(frozen=True, kw_only=True)
class Found(Generated):
    """`latent` is z, `code` a draw of p(z|x) for the reals and `again` F(G(z)) of the fakes, `[B, latent]` each."""

    latent: Tensor
    code: Tensor
    again: Tensor


@TASKS.register("veegan")
class VEEGAN(Encoding):
    """Synthesis that finds its latents again: D judges (x, z′) against (G(z), z), L_G gains |z − F(G(z))|².

    z′ is a draw of p(z|x) = N(F(x), deviation²·I). The encoder F moves with the generator and learns from
    `reconstruction` times that squared norm alone (algorithm 1): reals of a mode that G has dropped get latents that no
    z looks like, which D sees and G must mend. Many latents share a sample where there are more of them than a sample
    has numbers, and there N(F(x), I) can come near z, as in the plane; a picture tells its few latents, and wants
    deviation=0. D finds the latent beside the sample, for images as planes `[B, latent, H, W]`. `latent` is the size of
    the generator's own; F sees no labels. Raises `UsageError` where the sizes differ and for numbers below 0.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: int = 64,
        reconstruction: float = 1.0,
        deviation: float = 1.0,
        labels: Labels = "auto",
    ):
        super().__init__(data, latent, labels)
        if not 0 <= reconstruction < math.inf:
            raise UsageError(
                f"task.reconstruction={reconstruction:g} is out of range. It is a weight: 0 or more, as in 1."
            )
        if not 0 <= deviation < math.inf:
            raise UsageError(f"task.deviation={deviation:g} is out of range. It is a standard deviation: 0 or more.")
        self.reconstruction, self.deviation = reconstruction, deviation
        beside = Field((latent, *data.shape[1:]), data.kind, None)
        self.judged = replace(self.view, fields={"x": data.x, "given": beside})

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        z = self.noise(draw)
        x = self.networks["generator"](z, self.labels(batch))
        code = self.encode(batch["x"]) + self.deviation * draw.child("code").normal(self.size)
        return Found(x=x, latent=z, code=code, again=self.encode(x))

    def comparisons(self, batch: Batch, made: Found) -> list[Comparison]:  # type: ignore[override]
        y = self.labels(batch)
        real = Inputs(batch["x"], y, spread(made.code, batch["x"]))
        return [Comparison("discriminator", real, Inputs(made.x, y, spread(made.latent, made.x)))]

    def terms(self, player: str, batch: Batch, made: Found, rounds: list[Round]) -> dict[str, Tensor]:  # type: ignore[override]
        square = (made.again - made.latent).square().sum(1)
        return {"reconstruction": self.reconstruction * square} if player == "generator" else {}


def spread(z: Tensor, x: Tensor) -> Tensor:
    """`z` `[B, L]` at every place of `x` `[B, C, …]`: `[B, L, …]`."""
    return z.view(*z.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
