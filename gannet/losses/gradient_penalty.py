"""The gradient penalty: one primitive, and the names it goes by in the papers.

    centre 0:  ½ |∇D(x̂)|²          centre 1:  (|∇D(x̂)| − 1)²

The norm is over every axis of one sample; D is the per-sample score (`Verdict.per_sample`). So `weight` is γ in R1's
γ/2 |∇D|² and λ in WGAN-GP's λ(|∇D| − 1)².
"""

# ruff: noqa: B008 — schedules are immutable, so they may be defaults.

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gannet.core.errors import UsageError
from gannet.core.parts import RoundRegularizer
from gannet.core.registry import REGULARIZERS
from gannet.core.round import Round, Side
from gannet.core.schedule import Constant, Schedule
from gannet.core.types import Inputs

Where = Literal["real", "fake", "interpolated", "noisy"]
Estimator = Literal["exact", "finite-difference", "forward-mode"]


@REGULARIZERS.register("gradient-penalty")
class GradientPenalty(RoundRegularizer):
    """½|∇D|² (centre 0) or (|∇D| − 1)² (centre 1) of every sample, at points of your choice.

    where: real, fake, interpolated (ε·real + (1 − ε)·fake, one ε ~ U(0, 1) a sample) or noisy (real + `noise`·n).
    estimator, with n ~ N(0, I):

    - exact: `autograd.grad` with its graph. Differentiates twice, so the network cannot be compiled.
    - finite-difference: ½((D(x + σn) − D(x))/σ)² with σ = `sigma`. One more forward; any network.
    - forward-mode: ½(n·∇D)² from one dual-number forward; no bias from σ.

    Both estimates equal ½|∇D|² in expectation, with a relative standard deviation of √2; of (|∇D| − 1)² there is none.
    share: the part of the batch that is penalised, its first ⌈share·B⌉ rows. All of real or fake, exact, reads the
    gradient of the round's own forward; every other choice judges its points afresh, so cost falls with the share.

    Returns one number a penalised sample. Centre 1 with an estimate and values out of range are a `UsageError`.
    """

    per_sample = True
    restrains = True

    def __init__(
        self,
        *,
        weight: Schedule = Constant(1.0),
        where: Where = "real",
        centre: Literal[0, 1] = 0,
        estimator: Estimator = "exact",
        share: float = 1.0,
        sigma: float = 0.01,
        noise: float = 0.3,
        every: int = 1,
    ):
        super().__init__(weight, every)
        if centre == 1 and estimator != "exact":
            raise UsageError(
                f"estimator={estimator} estimates |∇D|², from which (|∇D| − 1)² of centre=1 cannot be had. "
                f"Use centre=0 with it, or centre=1 with estimator=exact."
            )
        if not 0 < share <= 1:
            raise UsageError(
                f"share={share:g} is out of range. It is the part of the batch that is penalised: above 0, at most 1."
            )
        for name, value in (("sigma", sigma), ("noise", noise)):
            if not value > 0:
                raise UsageError(
                    f"{name}={value:g} is out of range. It is a standard deviation in units of the data: above 0."
                )
        self.where = where
        self.centre = centre
        self.estimator = estimator
        self.share = share
        self.sigma = sigma
        self.noise = noise
        self.side_of_points: Side = "fake" if where == "fake" else "real"
        self.interpolates = where == "interpolated"
        self.shares_gradient = estimator == "exact" and where in ("real", "fake") and share == 1
        self.needs = frozenset({f"gradient:{where}"}) if self.shares_gradient else frozenset()  # type: ignore[arg-type]

    def forward(self, round: Round) -> Tensor:
        if self.estimator != "exact":
            return 0.5 * self._slope(round).square()
        square = self._gradient(round).flatten(1).square().sum(1)
        return 0.5 * square if self.centre == 0 else (safe_sqrt(square) - 1).square()

    def _gradient(self, round: Round) -> Tensor:
        """∇D at every penalised point, `[k, *shape]`, with its graph."""
        if self.shares_gradient:
            return round.gradient(self.side_of_points)
        points = self._points(round)
        points.x.requires_grad_()
        score = round.judge(points, self.side_of_points).per_sample()
        return torch.autograd.grad(score.sum(), points.x, create_graph=True)[0]

    def _slope(self, round: Round) -> Tensor:
        """An estimate of n·∇D at every penalised point, `[k]`, for one standard normal n a sample."""
        points, side = self._points(round), self.side_of_points
        k = len(points)
        n = _of_rows(round.draw.child(f"gradient-penalty/{self.where}/direction").normal(*points.x.shape[1:]), points.x)
        if self.estimator == "forward-mode":
            with forward_ad.dual_level():
                dual = Inputs(forward_ad.make_dual(points.x, n), points.y, points.given)
                return forward_ad.unpack_dual(round.judge(dual, side).per_sample()).tangent
        judged = round.verdict(side) if self.where == side else round.judge(points, side)
        moved = round.judge(Inputs(points.x + self.sigma * n, points.y, points.given), side)
        return (moved.per_sample() - judged.per_sample()[:k]) / self.sigma

    def _points(self, round: Round) -> Inputs:
        """Where the penalty is taken: the first ⌈share·B⌉ rows with their conditions, cut from any graph."""
        side = round.inputs(self.side_of_points).detach()
        # Without the slack 0.1 · 30 = 3.0000000000000004 would take a fourth row.
        k = max(1, math.ceil(self.share * len(side) - 1e-9))
        x = side.x[:k]
        draw = round.draw.child(f"gradient-penalty/{self.where}")
        if self.where == "interpolated":
            mix = _of_rows(draw.uniform(*[1] * (x.dim() - 1)), x)
            x = mix * x + (1 - mix) * round.fake.x.detach()[:k]
        elif self.where == "noisy":
            x = x + self.noise * _of_rows(draw.normal(*x.shape[1:]), x)
        return Inputs(x, *(None if t is None else t[:k] for t in (side.y, side.given)))


