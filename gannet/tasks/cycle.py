"""Unpaired translation after CycleGAN (Zhu et al. 2017): two translators, two discriminators, two players."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import Batch, Comparison, DataSpec, Generated, Inputs, Player, Role, Task, sum_entries
from gannet.losses.reconstruction import l1
from gannet.tasks.translation import condition


@dataclass(frozen=True, kw_only=True)
class Translated(Generated):
    """`x` is G(given); `back` is F(x); `given_again` is F(G(given)); `x_again` is G(F(x))."""

    back: Tensor
    given_again: Tensor
    x_again: Tensor


@TASKS.register("cycle")
class Cycle(Task):
    """`given` ↔ `x`, no pairs: L_G = adversarial·(L_G + L_F) + cycle·(|F(G(given)) − given| + |G(F(x)) − x|), eq. 3."""

    fields = ("x", "given")

    def __init__(self, data: DataSpec, *, cycle: float = 10.0, adversarial: float = 1.0):
        super().__init__(data)
        self.cycle, self.weight = cycle, adversarial

    @property
    def roles(self) -> dict[str, Role]:
        there, back = self.data.seen_as(labels=False), self.data.seen_as("given", "x", labels=False)
        roles = {"to_x": Role("translator", "generator", there), "to_given": Role("translator", "generator", back)}
        judged = {name: self.data.seen_as(name, None, labels=False) for name in ("x", "given")}
        return roles | {f"judge_{name}": Role("discriminator", "discriminator", view) for name, view in judged.items()}

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player(("judge_x", "judge_given")), "generator": Player(("to_x", "to_given"))}

    def generate(self, batch: Batch, draw: Draw) -> Generated:
        to_x, to_given = self.networks["to_x"], self.networks["to_given"]
        x, back = to_x(batch["given"]), to_given(batch["x"])
        return Translated(x=x, back=back, given_again=to_given(x), x_again=to_x(back))

    def comparisons(self, batch: Batch, made: Translated) -> list[Comparison]:  # type: ignore[override]
        sides = {"x": made.x, "given": made.back}
        return [Comparison(f"judge_{n}", Inputs(batch[n]), Inputs(f), (), self.weight, n) for n, f in sides.items()]

    def terms(self, player: str, batch: Batch, made: Translated, rounds: list[Round]) -> dict[str, Tensor]:  # type: ignore[override]
        again = (("given", made.given_again), ("x", made.x_again))
        return {"cycle": self.cycle * sum_entries([l1(t, batch[n]) for n, t in again])} if player == "generator" else {}

    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        return self.networks["to_x"](condition(given))

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        there, back = self.networks["to_x"](batch["given"]), self.networks["to_given"](batch["x"])
        return [("given", batch["given"]), ("to x", there), ("x", batch["x"]), ("to given", back)]
