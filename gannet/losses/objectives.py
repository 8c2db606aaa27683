"""Adversarial objectives: a pointwise function and a pairing, chosen separately.

A game is given by three functions of a number u: what the discriminator pays for a real, what it pays for a fake, and
what the generator pays for a fake. The pairing says what u is. With r a score of real, f one of fake, and a bar for the
mean over the batch at the same position:

| pairing | L_D                                        | L_G                                               |
|---------|--------------------------------------------|---------------------------------------------------|
| none    | on_real(r) + on_fake(f)                    | on_generated(f)                                   |
| paired  | on_real(r − f)                             | on_generated(f − r)                               |
| average | on_real(r − f̄) + on_fake(f − r̄)            | on_generated(f − r̄) + on_generated(f̄ − r)         |

"paired" is the relativistic pairing by row of R3GAN (Huang et al. 2024), "average" the relativistic average of
Jolicoeur-Martineau (2018); there the generator's reals pay the mirror image of its fakes. Means keep their graph. In
every game a higher score means more real.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gannet.core.errors import UsageError
from gannet.core.parts import Objective
from gannet.core.registry import OBJECTIVES
from gannet.core.world import gather_rows

Pairing = Literal["none", "paired", "average"]


class Game(Objective):
    """The table above. Scores `[B, …]` in, losses of the same shape out; two shapes that differ are a `UsageError`."""

    def __init__(self, pairing: Pairing):
        self.pairing = pairing
        self.wants_real = self.pairing != "none"
        self.pairs_rows = self.pairing == "paired"

    @abstractmethod
    def on_real(self, u: Tensor) -> Tensor:
        """What the discriminator pays for a real."""

    @abstractmethod
    def on_fake(self, u: Tensor) -> Tensor:
        """What the discriminator pays for a fake."""

    @abstractmethod
    def on_generated(self, u: Tensor) -> Tensor:
        """What the generator pays for a fake."""

    @abstractmethod
    def lowest(self) -> float:
        """min over c of on_real(c) + on_fake(c)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        _check_shapes(real, fake)
        if self.pairing == "none":
            return self.on_real(real) + self.on_fake(fake)
        if self.pairing == "paired":
            return self.on_real(real - fake)
        return self.on_real(real - average(fake)) + self.on_fake(fake - average(real))

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        if self.pairing == "none":
            return self.on_generated(fake)
        real = _judged(real, fake)
        if self.pairing == "paired":
            return self.on_generated(fake - real)
        return self.on_generated(fake - average(real)) + self.on_generated(average(fake) - real)

    def equilibrium(self) -> float:
        # A relative game compares equal scores at 0, whatever their common value.
        zero = torch.zeros((), dtype=torch.float64)
        if self.pairing == "none":
            return self.lowest()
        if self.pairing == "paired":
            return float(self.on_real(zero))
        return float(self.on_real(zero) + self.on_fake(zero))


def average(scores: Tensor) -> Tensor:
    """The mean over the batch of every process, position by position, with its graph."""
    return gather_rows(scores).mean(0)


class Logistic(Game):
    """Binary cross-entropy of the logit u; reals are labelled 1 − smoothing, which costs smoothing·u more."""

    def __init__(self, pairing: Pairing, smoothing: float):
        super().__init__(pairing)
        self.smoothing = _checked_smoothing(smoothing)

    def on_real(self, u: Tensor) -> Tensor:
        loss = softplus(-u)
        return loss + self.smoothing * u if self.smoothing else loss

    def on_fake(self, u: Tensor) -> Tensor:
        return softplus(u)

    def lowest(self) -> float:
        # σ(c) = (1 − s)/2 at the minimum.
        s = self.smoothing
        return -(1 - s) * math.log((1 - s) / 2) - (1 + s) * math.log((1 + s) / 2)


@OBJECTIVES.register("saturating")
class Saturating(Logistic):
    """The zero-sum game: L_D = sp(−r) + sp(f), L_G = −sp(f); sp(u) = log(1 + eᵘ).

    Goodfellow et al. 2014, the minimax form. With a pairing L_G = −L_D: −sp(f − r) when paired, and both halves
    negated in the average. `smoothing` (0 … 0.5) labels reals 1 − smoothing: L_D gains smoothing·u for every real.
    """

    def __init__(self, *, pairing: Pairing = "none", smoothing: float = 0.0):
        super().__init__(pairing, smoothing)

    def on_generated(self, u: Tensor) -> Tensor:
        return -softplus(u)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        # What on_real(r) alone would add has no gradient for the generator, and without a pairing no real is judged.
        if self.pairing == "none":
            return self.on_generated(fake)
        return -self.discriminator(_judged(real, fake), fake)


