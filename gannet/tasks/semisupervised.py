"""Semi-supervised classification after Salimans et al. 2016: K classes of reals, and one more for fakes."""

from __future__ import annotations

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import SCORE, Batch, DataSpec, Generated
from gannet.losses.reconstruction import cross_entropy
from gannet.tasks.classified import recognised
from gannet.tasks.synthesis import Synthesis


@TASKS.register("semi-supervised")
class SemiSupervised(Synthesis):
    """Noise to a sample, against a discriminator that also learns the classes of the rows whose label is known.

    With the score s and the class logits c of a sample, P(class k) = σ(s)·softmax(c)_k and P(fake) = 1 − σ(s). That is
    the softmax over K + 1 classes of section 5, with the logits c_k + s − logsumexp(c) and, for fakes, 0: the objective
    is its unsupervised part, and L_D += weight·mean CE(c, y) over the known rows of a batch its supervised one. Rows
    with y = −1 are unknown, as in the source few-labels. Raises `UsageError` without labels.
    """

    def __init__(self, data: DataSpec, *, weight: float = 1.0):
        if not data.classes:
            raise UsageError(
                "task semi-supervised learns classes, and this source has none. "
                "Use a source with labels, as in data=few-labels(of=digits, labels=100), or task=synthesis."
            )
        super().__init__(data, labels="ignore")
        self.weight = weight
        self.heads = {**SCORE, "class": data.classes}

    def terms(self, player: str, batch: Batch, generated: Generated, rounds: list[Round]) -> dict[str, Tensor]:
        if player != "discriminator":
            return {}
        known = batch["y"] >= 0
        losses = cross_entropy(rounds[0].verdicts["real"].heads["class"], batch["y"].clamp(min=0))
        return {"class": self.weight * (losses * known).sum() / known.sum().clamp(min=1)}

    @torch.no_grad()
    def measure(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """The share of held-out reals whose class is recognised."""
        return recognised(self.networks["discriminator"](batch["x"]), batch["y"])
