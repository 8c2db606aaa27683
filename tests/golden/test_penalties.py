"""The gradient penalty against closed forms: for D(x) = w·x, R1 = |w|²/2 and GP = (|w| − 1)², wherever it is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.parts import couples_batch
from gannet.core.registry import REGULARIZERS
from gannet.core.types import Clock, Inputs, Verdict

pytestmark = pytest.mark.usefixtures("fp64")

W = torch.tensor([[0.3, -1.2], [0.8, 0.5]], dtype=torch.float64)
SQUARE = float((W**2).sum())
NORM = SQUARE**0.5

HALF_SQUARE = [
    "r1",
    "r2",
    "gradient-penalty(where=interpolated)",
    "gradient-penalty(where=noisy)",
    "r1(share=0.5)",
    "r2(share=0.5)",
]
ABOUT_ONE = [
    "wgan-gp",
    "dragan",
    "wgan-gp(share=0.5)",
    "gradient-penalty(centre=1)",
    "gradient-penalty(where=fake, centre=1)",
]


def batch(n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, 2, 2), torch.randn(n, 2, 2) + 1


def penalty(spec: str, play, module, real, fake, **more):
    regularizer = REGULARIZERS.build(spec)
    return regularizer, regularizer(play(module, real, fake, needs=regularizer.needs, **more))


@pytest.mark.parametrize("spec", HALF_SQUARE)
def test_centre_0_of_a_linear_discriminator(spec, play, linear):
    module = linear(W)
    _, value = penalty(spec, play, module, *batch())
    assert_close(value, torch.full((2 if "share" in spec else 4,), SQUARE / 2))
    (gradient,) = torch.autograd.grad(value.mean(), module.w)
    assert_close(gradient, W)  # the graph through ∇D reaches the weights


@pytest.mark.parametrize("spec", ABOUT_ONE)
def test_centre_1_of_a_linear_discriminator(spec, play, linear):
    module = linear(W)
    _, value = penalty(spec, play, module, *batch())
    assert_close(value, torch.full((2 if "share" in spec else 4,), (NORM - 1) ** 2))
    (gradient,) = torch.autograd.grad(value.mean(), module.w)
    assert_close(gradient, 2 * (NORM - 1) * W / NORM)


def test_every_sample_has_its_own_norm(play, quadratic):
    """∇D = a·x: not the norm of the whole batch, not one norm a pixel."""
    module = quadratic(0.5)
    real, fake = batch(3)
    squares = 0.25 * real.flatten(1).square().sum(1)
    _, r1 = penalty("r1", play, module, real, fake)
    assert_close(r1, squares / 2)
    _, gp = penalty("gradient-penalty(centre=1)", play, module, real, fake)
    assert_close(gp, (squares.sqrt() - 1) ** 2)
    _, r2 = penalty("r2", play, module, real, fake)
    assert_close(r2, 0.125 * fake.flatten(1).square().sum(1))


def test_images_are_normed_over_channels_height_and_width(play, linear):
    torch.manual_seed(1)
    w = torch.randn(2, 3, 5)
    module = linear(w)
    _, value = penalty("wgan-gp", play, module, torch.randn(2, 2, 3, 5), torch.randn(2, 2, 3, 5))
    assert_close(value, ((w.square().sum().sqrt() - 1) ** 2).expand(2))


def test_gradients_of_a_quadratic_discriminator(play, quadratic):
    """d/da of ½a²|x|² is a|x|²; of (a|x| − 1)² it is 2(a|x| − 1)|x|."""
    real, fake = batch(3)
    norms = real.flatten(1).norm(dim=1)
    module = quadratic(0.5)
    _, r1 = penalty("r1", play, module, real, fake)
    assert_close(torch.autograd.grad(r1.sum(), module.a)[0], 0.5 * norms.square().sum())
    _, gp = penalty("gradient-penalty(centre=1)", play, module, real, fake)
    assert_close(torch.autograd.grad(gp.sum(), module.a)[0], (2 * (0.5 * norms - 1) * norms).sum())


def test_descending_the_penalty_shrinks_the_gradient(play, linear):
    """The sign: a step against the penalty's gradient brings |w| nearer to its centre."""
    for spec, centre in (("r1", 0.0), ("wgan-gp", 1.0)):
        module = linear(W)
        _, value = penalty(spec, play, module, *batch())
        (gradient,) = torch.autograd.grad(value.mean(), module.w)
        assert abs((W - 0.01 * gradient).norm() - centre) < abs(NORM - centre) - 1e-3


