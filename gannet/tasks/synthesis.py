"""Synthesis: noise (and a label) to a sample, the game of Goodfellow et al. 2014."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.types import SCORE, Batch, Comparison, DataSpec, Generated, Player, Role, Task
from gannet.tasks.judged import Condition, Labels, judged, labelled, sides


@TASKS.register("synthesis")
class Synthesis(Task):
    """Noise, and a label where `labels` are used, to a sample.

    labels: "auto" conditions both networks on the class whenever the source has labels, "use" insists on them,
    "ignore" trains without.
    condition: how the discriminator is told the class: "projection" by a term ⟨e_y, h⟩ of its head (Miyato & Koyama
    2018), "concatenation" by one-hot planes laid beside the sample (CGAN, Mirza & Osindero 2014).
    pack: how many samples are judged as one, side by side on axis 1 (PacGAN, Lin et al. 2018).
    """

    heads: Mapping[str, int] = SCORE
    """What the discriminator must answer."""

    def __init__(self, data: DataSpec, *, labels: Labels = "auto", condition: Condition = "projection", pack: int = 1):
        super().__init__(data)
        self.view = labelled(data, labels)
        self.judged, self.rows_together = judged(self.view, condition, pack), pack
        self.classes = self.view.classes  # of the labels that `sample` takes

    @property
    def roles(self) -> dict[str, Role]:
        discriminator = Role("discriminator", "discriminator", self.judged, self.heads)
        return {"generator": Role("generator", "generator", self.view), "discriminator": discriminator}

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player(("discriminator",)), "generator": Player(("generator",))}

    @property
    def latent(self) -> int:
        return int(self.networks["generator"].latent)  # type: ignore[arg-type]

    def labels(self, batch: Batch) -> Tensor | None:
        return batch["y"] if self.view.classes else None

    def latents(self, draw: Draw) -> Tensor:
        """z of every row, `[B, latent]`."""
        return draw.normal(self.latent)

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        generator: Any = self.networks["generator"]
        y = self.labels(batch)
        z = self.latents(draw)
        if not getattr(generator, "maps_latent", False):
            return Generated(generator(z, y), z)
        w = generator.map(z, y)
        return Generated(generator.synthesise(w), w)

    def comparisons(self, batch: Batch, generated: Generated) -> list[Comparison]:
        return [Comparison("discriminator", *sides(self.judged, self.rows_together, batch, generated.x))]

    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Truncation ψ scales the latent, z ← ψ·z (Brock et al. 2019 resample; scaling keeps one seed one picture); a
        generator that maps its latent truncates what it mapped to instead, w ← w̄ + ψ·(w − w̄)."""
        generator: Any = self.networks["generator"]
        z = self.latents(draw)
        if y is not None and not self.view.classes:
            raise UsageError("this generator was trained without labels; leave the label out.")
        if y is None and self.view.classes:
            y = draw.child("labels").integers(self.view.classes)
        if getattr(generator, "maps_latent", False):
            return generator.synthesise(generator.map(z, y, truncation))
        return generator(z * truncation, y)

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        return [("real", batch["x"]), ("generated", self.sample(draw, self.labels(batch)))]
