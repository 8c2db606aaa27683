"""Adaptive discriminator augmentation: every transformation on pictures worked out by hand, shares, two derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import forward_ad
from torch.testing import assert_close

from gannet.augment.adaptive import (
    flipped,
    mirrored,
    recolored,
    resampled,
    rotation,
    shifted,
    stretched,
    turned,
)
from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import AUGMENTATIONS
from gannet.core.types import Clock

pytestmark = pytest.mark.usefixtures("fp64")

GROUPS = ("blit", "geometric", "color", "noise", "cutout")


def draw(rows: int, seed: int = 0) -> Draw:
    return Draw(seed, "augment", 0, range(rows), dtype=torch.float64)


def changed(policy: str, x: torch.Tensor, amount: float, rows: int | None = None) -> torch.Tensor:
    return AUGMENTATIONS.build(f"adaptive(policy={policy})")(x, draw(rows or len(x)), amount)


def pictures(rows: int, *shape: int) -> torch.Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def picture(text: str) -> torch.Tensor:
    """One grey picture from rows of digits."""
    return torch.tensor([[[[float(c) for c in row] for row in text.split()]]])


EYE = torch.eye(2, dtype=torch.float64)[None]
NOWHERE = torch.zeros(1, 2, dtype=torch.float64)

# -------------------------------------------------------------------------------------------------------- blit


def test_blits_by_hand():
    x = picture("123 456 789")
    yes = torch.tensor([True])
    assert_close(flipped(x, yes), picture("321 654 987"), rtol=0, atol=0)
    assert_close(flipped(x, ~yes), x, rtol=0, atol=0)
    assert_close(turned(x, torch.tensor([1])), picture("369 258 147"), rtol=0, atol=0)
    assert_close(turned(x, torch.tensor([2])), picture("987 654 321"), rtol=0, atol=0)
    assert_close(turned(x, torch.tensor([3])), picture("741 852 963"), rtol=0, atol=0)
    assert_close(shifted(x, torch.tensor([1]), 2), picture("456 123 456"), rtol=0, atol=0)  # mirrored on the edge row
    assert_close(shifted(x, torch.tensor([-1]), 3), picture("232 565 898"), rtol=0, atol=0)
    wide = picture("1234 5678")
    assert_close(turned(wide, torch.tensor([2])), picture("8765 4321"), rtol=0, atol=0)


def test_mirrors_stand_on_the_outermost_pixels():
    assert mirrored(torch.arange(-5, 9), 4).tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert mirrored(torch.tensor([-2, 0, 3]), 1).tolist() == [0, 0, 0]
    assert_close(mirrored(torch.tensor([-0.25, 3.25, 6.5]), 4), torch.tensor([0.25, 2.75, 0.5]))


def test_blits_reach_every_place_and_make_nothing_new():
    x = picture("12345678 " * 7 + "23456781").expand(800, 1, 8, 8)
    out = changed("blit", x, 1.0)
    assert set(out.unique().tolist()) <= set(x.unique().tolist())
    found = {tuple(row.flatten().tolist()) for row in out}
    wanted = set()
    for flip in (False, True):
        for quarters in range(4):
            turn = turned(flipped(x[:1], torch.tensor([flip])), torch.tensor([quarters]))
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    moved = shifted(shifted(turn, torch.tensor([i]), 2), torch.tensor([j]), 3)
                    wanted.add(tuple(moved.flatten().tolist()))
    assert found == wanted


def test_what_is_not_square_turns_by_half_circles_only():
    x = picture("1111 2222").expand(300, 1, 2, 4)
    out = changed("blit", x, 1.0)
    assert out.shape == x.shape
    assert (out.std(3) == 0).all(), "rows stay rows"
    assert set(out[:, 0, 0, 0].tolist()) == {1.0, 2.0}


# --------------------------------------------------------------------------------------------------- geometric


def test_resampling_agrees_with_exact_turns_and_shifts():
    for shape in ((1, 3, 5, 5), (1, 3, 6, 6)):
        x = pictures(*shape)
        for k in (1, 2, 3):
            angle = torch.tensor([-k * math.pi / 2])  # where a place came from
            assert_close(resampled(x, rotation(angle), NOWHERE), turned(x, torch.tensor([k])))
    x = pictures(1, 2, 5, 7)
    down, right = torch.tensor([2]), torch.tensor([-3])
    assert_close(resampled(x, EYE, torch.tensor([[2.0, -3.0]])), shifted(shifted(x, down, 2), right, 3))
    assert_close(resampled(x, EYE, NOWHERE), x, rtol=0, atol=0)
    single = pictures(1, 2, 1, 4)
    assert_close(resampled(single, EYE, torch.tensor([[0.4, 0.0]])), single)


def test_resampling_between_pixels_is_bilinear():
    ramp = torch.arange(5.0)[:, None] * 10 + torch.arange(7.0)
    half = resampled(ramp.expand(1, 1, 5, 7), EYE, torch.tensor([[-0.5, 0.25]]))
    assert_close(half[0, 0, :4, 1:], (ramp + 5 - 0.25)[:4, 1:])


def test_scale_and_stretch_are_about_the_middle():
    x = torch.zeros(1, 1, 9, 9)
    x[..., 4, 4] = 1
    x[..., 4, 6] = 2
    larger = resampled(x, EYE / 2, NOWHERE)  # twice as large: what is seen came from half the way
    assert_close(larger[0, 0, 4, [4, 8]], torch.tensor([1.0, 2.0]))
    wide = resampled(x, stretched(torch.tensor([-1.0])), NOWHERE)  # right-hand distances are halved on the way back
    assert_close(wide[0, 0, 4, [4, 8]], torch.tensor([1.0, 2.0]))
    assert_close(torch.linalg.det(stretched(torch.tensor([0.7]))), torch.ones(1))


def test_the_geometric_group_draws_what_it_says():
    """In a picture of its own coordinates every pixel says where it came from, so the matrix can be read off."""
    size, rows = 33, 1000
    place = torch.arange(size) - (size - 1) / 2
    field = torch.stack(torch.meshgrid(place, place, indexing="ij"))[None].expand(rows, 2, size, size)
    seen = changed("geometric", field, 1.0)
    middle = seen[:, :, 16, 16]
    matrix = torch.stack([seen[:, :, 17, 16] - middle, seen[:, :, 16, 17] - middle], dim=2)  # undoes what was drawn
    area = torch.linalg.det(matrix)
    inside = (area > 0) & (middle.abs().amax(1) < 14)  # not seen in a mirror
    assert inside.double().mean() > 0.95
    area, matrix, middle = area[inside], matrix[inside], middle[inside]
    assert_close(torch.linalg.solve(matrix, middle).std(0), torch.full((2,), size / 8), rtol=0.1, atol=0)
    exponent = torch.log2(area) / -2  # the stretch keeps areas
    assert abs(exponent.mean()) < 0.03
    assert abs(exponent.std() - 1 / 5) < 0.02
    values = torch.linalg.svdvals(matrix)
    pull = torch.log2(values[:, 0] / values[:, 1]) / 2
    assert abs(pull.square().mean().sqrt() - 1 / 5) < 0.02
    angle = torch.atan2(matrix[:, 0, 1] - matrix[:, 1, 0], matrix[:, 0, 0] + matrix[:, 1, 1])
    assert (torch.histc(angle, 4, -math.pi, math.pi) / len(angle) - 0.25).abs().max() < 0.07


# ------------------------------------------------------------------------------------------------------- color


def test_colors_by_hand():
    x = pictures(1, 3, 2, 2)
    none, one = torch.zeros(1), torch.ones(1)
    assert_close(recolored(x, none, none, one), x)
    assert_close(recolored(x, none, none, none), x.mean(1, keepdim=True).expand_as(x))  # without saturation: grey
    # A third of the hue circle passes red on to green, green to blue, blue to red.
    assert_close(recolored(x, none, torch.tensor([2 * math.pi / 3]), one), x.roll(1, 1))
    negated = recolored(x, one, none, one)
    assert_close(negated.mean(1), -x.mean(1))
    assert_close(negated - negated.mean(1, keepdim=True), x - x.mean(1, keepdim=True))
    grey = pictures(1, 1, 2, 2)
    assert_close(recolored(grey, one, torch.tensor([0.7]), 3 * one), -grey)
    four = pictures(1, 4, 2, 2)  # around the grey axis of four channels there is no one way to turn
    assert_close(recolored(four, none, torch.tensor([0.7]), one), four, rtol=0, atol=0)


def test_brightness_and_contrast_are_what_they_say():
    x = torch.stack([torch.full((1, 4), -1.0), torch.full((1, 4), 1.0)], dim=1).expand(2000, 1, 2, 4)
    out = changed("color", x, 1.0)[:, 0, :, 0]
    # ±c·(b ∓ 1): the difference tells the contrast, the sum the brightness; a negated image has both reversed.
    contrast = torch.log2((out[:, 1] - out[:, 0]).abs() / 2)
    brightness = (out[:, 1] + out[:, 0]) / (out[:, 1] - out[:, 0])
    assert abs(contrast.mean()) < 0.04
    assert abs(contrast.std() - 1 / 2) < 0.03
    assert abs(brightness.mean()) < 0.02
    assert abs(brightness.std() - 1 / 5) < 0.01
    assert abs((out[:, 1] < out[:, 0]).double().mean() - 0.5) < 0.04


def test_saturation_of_any_number_of_channels_keeps_grey():
    for channels in (2, 3, 5):
        x = pictures(1, 1, 4, 4).expand(50, channels, 4, 4)
        out = changed("color", x, 1.0)
        assert_close(out, out[:, :1].expand_as(out))


# ------------------------------------------------------------------------------------------------- corruptions


def test_noise_is_half_normal_in_its_strength():
    noise = changed("noise", torch.zeros(2000, 1, 8, 8), 1.0)
    strength = noise.flatten(1).std(1)
    assert abs(strength.square().mean().sqrt() - 0.1) < 0.005
    assert abs(strength.mean() - 0.1 * math.sqrt(2 / math.pi)) < 0.005


def test_cutout_removes_half_of_each_side():
    out = changed("cutout", torch.ones(500, 2, 8, 12), 1.0)
    gone = out[:, 0] == 0
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert_close(gone.sum((1, 2)), rows * columns)  # a rectangle
    assert (rows.max(), columns.max()) == (4, 6)
    assert gone.any(0).all()


# ------------------------------------------------------------------------------------------------------ shares


def test_the_default_is_the_papers_bgc_on_a_fifth():
    augment = AUGMENTATIONS.build("adaptive")
    assert augment.policy == ("blit", "geometric", "color")
    assert augment.amount(Clock()) == 0.2


@pytest.mark.parametrize("policy", GROUPS)
def test_at_amount_0_nothing_changes(policy):
    x = pictures(8, 3, 8, 8)
    assert changed(policy, x, 0.0) is x


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        # a flip and a shift may come out as none: 1/2, 1/9; a turn 1/4
        ("blit", lambda p: 1 - (1 - p / 2) * (1 - 3 * p / 4) * (1 - 8 * p / 9)),
        ("geometric", lambda p: 1 - (1 - p) ** 4),  # scale, rotation, stretch, shift
        ("color", lambda p: 1 - (1 - p) ** 4 * (1 - p / 2)),  # the mean is negated every other time
        ("noise", lambda p: p),
        ("cutout", lambda p: p),
    ],
)
@pytest.mark.parametrize("amount", [0.1, 0.5, 1.0])
def test_the_share_of_changed_rows(policy, wanted, amount):
    rows = 3000
    x = pictures(1, 3, 8, 8).expand(rows, 3, 8, 8)
    share = (changed(policy, x, amount) != x).flatten(1).any(1).double().mean().item()
    assert abs(share - wanted(amount)) < 0.03


def test_more_than_all_is_all():
    x = pictures(8, 3, 8, 8)
    assert_close(changed("[blit, geometric, color]", x, 1.7), changed("[blit, geometric, color]", x, 1.0))


# ----------------------------------------------------------------------------------------------- as the others


ALL = f"adaptive(policy=[{', '.join(GROUPS)}])"


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (4, 7, 12), (2, 5, 3), (1, 1, 6)])
def test_any_shape_and_two_derivatives(shape):
    augment = AUGMENTATIONS.build(ALL)
    x = pictures(3, *shape).requires_grad_()
    assert augment(x, draw(3)).shape == x.shape
    # The penalty of ½Σ(Tx)², whose gradient TᵀTx changes with x.
    (first,) = torch.autograd.grad(0.5 * augment(x, draw(3)).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second.abs().sum() > 0


def test_derivatives_by_small_differences():
    augment = AUGMENTATIONS.build(ALL)
    for shape in ((3, 3, 3), (2, 2, 3)):
        x = pictures(2, *shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda t: augment(t, draw(2)), (x,))


def test_forward_mode_passes_through():
    augment = AUGMENTATIONS.build(ALL)
    x, tangent = pictures(6, 3, 8, 8).chunk(2)
    with forward_ad.dual_level():
        moved = forward_ad.unpack_dual(augment(forward_ad.make_dual(x, tangent), draw(3)))
    # Every transformation is affine in the image, so its derivative is its own difference.
    assert_close(moved.primal + moved.tangent, augment(x + tangent, draw(3)))


def test_own_numbers_for_every_sample_and_sync():
    x = pictures(1, 2, 16, 16).expand(8, 2, 16, 16)
    own = AUGMENTATIONS.build(ALL)(x, draw(4))  # two groups of four rows
    assert len({tuple(row.flatten().tolist()) for row in own}) == 8
    synced = AUGMENTATIONS.build(f"{ALL[:-1]}, sync=true)")(x, draw(4))
    assert_close(synced[:4], synced[4:], rtol=0, atol=0)
    assert len({tuple(row.flatten().tolist()) for row in synced}) == 4
    again = AUGMENTATIONS.build(ALL)(x, draw(4))
    assert_close(own, again, rtol=0, atol=0)
    assert (AUGMENTATIONS.build(ALL)(x, draw(4, seed=1)) != own).any()


def test_a_row_is_changed_alike_whatever_stands_beside_it():
    x = pictures(6, 1, 8, 8)
    whole = AUGMENTATIONS.build(ALL)(x, draw(6))
    assert_close(AUGMENTATIONS.build(ALL)(x[:2], draw(2)), whole[:2])


def test_refusals():
    with pytest.raises(UsageError, match="adaptive changes images"):
        AUGMENTATIONS.build("adaptive")(torch.zeros(3, 2), draw(3))
    with pytest.raises(UsageError, match="geometric"):
        AUGMENTATIONS.build("adaptive(policy=[geometry])")
    with pytest.raises(UsageError, match="amount=-1"):
        AUGMENTATIONS.build("adaptive(amount=-1)")