@REGULARIZERS.register("r1")
class R1(GradientPenalty):
    """weight/2 · |∇D(real)|²; Mescheder et al. 2018. `weight` is the paper's γ."""

    def __init__(
        self,
        *,
        weight: Schedule = Constant(1.0),
        every: int = 1,
        estimator: Estimator = "exact",
        share: float = 1.0,
        sigma: float = 0.01,
    ):
        super().__init__(weight=weight, where="real", every=every, estimator=estimator, share=share, sigma=sigma)


@REGULARIZERS.register("r2")
class R2(GradientPenalty):
    """weight/2 · |∇D(fake)|²; Mescheder et al. 2018. `weight` is the paper's γ. Beside r1 it is nearly free."""

    def __init__(
        self,
        *,
        weight: Schedule = Constant(1.0),
        every: int = 1,
        estimator: Estimator = "exact",
        share: float = 1.0,
        sigma: float = 0.01,
    ):
        super().__init__(weight=weight, where="fake", every=every, estimator=estimator, share=share, sigma=sigma)


@REGULARIZERS.register("wgan-gp")
class WganGp(GradientPenalty):
    """weight · (|∇D(ε·real + (1 − ε)·fake)| − 1)², ε ~ U(0, 1) for every sample; Gulrajani et al. 2017, weight 10."""

    def __init__(self, *, weight: Schedule = Constant(10.0), every: int = 1, share: float = 1.0):
        super().__init__(weight=weight, where="interpolated", centre=1, every=every, share=share)


@REGULARIZERS.register("dragan")
class Dragan(GradientPenalty):
    """weight · (|∇D(real + noise·n)| − 1)², n ~ N(0, I); Kodali et al. 2017. `noise` is in units of the data."""

    def __init__(
        self,
        *,
        weight: Schedule = Constant(10.0),
        noise: float = 0.3,
        every: int = 1,
        share: float = 1.0,
    ):
        super().__init__(weight=weight, where="noisy", centre=1, noise=noise, every=every, share=share)


def safe_sqrt(square: Tensor) -> Tensor:
    """√ of numbers ≥ 0 whose derivatives of every order are 0 at 0, where those of √ are infinite."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def _of_rows(numbers: Tensor, x: Tensor) -> Tensor:
    """The draw's numbers for the first rows of a batch, in the type and place of `x`."""
    return numbers[: len(x)].to(x)
