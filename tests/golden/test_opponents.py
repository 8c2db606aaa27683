"""The opponent some steps ahead: its weights and the generator's gradient through them, against closed forms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, OPPONENTS
from gannet.core.types import DataSpec, Field, Verdict

pytestmark = pytest.mark.usefixtures("fp64")

X, F, W = [0.8, -0.5], [-0.3, 1.1], [0.6, 0.2]


class Linear(nn.Module):
    """D(x) = w·x, with a second head that no loss asks about."""

    def __init__(self, w: list[float]):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.other = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor, y=None, given=None) -> Verdict:
        return Verdict((x @ self.w,), {"other": x @ self.other})


def frozen(module: nn.Module) -> nn.Module:
    """As the generator's turn finds it."""
    for parameter in module.parameters():
        parameter.requires_grad = False
    return module


def squares(real: torch.Tensor, fake: torch.Tensor):
    """L_D = ½(r − 1)² + ½f² of one row each, as `Opponent.ahead` is given it."""
    return lambda judge: (0.5 * (judge(real).score[0] - 1).square() + 0.5 * judge(fake).score[0].square()).mean()


def critic(real: torch.Tensor, fake: torch.Tensor):
    """L_D = f − r."""
    return lambda judge: judge(fake).score[0].mean() - judge(real).score[0].mean()


def logistic(real: torch.Tensor, fake: torch.Tensor):
    return lambda judge: (softplus(-judge(real).score[0]) + softplus(judge(fake).score[0])).mean()


def unrolled(steps: int, optimiser: str = "sgd", lr: float = 0.1, more: str = ""):
    return OPPONENTS.build(f"unrolled(steps={steps}, lr={lr}, optimiser={optimiser}{more})")


def untrained() -> torch.optim.Optimizer:
    """An Adam that has not taken a step of anything."""
    return torch.optim.Adam([nn.Parameter(torch.zeros(1))])


# ------------------------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("steps", [1, 2])
def test_the_bilinear_game_by_hand(steps):
    """θᴷ = θ + K·lr·(x − f), and of L_G = −θᴷ·f the gradient is −θ − K·lr·(x − 2f)."""
    x, f, w = torch.tensor(X), torch.tensor(F, requires_grad=True), torch.tensor(W)
    judge = unrolled(steps).ahead(frozen(Linear(W)), critic(x[None], f[None]), untrained())
    score = judge(f[None]).score[0]
    assert_close(score, ((w + steps * 0.1 * (x - f)) @ f)[None])
    (gradient,) = torch.autograd.grad(-score.sum(), f)
    assert_close(gradient, (-w - steps * 0.1 * (x - 2 * f)).detach())


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_least_squares_in_one_dimension_by_hand(steps):
    """θ ← aθ + lr·x with a = 1 − lr(x² + f²): θᴷ = aᴷθ + lr·x(1 − aᴷ)/(1 − a), differentiated by its recursion."""
    x, f, w, lr = 0.9, 0.7, 0.4, 0.3
    a, slope_a = 1 - lr * (x * x + f * f), -2 * lr * f
    ahead = a**steps * w + lr * x * (1 - a**steps) / (1 - a)
    slope, place = 0.0, w
    for _ in range(steps):
        place, slope = a * place + lr * x, a * slope + slope_a * place
    assert place == pytest.approx(ahead, abs=1e-12)
    fake = torch.tensor([[f]], requires_grad=True)
    module = frozen(Linear([w]))
    module.other.data = torch.ones(1)
    judge = unrolled(steps, lr=lr).ahead(module, squares(torch.tensor([[x]]), fake), untrained())
    score = judge(fake).score[0]
    assert_close(score, torch.tensor([ahead * f]))
    # d(θᴷ f)/df: through the fake as it is judged, and through the weights it has trained.
    assert_close(torch.autograd.grad(score.sum(), fake)[0], torch.tensor([[ahead + slope * f]]))


# ------------------------------------------------------------------------------ against an optimiser that really steps


def trained(module: nn.Module, optimiser: str, steps: int, lr: float, loss) -> nn.Module:
    """A copy of `module` after `steps` ordinary steps on `loss`."""
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.requires_grad = True
    kinds = {"sgd": lambda p: torch.optim.SGD(p, lr), "adam": lambda p: torch.optim.Adam(p, lr, (0.5, 0.999), 1e-12)}
    stepper = kinds[optimiser](module.parameters())
    for _ in range(steps):
        stepper.zero_grad()
        loss(module).backward()
        stepper.step()
    return module


