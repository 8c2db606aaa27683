"""Shapes agree with their factors, and rows with their index."""

import math

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.data.counter import FIRST, uniforms
from gannet.data.shapes import NAMES, draw

ROWS = torch.arange(400)


@pytest.mark.parametrize("text", ["shapes", "shapes(size=17, channels=1)"])
def test_take_keeps_the_contract(text):
    source = SOURCES.build(text)
    for name, length in (("train", 50_000), ("test", 10_000)):
        split = source.split(name)
        assert len(split) == length
        batch = split.take(torch.tensor([length - 1, 0, 3, 0]))
        assert batch["x"].shape == (4, *source.spec.shape)
        assert batch["x"].dtype == torch.float32
        assert (batch["y"].dtype, source.spec.names) == (torch.int64, NAMES)
        assert torch.equal(batch["x"][1], batch["x"][3])
        assert split.take(ROWS[:0])["x"].shape == (0, *source.spec.shape)
        for outside in (-1, length):
            with pytest.raises(IndexError):
                split.take(torch.tensor([outside]))
    pixels = (source.split("train").take(ROWS)["x"] + 1) * 127.5
    assert_close(pixels, pixels.round(), atol=1e-4, rtol=0)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_pictures_follow_the_factors():
    """Area, centre, hue and class are read back from the pixels."""
    split = SOURCES.build("shapes(size=64)").split("train")
    factors, batch = split.factors(ROWS), split.take(ROWS)
    assert torch.equal(factors["shape"], batch["y"])
    ink = ((batch["x"] + 1) / 2).double()
    colour = ink.amax((2, 3))
    assert_close(colour.amax(1), torch.ones(400, dtype=torch.float64))
    cover = ink.sum(1) / colour.sum(1)[:, None, None]
    assert_close(cover.mean((1, 2)), math.pi * factors["radius"] ** 2, rtol=0.03, atol=0)
    axis = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    for name, along in (("x", 1), ("y", 2)):
        centre = (cover.sum(along) * axis).sum(1) / cover.sum((1, 2))
        assert_close(centre, factors[name], rtol=0, atol=0.004)
    # Hue 0 is red, 1/3 green, 2/3 blue.
    nearest = (torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]) - factors["colour"][:, None]).abs().argmin(1) % 3
    assert (colour[ROWS, nearest] > 0.995).all()
    assert (colour.amin(1) == 0).all()
    assert ink[:, :, 0].sum() == ink[:, :, -1].sum() == ink[..., 0].sum() == ink[..., -1].sum() == 0  # none is cut


def test_a_picture_of_each_shape_by_hand():
    factors = {
        name: torch.full((4,), value) for name, value in (("radius", 0.2), ("x", 0.5), ("y", 0.5), ("rotation", 0.0))
    }
    factors |= {"shape": torch.arange(4), "colour": torch.ones(4)}
    circle, square, triangle, cross = draw(factors, 64, 1)[:, 0].float() / 255
    for picture in (circle, square, triangle, cross):
        assert_close(picture, picture.flip(1))  # mirror images of themselves
        assert abs(picture.mean() - math.pi * 0.04) < 0.002
    for picture in (circle, square, cross):
        assert_close(picture, picture.T)
    middle = 32
    across = [p[middle].sum() / 64 for p in (circle, square, cross)]
    assert_close(
        torch.stack(across), torch.tensor([0.4, 0.2 * math.pi**0.5, 6 * 0.2 * (math.pi / 20) ** 0.5]), atol=0.01, rtol=0
    )
    assert triangle[: middle - 8].sum() < triangle[middle + 4 :].sum()  # point up
    assert cross[middle - 12, middle - 12] == 0 < square[middle - 10, middle - 10]
    turned = draw(factors | {"rotation": torch.full((4,), math.pi / 6)}, 64, 1)[:, 0].float() / 255
    assert_close(turned[0], circle, atol=0.01, rtol=0)
    # Clockwise by 30° the lower left corner points to the left, and the side across from it stands on the right.
    columns = (turned[2] > 0.5).sum(0)
    assert columns.nonzero().max() == columns.argmax()


def test_rotation_stays_within_a_period_of_its_shape():
    factors = SOURCES.build("shapes").split("train").factors(torch.arange(4000))
    for number, period in enumerate((0.0, math.pi / 2, 2 * math.pi / 3, math.pi / 2)):
        turns = factors["rotation"][factors["shape"] == number]
        assert 0.98 * period <= turns.max() <= period
        assert turns.min() >= 0
    counts = factors["shape"].bincount()
    assert (counts - 1000).abs().max() < 4 * math.sqrt(1000)
    others = torch.stack([factors[k] for k in ("colour", "radius", "x", "y")] + [factors["shape"].double()])
    assert (torch.corrcoef(others) - torch.eye(5)).abs().max() < 0.06


def test_rows_depend_on_seed_and_index_alone():
    small, large = SOURCES.build("shapes(count=10)"), SOURCES.build("shapes(count=3_000_000_000)")
    rows = torch.arange(10)
    assert torch.equal(small.split("train").take(rows)["x"], large.split("train").take(rows)["x"])
    assert torch.equal(small.split("test").take(rows)["x"], large.split("test").take(rows)["x"])
    last = large.split("train").take(torch.tensor([2_999_999_999, 5]))
    assert torch.equal(last["x"][1], small.split("train").take(rows)["x"][5])
    other = SOURCES.build("shapes(count=10, seed=1)")
    assert not torch.equal(other.split("train").take(rows)["x"], small.split("train").take(rows)["x"])
    texts = ("", "(count=10)", "(seed=1)", "(size=16)", "(channels=1)")
    assert len({SOURCES.build(f"shapes{options}").fingerprint() for options in texts}) == 5
    assert SOURCES.build("shapes").fingerprint() == SOURCES.build("shapes").fingerprint()


def test_numbers_are_uniform_and_no_row_of_one_split_is_in_the_other():
    train, test = (uniforms(7, torch.arange(20_000).numpy() + FIRST[name], 3) for name in ("train", "test"))
    assert abs(train.mean() - 0.5) < 0.005
    assert abs(train.var() - 1 / 12) < 0.002
    assert abs((train[:-1, 0] * train[1:, 0]).mean() - 0.25) < 0.01
    assert len({*train.ravel(), *test.ravel()}) == 120_000


@pytest.mark.parametrize(
    ("options", "match"),
    [("count=0", "count=0 is outside"), ("size=7", "8 … 1024"), ("channels=2", "channels"), ("n=3", "no option 'n'")],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        SOURCES.build(f"shapes({options})")
    with pytest.raises(UsageError, match="Did you mean: train"):
        SOURCES.build("shapes").split("trian")
