"""Estimates of ½|∇D|² from directions: the exact penalty on average, in value and in the weights' gradient.

Every bound is four standard errors of what is averaged, on both sides.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.random import Draw, installed
from gannet.core.registry import DISCRIMINATORS, REGULARIZERS
from gannet.core.types import DataSpec, Field, Inputs

pytestmark = pytest.mark.usefixtures("fp64")

N = 20_000
DIMENSIONS = 6
IMAGE = DataSpec({"x": Field((1, 16, 16))})


def net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(DIMENSIONS, 12), nn.Tanh(), nn.Linear(12, 1), nn.Flatten(0))


def one_point(n: int = N) -> torch.Tensor:
    """The same point in every row, so that rows differ only in their direction."""
    torch.manual_seed(6)
    return torch.randn(1, DIMENSIONS).expand(n, DIMENSIONS).contiguous()


def values(text: str, play, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    term = REGULARIZERS.build(text)
    return term(play(module, x, x, needs=term.needs))


def estimate(kind: str, where: str = "real", more: str = "") -> str:
    return f"gradient-penalty(where={where}, estimator={kind}{more})"


KINDS = {"forward-mode": "", "finite-difference": ", sigma=1e-4"}


@pytest.mark.parametrize("where", ["real", "fake"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_directions_is_the_exact_penalty(kind, where, play):
    module, x = net(), one_point()
    exact = float(values(f"gradient-penalty(where={where})", play, module, x[:2]).detach()[0])
    found = values(estimate(kind, where, KINDS[kind]), play, module, x).detach() / exact
    # n·∇D is normal, so its square over |∇D|² is χ² of one degree of freedom: mean 1, variance 2.
    assert abs(float(found.mean()) - 1) < 4 * math.sqrt(2 / N)
    assert abs(float(found.var()) / 2 - 1) < 4 * math.sqrt(14 / N)  # kurtosis 15
    assert abs(float((found < 1).double().mean()) - 0.6827) < 4 * math.sqrt(0.25 / N)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_gradient_of_the_weights_is_the_exact_one(kind, play):
    module, x = net(), one_point(1000)
    weights = list(module.parameters())

    def gradient(text: str, rows: torch.Tensor, seed: int = 0) -> torch.Tensor:
        term = REGULARIZERS.build(text)
        value = term(play(module, rows, rows, needs=term.needs, seed=seed)).mean()
        found = torch.autograd.grad(value, weights, allow_unused=True)
        return torch.cat(
            [torch.zeros(p.numel()) if g is None else g.flatten() for g, p in zip(found, weights, strict=True)]
        )

    exact = gradient("r1", x[:2])
    found = torch.stack([gradient(estimate(kind, more=KINDS[kind]), x, seed) for seed in range(20)])
    along = found @ exact / exact.square().sum()  # 1 on average
    error = float(along.std()) / math.sqrt(len(found))
    assert abs(float(along.mean()) - 1) < 4 * error < 0.1
    assert float((found.mean(0) - exact).norm() / exact.norm()) < 0.1


def test_the_bias_of_a_finite_difference_is_that_of_a_quadratic(play, quadratic):
    """D = ½a|x|²: (D(x + σn) − D(x))/σ = a·x·n + ½aσ|n|², and odd moments vanish, so the mean of its half square is
    ½a²|x|² + ⅛a²σ²·d(d + 2)."""
    a, sigma, d = 0.7, 0.8, DIMENSIONS
    x = one_point()
    square = float(x[0].square().sum())
    wanted = 0.5 * a**2 * square + 0.125 * a**2 * sigma**2 * d * (d + 2)
    found = values(estimate("finite-difference", more=f", sigma={sigma}"), play, quadratic(a), x).detach()
    error = float(found.std()) / math.sqrt(N)
    assert abs(float(found.mean()) - wanted) < 4 * error
    assert wanted - 0.5 * a**2 * square > 20 * error  # a bias that this test would miss is no bias
    small = values(estimate("finite-difference", more=", sigma=1e-6"), play, quadratic(a), x).detach()
    exact = values(estimate("forward-mode"), play, quadratic(a), x).detach()
    assert_close(small, exact, rtol=0, atol=1e-4)  # the same directions, so equal but for σ


def test_a_share_has_the_same_mean(play):
    """A quarter of the batch, its first rows: the mean over those, not divided by the whole batch."""
    module, x = net(), one_point()
    exact = float(values("r1", play, module, x[:2]).detach()[0])
    for kind in KINDS:
        found = values(estimate(kind, more=f", share=0.25{KINDS[kind]}"), play, module, x).detach()
        assert len(found) == N // 4
        assert abs(float(found.mean()) / exact - 1) < 4 * math.sqrt(2 / (N / 4))


def test_directions_are_new_on_every_row_and_every_turn(play):
    module, x = net(), one_point(64)
    term = REGULARIZERS.build(estimate("forward-mode"))
    first, again, other = (term(play(module, x, x, seed=seed)).detach() for seed in (0, 0, 1))
    assert len(first.unique()) == 64
    assert_close(first, again, rtol=0, atol=0)
    assert (first != other).all()


@pytest.mark.parametrize("name", DISCRIMINATORS.names())
def test_every_discriminator_can_be_differentiated_forwards(name, play):
    """The dual number's tangent is n·∇D by reverse mode, and its gradient to the weights that of reverse mode twice."""
    torch.manual_seed(0)
    try:
        module = DISCRIMINATORS.build(name, IMAGE).double()
    except UsageError as error:
        pytest.skip(f"{name} takes no 16×16 images: {error}")
    x = torch.randn(4, *IMAGE.shape)
    weights = [p for p in module.parameters() if p.requires_grad]

    def judged(inputs: Inputs):
        with installed(Draw(0, "layers", 0, range(len(inputs)), dtype=torch.float64)):
            return module(inputs.x, None, None)

    term = REGULARIZERS.build(estimate("forward-mode"))
    round = play(module, x, x, verdict=judged)
    found = term(round)
    n = round.draw.child("gradient-penalty/real/direction").normal(*IMAGE.shape)
    points = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(judged(Inputs(points)).per_sample().sum(), points, create_graph=True)
    wanted = 0.5 * (slope * n).flatten(1).sum(1).square()
    assert float(wanted.detach().max()) > 0
    assert_close(found, wanted, rtol=1e-9, atol=1e-14)
    ours, theirs = (torch.autograd.grad(v.sum(), weights, allow_unused=True) for v in (found, wanted))
    for a, b in zip(ours, theirs, strict=True):
        zero = torch.zeros(())
        assert_close(zero if a is None else a, (zero if a is None else torch.zeros_like(a)) if b is None else b)