def judged(spec: str, shape: tuple[int, ...] = (3,)) -> nn.Module:
    torch.manual_seed(0)
    field = Field(shape) if len(shape) == 3 else Field(shape, kind="points", range=None)
    return DISCRIMINATORS.build(spec, DataSpec({"x": field})).double()


SPECS = {
    "mlp": ("mlp(width=5, layers=2, activation=tanh)", (3,)),
    "spectral norm": ("mlp(width=5, layers=2, activation=tanh, spectral=true)", (3,)),
    "batch norm": ("dcgan(width=2, norm=batch)", (1, 8, 8)),
}


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("kind", SPECS)
def test_it_stands_where_an_optimiser_would_take_it(kind, optimiser):
    module, shape = judged(*SPECS[kind]), SPECS[kind][1]
    torch.manual_seed(1)
    x, f = torch.randn(6, *shape), torch.randn(6, *shape) + 0.5
    there = unrolled(4, optimiser, 0.05, ", eps=1e-24").ahead(frozen(module), logistic(x, f), untrained())
    real = trained(module, optimiser, 4, 0.05, logistic(x, f))
    assert_close(there(f).score[0], real(f).score[0], rtol=1e-7, atol=1e-9)
    assert (there(f).score[0] - module(f).score[0]).abs().max() > 1e-2


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_the_gradient_is_the_slope_of_what_really_happens(optimiser):
    """Finite differences of: train a copy of D on this fake with torch.optim, then ask the generator's loss."""
    module = judged(*SPECS["mlp"])
    x, f = torch.randn(4, 3), torch.randn(4, 3)

    def outcome(fake: torch.Tensor) -> float:
        there = trained(module, optimiser, 3, 0.05, logistic(x, fake))
        return softplus(-there(fake).score[0]).mean().item()

    fake = f.clone().requires_grad_()
    judge = unrolled(3, optimiser, 0.05, ", eps=1e-24").ahead(frozen(module), logistic(x, fake), untrained())
    (found,) = torch.autograd.grad(softplus(-judge(fake).score[0]).mean(), fake)
    for row, column in ((0, 0), (1, 2), (3, 1)):
        above, below = f.clone(), f.clone()
        above[row, column] += 1e-5
        below[row, column] -= 1e-5
        slope = (outcome(above) - outcome(below)) / 2e-5
        assert found[row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)
    plain = f.clone().requires_grad_()
    (without,) = torch.autograd.grad(softplus(-module(plain).score[0]).mean(), plain)
    assert (found - without).abs().max() > 1e-4, "the way through the weights counts"


def in_training(module: nn.Module, loss, steps: int = 5) -> torch.optim.Adam:
    """The Adam of `module` after `steps` of its steps on `loss`, which moved it."""
    adam = torch.optim.Adam(module.parameters(), 0.05, (0.5, 0.999), 1e-12)
    for _ in range(steps):
        adam.zero_grad()
        loss(module).backward()
        adam.step()
    return adam


def continued(module: nn.Module, adam: torch.optim.Adam, steps: int, loss) -> nn.Module:
    """A copy of `module` after `steps` more steps of a copy of `adam`."""
    there = copy.deepcopy(module)
    for parameter in there.parameters():
        parameter.requires_grad = True
    stepper = torch.optim.Adam(there.parameters(), 0.05, (0.5, 0.999), 1e-12)
    stepper.load_state_dict(copy.deepcopy(adam.state_dict()))
    for _ in range(steps):
        stepper.zero_grad()
        loss(there).backward()
        stepper.step()
    return there