@OBJECTIVES.register("nonsaturating")
class NonSaturating(Logistic):
    """L_D = sp(−r) + sp(f), L_G = sp(−f); sp(u) = log(1 + eᵘ).

    Goodfellow et al. 2014, section 3. Paired: L_D = sp(f − r), L_G = sp(r − f), the loss of R3GAN. `smoothing`
    (0 … 0.5; Salimans et al. 2016) labels the discriminator's reals 1 − smoothing, one-sided: the generator's target
    stays 1.
    """

    def __init__(self, *, pairing: Pairing = "none", smoothing: float = 0.0):
        super().__init__(pairing, smoothing)

    def on_generated(self, u: Tensor) -> Tensor:
        return softplus(-u)


@OBJECTIVES.register("leastsquares")
class LeastSquares(Game):
    """L_D = ½(r − real)² + ½(f − fake)², L_G = ½(f − target)²; Mao et al. 2017.

    With a pairing the targets are differences, m = real − fake and t = target − fake. Paired: L_D = ½(r − f − m)²,
    L_G = ½(f − r − t)². Average: L_D = ½(r − f̄ − m)² + ½(f − r̄ + m)², L_G = ½(f − r̄ − t)² + ½(r − f̄ + t)².
    `smoothing` (0 … 0.5) moves the target of reals towards that of fakes, to real − smoothing·(real − fake).
    """

    def __init__(
        self,
        *,
        pairing: Pairing = "none",
        real: float = 1.0,
        fake: float = 0.0,
        target: float = 1.0,
        smoothing: float = 0.0,
    ):
        super().__init__(pairing)
        margin = real - fake
        if margin <= 0:
            raise UsageError(
                f"leastsquares: real={real:g} must lie above fake={fake:g}, since a higher score means more real. "
                f"Swap them, or keep real=1, fake=0."
            )
        smoothed = real - _checked_smoothing(smoothing) * margin
        if self.pairing == "none":
            self.real, self.fake, self.target = smoothed, fake, target
        else:
            self.real, self.fake, self.target = smoothed - fake, -margin, target - fake

    def on_real(self, u: Tensor) -> Tensor:
        return 0.5 * (u - self.real).square()

    def on_fake(self, u: Tensor) -> Tensor:
        return 0.5 * (u - self.fake).square()

    def on_generated(self, u: Tensor) -> Tensor:
        return 0.5 * (u - self.target).square()

    def lowest(self) -> float:
        return 0.25 * (self.real - self.fake) ** 2


@OBJECTIVES.register("hinge")
class Hinge(Game):
    """L_D = relu(1 − r) + relu(1 + f), L_G = −f; Lim & Ye 2017, Miyato et al. 2018.

    Paired: L_D = relu(1 − (r − f)), L_G = relu(1 − (f − r)). Average: L_D = relu(1 − (r − f̄)) + relu(1 + (f − r̄)),
    L_G the same with the sides exchanged (Jolicoeur-Martineau 2018).
    """

    def __init__(self, *, pairing: Pairing = "none"):
        super().__init__(pairing)

    def on_real(self, u: Tensor) -> Tensor:
        return relu(1 - u)

    def on_fake(self, u: Tensor) -> Tensor:
        return relu(1 + u)

    def on_generated(self, u: Tensor) -> Tensor:
        return -u if self.pairing == "none" else relu(1 - u)

    def lowest(self) -> float:
        return 2.0


@OBJECTIVES.register("wasserstein")
class Wasserstein(Game):
    """L_D = f − r, L_G = −f; Arjovsky et al. 2017. Needs a Lipschitz restraint: wgan-gp, clip or spectral norm.

    Already relative: paired changes only the constant in L_G (L_D = −(r − f), L_G = −(f − r)), and the average, with
    its two halves L_D = −(r − f̄) + (f − r̄), doubles the gradients.
    """

    def __init__(self, *, pairing: Pairing = "none"):
        super().__init__(pairing)

    def on_real(self, u: Tensor) -> Tensor:
        return -u

    def on_fake(self, u: Tensor) -> Tensor:
        return u

    def on_generated(self, u: Tensor) -> Tensor:
        return -u

    def lowest(self) -> float:
        return 0.0


def _checked_smoothing(smoothing: float) -> float:
    if not 0 <= smoothing <= 0.5:
        raise UsageError(
            f"smoothing={smoothing:g} is out of range. It is taken off the label 1 of reals: 0 … 0.5, usually 0.1."
        )
    return smoothing


def _judged(real: Tensor | None, fake: Tensor) -> Tensor:
    if real is None:
        raise UsageError(
            "this pairing compares fakes with reals, but no reals were judged. Pass their scores, or use pairing=none."
        )
    _check_shapes(real, fake)
    return real


def _check_shapes(real: Tensor, fake: Tensor) -> None:
    # [B] against [B, 1] would broadcast to every pair and train on something else, silently.
    if real.shape != fake.shape:
        raise UsageError(
            f"scores of real {tuple(real.shape)} and of fake {tuple(fake.shape)} differ in shape. "
            f"A discriminator must give both sides one shape [B, …]."
        )
