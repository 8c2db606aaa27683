"""What tasks with an encoder share: a network from samples back to the latents the generator starts from."""

from __future__ import annotations

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.types import Batch, DataSpec, Player, Role
from gannet.tasks.judged import Labels
from gannet.tasks.synthesis import Synthesis


class Encoding(Synthesis):
    """Synthesis with an encoder, which moves with the generator and sees no labels. `latent` is the generator's own."""

    answers: int = 1
    """Numbers the encoder gives for each of the latent's; the first `latent` are where it thinks the latent lies."""

    def __init__(self, data: DataSpec, latent: int, labels: Labels):
        super().__init__(data, labels=labels)
        if latent < 1:
            raise UsageError(f"task.latent={latent} is too small. It is the generator's own latent: 1 or more.")
        self.size = latent

    @property
    def roles(self) -> dict[str, Role]:
        view, heads = self.view.seen_as(labels=False), {"latent": self.answers * self.size}
        return super().roles | {"encoder": Role("encoder", "encoder", view, heads)}

    def players(self) -> dict[str, Player]:
        return super().players() | {"generator": Player(("generator", "encoder"))}

    def noise(self, draw: Draw) -> Tensor:
        """`[B, latent]` of N(0, I). Raises `UsageError` where the task and the generator were given two sizes."""
        if self.latent != self.size:
            raise UsageError(
                f"task.latent={self.size}, and the generator starts from {self.latent} numbers: the encoder must find "
                f"as many. Set task.latent={self.latent}, or generator.latent={self.size}."
            )
        return draw.normal(self.size)

    def encode(self, x: Tensor) -> Tensor:
        """What the encoder says of `x` `[B, …]`: `[B, answers · latent]`."""
        return self.networks["encoder"](x).heads["latent"]

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        again = self.networks["generator"](self.encode(batch["x"])[:, : self.size], self.labels(batch))
        return [*super().preview(batch, draw, y), ("real again", again)]