def test_adam_goes_on_from_the_moments_of_the_discriminators_own():
    """It stands where the discriminator's next three steps would take it, and its gradient is the slope of those."""
    module = judged(*SPECS["mlp"])
    x, f = torch.randn(4, 3), torch.randn(4, 3)
    adam = in_training(module, logistic(x, torch.randn(4, 3)))
    frozen(module)
    fake = f.clone().requires_grad_()
    judge = unrolled(3, "adam", 0.05, ", eps=1e-24").ahead(module, logistic(x, fake), adam)
    assert_close(judge(f).score[0], continued(module, adam, 3, logistic(x, f))(f).score[0], rtol=1e-7, atol=1e-9)

    def outcome(fake: torch.Tensor) -> float:
        return softplus(-continued(module, adam, 3, logistic(x, fake))(fake).score[0]).mean().item()

    (found,) = torch.autograd.grad(softplus(-judge(fake).score[0]).mean(), fake)
    for row, column in ((0, 0), (1, 2), (3, 1)):
        above, below = f.clone(), f.clone()
        above[row, column] += 1e-5
        below[row, column] -= 1e-5
        assert found[row, column].item() == pytest.approx((outcome(above) - outcome(below)) / 2e-5, rel=1e-4, abs=1e-8)


def test_moments_are_what_the_way_through_the_weights_is_felt_by():
    """A first step from 0 is a sign, so its slope is 0; going on from moments, one step is felt."""
    module = judged(*SPECS["mlp"])
    x, f = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    adam = in_training(module, logistic(x, torch.randn(4, 3)))
    frozen(module)

    def through_the_weights(optimiser: torch.optim.Optimizer) -> float:
        judge = unrolled(1, "adam", 0.05, ", eps=1e-24").ahead(module, logistic(x, f), optimiser)
        (found,) = torch.autograd.grad(judge(f.detach()).score[0].sum(), f)
        return found.abs().max().item()

    assert through_the_weights(untrained()) < 1e-6
    assert through_the_weights(adam) > 1e-4


# -------------------------------------------------------------------------------------------------- what stays as it is


@pytest.mark.parametrize("kind", SPECS)
def test_the_discriminator_itself_does_not_change(kind):
    module, shape = frozen(judged(*SPECS[kind])), SPECS[kind][1]
    before = copy.deepcopy(module.state_dict())
    x, f = torch.randn(4, *shape), torch.randn(4, *shape, requires_grad=True)
    judge = unrolled(3, "adam").ahead(module, logistic(x, f), untrained())
    judge(f).score[0].sum().backward()
    assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert f.grad.abs().min() > 0


def test_batch_norm_would_have_moved():
    module = judged(*SPECS["batch norm"])
    before = copy.deepcopy(module.state_dict())
    module(torch.randn(4, 1, 8, 8))
    assert any(not torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_head_that_the_loss_does_not_reach_stays():
    x, f = torch.tensor([X]), torch.tensor([F], requires_grad=True)
    for optimiser in ("sgd", "adam"):
        judge = unrolled(2, optimiser).ahead(frozen(Linear(W)), critic(x, f), untrained())
        assert_close(judge(f).heads["other"], f.sum(1))
        assert judge(f).score[0].isfinite().all()


def test_adam_is_differentiable_where_a_slope_is_zero():
    """Both sides are 0 in the second coordinate: its slope is 0, and so is what lies under Adam's root."""
    x, f = torch.tensor([[0.8, 0.0]]), torch.tensor([[-0.3, 0.0]], requires_grad=True)
    judge = unrolled(3, "adam").ahead(frozen(Linear(W)), logistic(x, f), untrained())
    (gradient,) = torch.autograd.grad(judge(f).score[0].sum(), f)
    assert gradient.isfinite().all()


def test_it_looks_ahead_without_a_generator_too():
    x, f = torch.tensor([X]), torch.tensor([F])
    with torch.no_grad():
        judge = unrolled(1).ahead(frozen(Linear(W)), critic(x, f), untrained())
    assert_close(judge(f).score[0], f @ (torch.tensor(W) + 0.1 * (x[0] - f[0])))


def test_the_present_one_is_the_discriminator():
    module = Linear(W)
    assert OPPONENTS.build("present").ahead(module, critic(torch.tensor([X]), torch.tensor([F])), untrained()) is module


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("unrolled(steps=0)", "opponent=present"),
        ("unrolled(lr=0)", "lr=0 is out of range"),
        ("unrolled(lr=-1e-3)", "lr=-0.001 is out of range"),
        ("unrolled(eps=0)", "eps=0 is out of range"),
        ("unrolled(betas=[0.5, 1])", "betas"),
        ("unrolled(optimiser=adem)", "adam"),
        ("unroled", "unrolled"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        OPPONENTS.build(spec)