@pytest.mark.parametrize("spec", ["wgan-gp", "dragan", "gradient-penalty(centre=1)"])
def test_zero_gradient_gives_numbers(spec, play, linear):
    module = linear(torch.zeros(2, 2))
    _, value = penalty(spec, play, module, *batch())
    assert_close(value, torch.ones(4))
    (gradient,) = torch.autograd.grad(value.mean(), module.w, create_graph=True)
    assert_close(gradient, torch.zeros(2, 2))
    (again,) = torch.autograd.grad(gradient.sum(), module.w)
    assert again.isfinite().all()


def judged_points(play, spec: str, seed: int = 0, n: int = 6) -> torch.Tensor:
    """The points D was asked about where reals are 1 and fakes 3: x̂ = ε + 3(1 − ε) = 3 − 2ε."""
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return x.flatten(1).sum(1)

    regularizer = REGULARIZERS.build(spec)
    regularizer(play(Spy(), torch.ones(n, 2, 2), torch.full((n, 2, 2), 3.0), seed=seed))
    return seen[-1]


def test_every_sample_has_its_own_epsilon(play):
    mix = (3 - judged_points(play, "wgan-gp", n=64)) / 2
    eps = mix[:, 0, 0]
    assert_close(mix, eps[:, None, None].expand_as(mix))  # one for all pixels of a sample
    assert len(eps.unique()) == 64
    assert 0 <= eps.min() < 0.1
    assert 0.9 < eps.max() <= 1


def test_points_are_reproducible_and_change_with_the_draw(play):
    assert_close(judged_points(play, "wgan-gp"), judged_points(play, "wgan-gp"), rtol=0, atol=0)
    assert (judged_points(play, "wgan-gp") != judged_points(play, "wgan-gp", seed=1)).all()
    # A share takes the first rows of the same points.
    assert_close(judged_points(play, "wgan-gp(share=0.5)"), judged_points(play, "wgan-gp")[:3], rtol=0, atol=0)


def test_noisy_points_lie_around_reals(play):
    noise = judged_points(play, "dragan(noise=0.2)", n=400) - 1
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 0.2) < 0.01
    assert len(noise.unique()) > 1590  # every number its own


def test_interpolation_carries_the_conditions_of_its_row(play, linear):
    seen = []

    def verdict(inputs: Inputs) -> Verdict:
        seen.append(inputs.y)
        return Verdict((inputs.x.flatten(1).sum(1),))

    y = torch.tensor([3, 1, 4, 1])
    regularizer = REGULARIZERS.build("wgan-gp(share=0.75)")
    regularizer(play(linear(W), *batch(), y=y, verdict=verdict))
    assert_close(seen[-1], y[:3])


@pytest.mark.parametrize("where", ["real", "fake", "interpolated", "noisy"])
def test_forward_mode_is_the_slope_along_one_direction(where, play, linear):
    """Mean of ½(n·w)² over many n is ½|w|²; each is exact, so a finite difference of a linear D gives the same."""
    real, fake = batch(3000)
    module = linear(W)
    _, jvp = penalty(f"gradient-penalty(where={where}, estimator=forward-mode)", play, module, real, fake)
    _, fd = penalty(f"gradient-penalty(where={where}, estimator=finite-difference)", play, module, real, fake)
    assert_close(jvp, fd, rtol=1e-8, atol=1e-10)
    assert abs(float(jvp.detach().mean()) / (SQUARE / 2) - 1) < 0.1
    # χ² with one degree of freedom: the relative standard deviation of one estimate is √2.
    assert abs(float(jvp.detach().std()) / (SQUARE / 2) - 2**0.5) < 0.2
    (gradient,) = torch.autograd.grad(jvp.mean(), module.w)
    assert float((gradient - W).norm()) < 0.15 * NORM


