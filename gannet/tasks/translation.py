"""Paired translation after pix2pix (Isola et al. 2017): from a condition to its picture, with an L1 term."""

from __future__ import annotations

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import Batch, Comparison, DataSpec, Generated, Inputs, Player, Role, Task
from gannet.losses.reconstruction import l1


def condition(given: Tensor | None) -> Tensor:
    """The pictures to translate. Raises `UsageError` when there are none."""
    if given is None:
        raise UsageError("a translator needs pictures to translate; sample it from a source that has `given`.")
    return given


@TASKS.register("translation")
class Translation(Task):
    """`given` to `x`, pairs known: L_G = adversarial·L_adv + l1·|G(given) − x| (eq. 4), D judges (given, picture)."""

    fields = ("x", "given")

    def __init__(self, data: DataSpec, *, l1: float = 100.0, adversarial: float = 1.0):
        super().__init__(data)
        self.l1, self.adversarial = l1, adversarial

    @property
    def roles(self) -> dict[str, Role]:
        view = self.data.seen_as(labels=False)
        return {
            "generator": Role("translator", "generator", view),
            "discriminator": Role("discriminator", "discriminator", view),
        }

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player(("discriminator",)), "generator": Player(("generator",))}

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        return Generated(self.networks["generator"](batch["given"]))

    def comparisons(self, batch: Batch, generated: Generated) -> list[Comparison]:
        real = Inputs(batch["x"], given=batch["given"])
        return [Comparison("discriminator", real, Inputs(generated.x, given=batch["given"]), weight=self.adversarial)]

    def terms(self, player: str, batch: Batch, generated: Generated, rounds: list[Round]) -> dict[str, Tensor]:
        return {"l1": self.l1 * l1(generated.x, batch["x"])} if player == "generator" else {}

    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        return self.networks["generator"](condition(given))

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        return [("given", batch["given"]), ("generated", self.sample(draw, given=batch["given"])), ("real", batch["x"])]
