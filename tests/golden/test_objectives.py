"""Every objective against its formula: values, gradients, equilibrium."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import OBJECTIVES

pytestmark = pytest.mark.usefixtures("fp64")

NAMES = ["saturating", "nonsaturating", "leastsquares", "hinge", "wasserstein"]
PAIRINGS = ["none", "paired", "average"]
R, F = [0.7, -0.4, 1.9], [-1.2, 0.3, 0.5]


def sp(u: float) -> float:
    return math.log(1 + math.exp(u))


def relu(u: float) -> float:
    return max(u, 0.0)


# on_real(u), on_fake(u), and what the generator pays for a fake without a pairing and with one.
POINTWISE = {
    "saturating": (lambda u: sp(-u), sp, lambda u: -sp(u), None),
    "nonsaturating": (lambda u: sp(-u), sp, lambda u: sp(-u), lambda u: sp(-u)),
    "leastsquares": (
        lambda u: 0.5 * (u - 1) ** 2,
        lambda u: 0.5 * u**2,
        lambda u: 0.5 * (u - 1) ** 2,
        lambda u: 0.5 * (u - 1) ** 2,
    ),
    "hinge": (lambda u: relu(1 - u), lambda u: relu(1 + u), lambda u: -u, lambda u: relu(1 - u)),
    "wasserstein": (lambda u: -u, lambda u: u, lambda u: -u, lambda u: -u),
}
# In the average a fake lies (real − fake) below the mean real: the target of its difference is −1, not 0.
ON_FAKE_RELATIVE = {**{n: p[1] for n, p in POINTWISE.items()}, "leastsquares": lambda u: 0.5 * (u + 1) ** 2}


def by_hand(name: str, pairing: str) -> tuple[list[float], list[float]]:
    on_real, on_fake, alone, related = POINTWISE[name]
    on_fake_relative = ON_FAKE_RELATIVE[name]
    mr, mf = sum(R) / 3, sum(F) / 3
    rows = list(zip(R, F, strict=True))
    if pairing == "none":
        return [on_real(r) + on_fake(f) for r, f in rows], [alone(f) for f in F]
    if pairing == "paired":
        d = [on_real(r - f) for r, f in rows]
        return d, [-v for v in d] if related is None else [related(f - r) for r, f in rows]
    d = [on_real(r - mf) + on_fake_relative(f - mr) for r, f in rows]
    return d, [-v for v in d] if related is None else [related(f - mr) + related(mf - r) for r, f in rows]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_values(name, pairing):
    objective = OBJECTIVES.build(f"{name}(pairing={pairing})")
    r, f = torch.tensor(R), torch.tensor(F)
    d, g = by_hand(name, pairing)
    assert_close(objective.discriminator(r, f), torch.tensor(d))
    assert_close(objective.generator(r, f), torch.tensor(g))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_gradients(name, pairing):
    """Autograd agrees with finite differences of the formulas written by hand: no mean or score lost its graph."""
    objective = OBJECTIVES.build(f"{name}(pairing={pairing})")
    r, f = torch.tensor(R, requires_grad=True), torch.tensor(F, requires_grad=True)
    found = torch.autograd.grad(objective.discriminator(r, f).mean(), (r, f))
    found_g = torch.autograd.grad(objective.generator(r, f).mean(), f)[0]

    def slope(values: list[float], index: int, player: int) -> float:
        ends = []
        for step in (1e-6, -1e-6):
            values[index] += step
            ends.append(sum(by_hand(name, pairing)[player]) / 3)
            values[index] -= step
        return (ends[0] - ends[1]) / 2e-6

    assert_close(found[0], torch.tensor([slope(R, i, 0) for i in range(3)]), rtol=1e-6, atol=1e-8)
    assert_close(found[1], torch.tensor([slope(F, i, 0) for i in range(3)]), rtol=1e-6, atol=1e-8)
    assert_close(found_g, torch.tensor([slope(F, i, 1) for i in range(3)]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_signs(name, pairing):
    """Higher = more real: D pushes reals up and fakes down, G pushes fakes up."""
    objective = OBJECTIVES.build(f"{name}(pairing={pairing})")
    r, f = torch.tensor([0.2, 0.1], requires_grad=True), torch.tensor([0.1, 0.3], requires_grad=True)
    up_real, up_fake = torch.autograd.grad(objective.discriminator(r, f).sum(), (r, f))
    (up_generated,) = torch.autograd.grad(objective.generator(r, f).sum(), f)
    assert (up_real < 0).all()
    assert (up_fake > 0).all()
    assert (up_generated < 0).all()


SPECS = (
    [f"{n}(pairing={p})" for n in NAMES for p in PAIRINGS]
    + [
        f"{n}(pairing={p}, smoothing={s})"
        for n in ("saturating", "nonsaturating", "leastsquares")
        for p in PAIRINGS
        for s in (0.1, 0.5)
    ]
    + [f"leastsquares(pairing={p}, real=1, fake=-1, target=0)" for p in PAIRINGS]
)


@pytest.mark.parametrize("spec", SPECS)
def test_equilibrium_is_the_minimum_at_equal_scores(spec):
    objective = OBJECTIVES.build(spec)
    c = torch.linspace(-8, 8, 16_001)
    if "average" in spec:  # one row of equal scores at a time: a batch of different c would not be an equilibrium
        c = torch.linspace(-2, 2, 9)
        lowest = min(float(objective.discriminator(v[None], v[None]).min()) for v in c)
    else:
        lowest = float(objective.discriminator(c, c).min())
    assert abs(objective.equilibrium() - lowest) < 1e-6


def test_known_equilibria():
    two_log_two = 2 * math.log(2)
    known = {
        "nonsaturating": two_log_two,
        "saturating": two_log_two,
        "nonsaturating(pairing=paired)": math.log(2),
        "nonsaturating(pairing=average)": two_log_two,
        "hinge": 2.0,
        "hinge(pairing=paired)": 1.0,
        "leastsquares": 0.25,
        "leastsquares(pairing=paired)": 0.5,
        "wasserstein": 0.0,
    }
    for spec, value in known.items():
        assert OBJECTIVES.build(spec).equilibrium() == pytest.approx(value, abs=1e-12), spec


@pytest.mark.parametrize("name", ["saturating", "nonsaturating"])
def test_smoothing_is_cross_entropy_with_a_soft_real_label(name):
    r, f = torch.tensor(R), torch.tensor(F)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    smooth, plain = OBJECTIVES.build(f"{name}(smoothing=0.1)"), OBJECTIVES.build(name)
    wanted = bce(r, torch.full((3,), 0.9), reduction="none") + bce(f, torch.zeros(3), reduction="none")
    assert_close(smooth.discriminator(r, f), wanted)
    assert_close(smooth.generator(None, f), plain.generator(None, f))


def test_least_squares_targets():
    r, f = torch.tensor(R), torch.tensor(F)
    objective = OBJECTIVES.build("leastsquares(real=1, fake=-1, target=0, smoothing=0.1)")
    assert_close(objective.discriminator(r, f), 0.5 * (r - 0.8) ** 2 + 0.5 * (f + 1) ** 2)
    assert_close(objective.generator(None, f), 0.5 * f**2)
    paired = OBJECTIVES.build("leastsquares(pairing=paired, real=1, fake=-1, target=0, smoothing=0.1)")
    assert_close(paired.discriminator(r, f), 0.5 * (r - f - 1.8) ** 2)
    assert_close(paired.generator(r, f), 0.5 * (f - r - 1) ** 2)
    average = OBJECTIVES.build("leastsquares(pairing=average, real=1, fake=-1, target=0)")
    mr, mf = r.mean(), f.mean()
    assert_close(average.discriminator(r, f), 0.5 * (r - mf - 2) ** 2 + 0.5 * (f - mr + 2) ** 2)
    assert_close(average.generator(r, f), 0.5 * (f - mr - 1) ** 2 + 0.5 * (r - mf + 1) ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_average_is_over_the_batch_alone(name):
    """A patch map averages over axis 0, position by position."""
    objective = OBJECTIVES.build(f"{name}(pairing=average)")
    torch.manual_seed(0)
    r, f = torch.randn(4, 1, 2, 3), torch.randn(4, 1, 2, 3)
    whole = objective.discriminator(r, f)
    for i in range(2):
        for j in range(3):
            assert_close(whole[:, 0, i, j], objective.discriminator(r[:, 0, i, j], f[:, 0, i, j]))


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_far_out(name):
    r = torch.tensor([1e4, -1e4], requires_grad=True)
    f = torch.tensor([-1e4, 1e4], requires_grad=True)
    for pairing in PAIRINGS:
        objective = OBJECTIVES.build(f"{name}(pairing={pairing})")
        for loss in (objective.discriminator(r, f), objective.generator(r, f)):
            assert loss.isfinite().all()
            assert all(
                g is None or g.isfinite().all() for g in torch.autograd.grad(loss.sum(), (r, f), allow_unused=True)
            )


def test_declarations():
    for name in NAMES:
        none, paired, average = (OBJECTIVES.build(f"{name}(pairing={p})") for p in PAIRINGS)
        assert (none.wants_real, paired.wants_real, average.wants_real) == (False, True, True)
        assert (none.pairs_rows, paired.pairs_rows, average.pairs_rows) == (False, True, False)
        assert_close(none.generator(None, torch.zeros(2)).shape, torch.Size([2]))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nonsaturating(smoothing=0.6)", "smoothing=0.6 is out of range"),
        ("hinge(smoothing=0.1)", "no option 'smoothing'"),
        ("leastsquares(real=0, fake=1)", "must lie above"),
        ("hinge(pairing=pared)", "paired"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        OBJECTIVES.build(spec)


def test_scores_of_two_shapes_are_refused():
    objective = OBJECTIVES.build("hinge(pairing=paired)")
    with pytest.raises(UsageError, match="differ in shape"):
        objective.discriminator(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(UsageError, match="no reals were judged"):
        objective.generator(None, torch.zeros(3))
