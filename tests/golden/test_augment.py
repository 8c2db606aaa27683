"""Augmentations: ranges, own numbers for every sample, sync, two derivatives, any shape."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.random import Draw, Stacked
from gannet.core.registry import AUGMENTATIONS
from gannet.core.types import Clock

pytestmark = pytest.mark.usefixtures("fp64")


def draw(rows: int, seed: int = 0) -> Draw:
    return Draw(seed, "augment", 0, range(rows), dtype=torch.float64)


def test_noise_by_hand():
    x = torch.randn(6, 2, 3)
    noise = AUGMENTATIONS.build("noise(std=0.5)")
    assert noise.amount(Clock()) == 0.5
    assert_close(noise(x, draw(6), 0.5), x + 0.5 * draw(6).normal(2, 3))
    assert_close(noise(x, draw(6), 0.0), x)
    with pytest.raises(UsageError, match="std=-1"):
        AUGMENTATIONS.build("noise(std=-1)")


def shifts(height: int, width: int, rows: int = 400) -> set[tuple[int, int]]:
    """Where a single bright pixel in the middle of a dark image goes."""
    x = torch.zeros(rows, 1, height, width)
    x[:, 0, height // 2, width // 2] = 1
    moved = AUGMENTATIONS.build("diffaugment(policy=translation)")(x, draw(rows))
    assert_close(moved.sum((1, 2, 3)), torch.ones(rows))  # moved, neither blurred nor lost
    _, _, i, j = moved.nonzero(as_tuple=True)
    return {(a - height // 2, b - width // 2) for a, b in zip(i.tolist(), j.tolist(), strict=True)}


def test_translation_reaches_an_eighth_of_each_side():
    assert shifts(16, 24) == {(i, j) for i in range(-2, 3) for j in range(-3, 4)}
    assert shifts(8, 8) == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


@pytest.mark.parametrize(("fill", "pad"), [("zero", "constant"), ("edge", "replicate")])
def test_translation_moves_whole_images_and_fills_what_is_left(fill, pad):
    torch.manual_seed(0)
    x = torch.randn(40, 2, 8, 8)
    moved = AUGMENTATIONS.build(f"diffaugment(policy=translation, fill={fill})")(x, draw(40))
    for before, after in zip(x, moved, strict=True):
        padded = torch.nn.functional.pad(before, (1, 1, 1, 1), mode=pad)
        windows = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert sum(bool((w == after).all()) for w in windows) == 1


def test_cutout_removes_one_rectangle_of_half_the_sides():
    x = torch.ones(300, 2, 8, 12)
    cut = AUGMENTATIONS.build("diffaugment(policy=cutout)")(x, draw(300))
    assert_close(cut[:, 0], cut[:, 1])
    gone = cut[:, 0] == 0
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert_close(gone.sum((1, 2)), rows * columns)  # a rectangle
    assert (rows.max(), columns.max()) == (4, 6)
    assert (rows.min(), columns.min()) == (2, 3)  # half of it, when its centre is at an edge
    assert ((cut == 0) | (cut == 1)).all()
    assert gone.any(0).all()  # every pixel is cut now and then


def test_color_by_hand():
    """Brightness, saturation about the mean over channels, contrast about the mean of the image, in this order."""
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 6)
    b, s, c = draw(5).uniform(8)[:, :3, None, None, None].unbind(1)
    wanted = x + b - 0.5
    wanted = (wanted - wanted.mean(1, keepdim=True)) * (2 * s) + wanted.mean(1, keepdim=True)
    mean = wanted.mean((1, 2, 3), keepdim=True)
    assert_close(AUGMENTATIONS.build("diffaugment(policy=color)")(x, draw(5)), (wanted - mean) * (0.5 + c) + mean)


def test_color_ranges():
    """A flat image shows brightness alone, U(−½, ½)."""
    flat = AUGMENTATIONS.build("diffaugment(policy=color)")(torch.zeros(1000, 1, 2, 2), draw(1000))[:, 0, 0, 0]
    assert -0.5 <= flat.min() < -0.48
    assert 0.48 < flat.max() <= 0.5
    assert abs(flat.mean()) < 0.03
    assert len(flat.unique()) == 1000


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (4, 7, 12), (2, 5, 3)])
@pytest.mark.parametrize("spec", ["diffaugment", "noise"])
def test_any_shape_and_two_derivatives(spec, shape):
    augment = AUGMENTATIONS.build(spec)
    x = torch.randn(3, *shape, requires_grad=True)
    assert augment(x, draw(3)).shape == x.shape
    assert torch.autograd.gradcheck(lambda t: augment(t, draw(3)), (x,))
    # The penalty of ½Σ(Tx)², whose gradient TᵀTx changes with x.
    (first,) = torch.autograd.grad(0.5 * augment(x, draw(3)).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second.abs().sum() > 0


@pytest.mark.parametrize("spec", ["diffaugment", "noise"])
def test_own_numbers_for_every_sample_and_sync(spec):
    torch.manual_seed(0)
    one = torch.randn(1, 2, 16, 16)
    x = one.expand(8, 2, 16, 16)
    own = AUGMENTATIONS.build(spec)(x, draw(4))  # two groups of four rows
    assert len({tuple(row.flatten().tolist()) for row in own}) == 8
    synced = AUGMENTATIONS.build(f"{spec}(sync=true)")(x, draw(4))
    assert_close(synced[:4], synced[4:], rtol=0, atol=0)
    assert len({tuple(row.flatten().tolist()) for row in synced}) == 4
    assert_close(AUGMENTATIONS.build(spec)(x, draw(8)), AUGMENTATIONS.build(spec)(x, draw(8)), rtol=0, atol=0)
    assert (AUGMENTATIONS.build(spec)(x, draw(8)) != AUGMENTATIONS.build(spec)(x, draw(8, seed=1))).any()


@pytest.mark.parametrize("spec", ["diffaugment", "noise", "adaptive(amount=0.7)", "adaptive(policy=[noise, cutout])"])
def test_sides_in_one_call_get_what_each_gets_alone(spec):
    torch.manual_seed(0)
    real, fake = torch.randn(2, 4, 3, 8, 8).unbind()
    augment = AUGMENTATIONS.build(spec)
    own = [draw(4, seed) for seed in (1, 2)]
    together = augment(torch.cat([real, fake]), Stacked(own), 0.7)
    alone = [augment(x, draw(4, seed), 0.7) for x, seed in ((real, 1), (fake, 2))]
    # Sines and powers of a longer vector may round otherwise.
    assert_close(together, torch.cat(alone), rtol=0, atol=1e-13)
    assert (together != torch.cat([real, fake])).any()


def test_refusals():
    with pytest.raises(UsageError, match="diffaugment changes images"):
        AUGMENTATIONS.build("diffaugment")(torch.zeros(3, 2), draw(3))
    with pytest.raises(UsageError, match="color"):
        AUGMENTATIONS.build("diffaugment(policy=[colour])")
    assert AUGMENTATIONS.build("diffaugment(policy=[color, cutout])").policy == ("color", "cutout")
