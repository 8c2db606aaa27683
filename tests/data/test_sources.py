"""What every source promises, on those that need no files."""

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.memory import MemorySource, MemorySplit, padded, scaled

EMBEDDED = [
    "digits",
    "digits(size=16)",
    "points",
    'points(name="moons", classes=true)',
    "points(mixture-1d)",
    "edges",
    "inverted",
]


@pytest.mark.parametrize("text", EMBEDDED)
def test_take_keeps_the_contract(text):
    source = SOURCES.build(text)
    for name in ("train", "test"):
        split = source.split(name)
        indices = torch.tensor([len(split) - 1, 0, 3, 0])
        batch = split.take(indices)
        for key, field in source.spec.fields.items():
            rows = batch[key] if field.order == "x" else split.take_own(key, indices)
            assert rows.shape == (4, *field.shape)
            assert rows.dtype == torch.float32
            if field.range is not None:
                assert rows.min() >= field.range[0]
                assert rows.max() <= field.range[1]
        assert ("y" in batch) == (source.spec.classes > 0)
        if "y" in batch:
            assert batch["y"].dtype == torch.int64
            assert set(split.fields["y"].tolist()) == set(range(source.spec.classes))
        assert_close(batch["x"][1], batch["x"][3], rtol=0, atol=0)
        with pytest.raises(IndexError):
            split.take(torch.tensor([len(split)]))
    with pytest.raises(UsageError, match=r"Did you mean: train"):
        source.split("trian")


@pytest.mark.parametrize("text", ["digits", "points", "edges", "inverted"])
def test_limit_is_a_prefix_and_leaves_the_test_rows_alone(text):
    whole, part = SOURCES.build(text), SOURCES.build(f"{text}(limit=64)")
    assert len(part.split("train")) == 64
    assert_close(part.split("train").fields["x"], whole.split("train").fields["x"][:64], rtol=0, atol=0)
    assert_close(part.split("test").fields["x"], whole.split("test").fields["x"], rtol=0, atol=0)
    with pytest.raises(UsageError, match="limit=0"):
        SOURCES.build(f"{text}(limit=0)")


def test_fingerprint_follows_the_content():
    prints = [
        SOURCES.build(t).fingerprint()
        for t in ("digits", "digits", "digits(limit=1499)", "digits(labels=[1, 2])", "edges")
    ]
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
    x = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    changed = x.clone()
    changed[3, 0, 1, 1] = 1
    assert MemorySource({"x": x}, {"x": x}).fingerprint() != MemorySource({"x": x}, {"x": changed}).fingerprint()


def test_digits_are_stratified_and_exact():
    source = SOURCES.build("digits")
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (1500, 297)
    for rows in (test.fields["y"], train.fields["y"][:200]):
        share = rows.bincount(minlength=10) / len(rows)
        assert_close(share, torch.full((10,), 0.1), rtol=0, atol=0.02)
    assert set(train.fields["x"].unique().tolist()) == {round(k * 255 / 16) for k in range(17)}
    both = torch.cat([train.fields["x"], test.fields["x"]]).flatten(1)
    assert len(both) == 1797
    from sklearn.datasets import load_digits

    original = torch.from_numpy(load_digits().data)
    assert_close((both.double() / 255 * 16).round().sum(0), original.sum(0))


def test_labels_keep_and_renumber_in_the_order_asked_for():
    all_ten, two = SOURCES.build("digits"), SOURCES.build("digits(labels=[8, 3])")
    assert two.spec.names == ("8", "3")
    y = all_ten.split("train").fields["y"]
    wanted = y[(y == 8) | (y == 3)]
    assert_close(two.split("train").fields["y"], (wanted == 3).long(), rtol=0, atol=0)
    for wrong, match in (("[11]", "unknown label '11'"), ("[3, 3]", "twice"), ("[]", "keeps no class")):
        with pytest.raises(UsageError, match=match):
            SOURCES.build(f"digits(labels={wrong})")
    with pytest.raises(UsageError, match="no labels"):
        SOURCES.build("points(name=line, labels=[0])")


def test_pixels_are_scaled_exactly_at_both_ends():
    assert_close(
        scaled(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([-1.0, -0.6, 1.0]), rtol=0, atol=1e-7
    )
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_padding_adds_background_around_untouched_pixels():
    images = torch.randint(1, 255, (2, 1, 3, 4), dtype=torch.uint8)
    wide = padded(images, 9)
    assert wide.shape == (2, 1, 9, 9)
    assert_close(wide[:, :, 3:6, 2:6], images)
    assert wide.sum() == images.sum()
    with pytest.raises(UsageError, match="size=3"):
        padded(images, 3)


def test_flip_doubles_the_set_with_mirror_images():
    x = torch.arange(12, dtype=torch.uint8).view(2, 1, 2, 3)
    split = MemorySplit({"x": x, "y": torch.tensor([5, 6])}, flip=True)
    assert len(split) == 4
    batch = split.take(torch.tensor([3, 0, 2]))
    assert_close(batch["x"], scaled(torch.stack([x[1].flip(-1), x[0], x[0].flip(-1)])))
    assert batch["y"].tolist() == [6, 5, 5]
    for outside in (-1, 4):
        with pytest.raises(IndexError):
            split.take(torch.tensor([outside]))


def test_an_empty_split_is_refused():
    x = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="no test samples"):
        MemorySource({"x": x}, {"x": x[:0]})
