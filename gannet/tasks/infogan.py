"""InfoGAN (Chen et al. 2016): a generator whose first latent numbers can be read from the sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import SCORE, Batch, DataSpec, Generated, Player
from gannet.tasks.codes import Codes
from gannet.tasks.synthesis import Synthesis

ROWS = 8
"""Rows of a picture that has a column for every value of every code: as many as a grid that wide shows."""


@dataclass(frozen=True, kw_only=True)
class Coded(Generated):
    """`codes` `[B, size]` are the first numbers of z."""

    codes: Tensor


@TASKS.register("infogan")
class InfoGAN(Synthesis):
    """Latent codes to a sample from which Q, a head of the discriminator, reads them again; labels are not used.

    z is [one-hot codes of `categories`, `continuous` codes from U(−1, 1), normal noise]. The losses of both players
    gain weight·Σ CE(categories) + continuous_weight·Σ ½(c − ĉ)² of their fakes: −log Q(codes | x), Q being Gaussian of
    unit variance in the continuous codes, which but for constants is the negative bound on the information of eq. 5. A
    label given to `sample` is the value of the first category. Raises `UsageError` for codes that are none, and for a
    generator whose latent is too small for them.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        categories: tuple[int, ...] = (10,),
        continuous: int = 2,
        weight: float = 1.0,
        continuous_weight: float = 0.1,
    ):
        super().__init__(data, labels="ignore")
        self.codes = Codes(categories, continuous)
        self.weights = {"categories": weight, "continuous": continuous_weight}
        self.heads = {**SCORE, "code": self.codes.size}
        self.classes = categories[0] if categories else 0

    def players(self) -> dict[str, Player]:
        self.codes.noise(self.latent)  # refused here, when the networks stand, and not in the middle of a turn
        return super().players()

    def latents(self, draw: Draw, y: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        codes, noise = self.codes.draw(draw, y), draw.normal(self.codes.noise(self.latent))
        hot, rest = codes[:, : self.codes.hot], torch.cat([codes[:, self.codes.hot :], noise], dim=1)
        return torch.cat([hot, truncation * rest], dim=1)

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        made = super().generate(batch, draw)
        return Coded(x=made.x, latent=made.latent, codes=self.codes.draw(draw))  # the same numbers once more

    def terms(self, player: str, batch: Batch, made: Coded, rounds: list[Round]) -> dict[str, Tensor]:  # type: ignore[override]
        losses = self.codes.losses(made.codes, rounds[0].verdicts["fake"].heads["code"])
        return {name: self.weights[name] * loss for name, loss in losses.items()}

    @torch.no_grad()
    def measure(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """How often the categories of fakes are recognised, and how many nats the fakes at least tell of them."""
        x = self.networks["generator"](self.latents(draw))
        return self.codes.recognised(self.codes.draw(draw), self.networks["discriminator"](x).heads["code"])

    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Truncation scales the noise and the continuous codes; a category stays what it is."""
        return self.networks["generator"](self.latents(draw, y, truncation))

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        """Real and generated, and of images the generated with each code swept: every row is one noise."""
        if self.data.kind != "image":
            return super().preview(batch, draw)
        z, generator = self.latents(draw.first(ROWS)), self.networks["generator"]
        swept = [(name, generator(moved)) for name, moved in self.codes.swept(z)]
        return [("real", batch["x"][:ROWS]), ("generated", generator(z)), *swept]
