"""Synthesis: noise (and a label) to a sample, the game of Goodfellow et al. 2014."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.types import Batch, Comparison, DataSpec, Generated, Inputs, Player, Role, Task


@TASKS.register("synthesis")
class Synthesis(Task):
    """Noise, and a label where `labels` are used, to a sample.

    labels: "auto" conditions both networks on the class whenever the source has labels, "use" insists on them,
    "ignore" trains without.
    """

    def __init__(self, data: DataSpec, *, labels: Literal["auto", "use", "ignore"] = "auto"):
        super().__init__(data)
        if labels == "use" and not data.classes:
            raise UsageError(
                "task.labels=use needs a source with labels, and this one has none. Write task.labels=ignore."
            )
        self.view = data.seen_as(given=None, labels=labels != "ignore")

    @property
    def roles(self) -> dict[str, Role]:
        return {
            "generator": Role("generator", "generator", self.view),
            "discriminator": Role("discriminator", "discriminator", self.view),
        }

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player(("discriminator",)), "generator": Player(("generator",))}

    @property
    def latent(self) -> int:
        return int(self.networks["generator"].latent)  # type: ignore[arg-type]

    def labels(self, batch: Batch) -> Tensor | None:
        return batch["y"] if self.view.classes else None

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        generator = self.networks["generator"]
        z = draw.normal(self.latent)  # [B, latent]
        return Generated(generator(z, self.labels(batch)), z)

    def comparisons(self, batch: Batch, generated: Generated) -> list[Comparison]:
        y = self.labels(batch)
        return [Comparison("discriminator", Inputs(batch["x"], y), Inputs(generated.x, y))]

    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Truncation scales the latent, z ← ψ·z (Brock et al. 2019 resample; scaling keeps one seed one picture)."""
        generator = self.networks["generator"]
        z = draw.normal(self.latent) * truncation
        if not self.view.classes:
            if y is not None:
                raise UsageError("this generator was trained without labels; leave the label out.")
            return generator(z)
        if y is None:
            y = draw.child("labels").integers(self.view.classes)
        return generator(z, y)

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        return [("real", batch["x"]), ("generated", self.sample(draw, self.labels(batch)))]
