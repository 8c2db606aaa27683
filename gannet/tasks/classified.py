"""AC-GAN (Odena et al. 2017): the discriminator also names the class, and so teaches the generator to show it."""

from __future__ import annotations

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import SCORE, Batch, DataSpec, Generated, Verdict
from gannet.losses.reconstruction import cross_entropy
from gannet.tasks.synthesis import Synthesis


@TASKS.register("auxiliary-classifier")
class AuxiliaryClassifier(Synthesis):
    """Noise and a label to a sample whose class an auxiliary classifier, a head of the discriminator, must recognise.

    L_D += weight·(CE(class of a real) + CE(class of a fake)), L_G += weight·CE(class of a fake): the log-likelihood L_C
    of eq. 3, which both players maximise. The score itself is told no class. Raises `UsageError` without labels.
    """

    def __init__(self, data: DataSpec, *, weight: float = 1.0):
        if not data.classes:
            raise UsageError(
                "task auxiliary-classifier teaches classes, and this source has none. "
                "Use a source with labels, or task=synthesis."
            )
        super().__init__(data)
        self.weight = weight
        self.judged = data.seen_as(given=None, labels=False)
        self.heads = {**SCORE, "class": data.classes}

    def terms(self, player: str, batch: Batch, generated: Generated, rounds: list[Round]) -> dict[str, Tensor]:
        verdicts = rounds[0].verdicts
        # Where the generator moves, a real that was judged says nothing about it.
        seen = ("real", "fake") if player == "discriminator" else ("fake",)
        losses = [cross_entropy(verdicts[side].heads["class"], batch["y"]) for side in seen]
        return {"class": self.weight * torch.stack(losses).sum(0)}

    @torch.no_grad()
    def measure(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The share of held-out reals whose class is recognised."""
        return recognised(self.networks["discriminator"](batch["x"]), batch["y"])


def recognised(verdict: Verdict, y: Tensor) -> dict[str, Tensor]:
    """The share of rows whose class `y` `[B]` has the largest logit of the head "class"."""
    return {"class_accuracy": (verdict.heads["class"].argmax(1) == y).float().mean()}