def test_estimates_agree_with_exact_on_a_curved_discriminator(play):
    torch.manual_seed(2)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    real = torch.randn(1, 2, 2).expand(3000, 2, 2).contiguous()
    exact = float(penalty("r1", play, module, real, real)[1].detach().mean())
    fd = penalty("r1(estimator=finite-difference, sigma=1e-4)", play, module, real, real)[1].detach()
    jvp = penalty("r1(estimator=forward-mode)", play, module, real, real)[1].detach()
    assert_close(fd, jvp, rtol=1e-2, atol=1e-5)
    assert abs(float(jvp.mean()) / exact - 1) < 0.1
    bent = penalty("r1(estimator=finite-difference, sigma=0.5)", play, module, real, real)[1].detach()
    assert float((bent - jvp).abs().mean()) > 1e-4  # σ is what is used


def test_what_is_judged(play, linear):
    """All of one side, exact: nothing beyond the round's own forward. A share costs its share."""
    wanted = {
        "r1": [],
        "r2": [],
        "r1(share=0.25)": [(2, "real")],
        "r2(share=0.3)": [(3, "fake")],
        "r1(share=0.1)": [(1, "real")],
        "wgan-gp": [(8, "real")],
        "r1(estimator=finite-difference, share=0.25)": [(2, "real")],
        "r2(estimator=finite-difference)": [(8, "fake")],
        "r1(estimator=forward-mode)": [(8, "real")],
    }
    for spec, judged in wanted.items():
        play.judged.clear()
        penalty(spec, play, linear(W), *batch(8))
        assert play.judged == judged, spec


def test_a_share_counts_rows_exactly(play, linear):
    _, value = penalty("r1(share=0.1)", play, linear(W), *batch(30))
    assert len(value) == 3


def test_estimates_reach_the_weights_through_both_scores(play, quadratic):
    """½((D(x + σn) − D(x))/σ)² is ½a²s² for a slope s free of a, so its derivative in a is a·s² = 2·value/a."""
    for estimator in ("finite-difference", "forward-mode"):
        module = quadratic(0.5)
        _, value = penalty(f"r1(estimator={estimator})", play, module, *batch())
        (gradient,) = torch.autograd.grad(value.sum(), module.a)
        assert_close(gradient, 2 * value.detach().sum() / 0.5)


def test_declarations():
    """The engine refuses batch norm under a per-sample penalty, and mixed conditions under an interpolating one."""
    built = {s: REGULARIZERS.build(s) for s in [*HALF_SQUARE, *ABOUT_ONE, "r1(estimator=forward-mode)"]}
    assert all(p.per_sample for p in built.values())
    assert {s for s, p in built.items() if p.interpolates} == {
        "gradient-penalty(where=interpolated)",
        "wgan-gp",
        "wgan-gp(share=0.5)",
    }
    assert built["r1"].needs == {"gradient:real"}
    assert built["r2"].needs == {"gradient:fake"}
    for spec in ("r1(share=0.5)", "wgan-gp", "dragan", "r1(estimator=forward-mode)"):
        assert built[spec].needs == frozenset(), spec
    assert all(p.side == "discriminator" for p in built.values())


def test_batch_norm_is_seen_as_coupling():
    assert couples_batch(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert not couples_batch(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))


def test_forward_is_unweighted(play, linear):
    """The engine alone multiplies by weight and every."""
    _, value = penalty("r1(weight=7, every=4)", play, linear(W), *batch())
    assert_close(value, torch.full((4,), SQUARE / 2))


def test_weights_are_schedules():
    clock = Clock(samples=50, total=100)
    assert REGULARIZERS.build("r1(weight=linear(2, 0))").weight(clock) == pytest.approx(1.0)
    assert REGULARIZERS.build("wgan-gp").weight(clock) == pytest.approx(10.0)
    assert REGULARIZERS.build("dragan").weight(clock) == pytest.approx(10.0)
    assert REGULARIZERS.build("r1(10, every=16)").every == 16


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gradient-penalty(centre=1, estimator=forward-mode)", "centre=0 with it, or centre=1 with estimator=exact"),
        ("gradient-penalty(centre=2)", "unknown value '2'"),
        ("r1(share=0)", "share=0 is out of range"),
        ("r1(sigma=0)", "sigma=0 is out of range"),
        ("dragan(noise=-1)", "noise=-1 is out of range"),
        ("wgan-gp(estimator=forward-mode)", "no option 'estimator'"),
        ("r1(estimator=finite-diference)", "finite-difference"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        REGULARIZERS.build(spec)
