"""Stacked MNIST is made of MNIST's rows and labelled by them."""

import gzip
import struct

import numpy as np
import pytest
import torch

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.data import mnist


@pytest.fixture
def home(tmp_path, monkeypatch):
    """MNIST whose image k is filled with k (training) or 100 + k (test), of class k mod 10."""
    (tmp_path / "mnist").mkdir()
    for (images, labels), n, base in zip(mnist.FILES.values(), (30, 20), (0, 100), strict=True):
        k = np.arange(n, dtype=np.uint8)
        for name, array in ((images, np.tile((base + k)[:, None, None], (1, 28, 28))), (labels, k % 10)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / "mnist" / name).write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), 1))
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))


@pytest.mark.usefixtures("home")
def test_channels_are_digits_of_their_own_split_and_make_the_label():
    source = SOURCES.build("stacked-mnist")
    assert (source.spec.shape, source.spec.classes, source.spec.names[42]) == ((3, 28, 28), 1000, "042")
    for name, length, base, digits in (("train", 128_000, 0, 30), ("test", 26_000, 100, 20)):
        split = source.split(name)
        assert len(split) == length
        batch = split.take(torch.arange(2000))
        assert batch["x"].dtype == torch.float32
        filled = ((batch["x"] + 1) * 127.5).round().long()
        assert torch.equal(filled.amin((2, 3)), filled.amax((2, 3)))
        rows = filled[:, :, 0, 0] - base  # [2000, 3] which digit stands in which channel
        assert set(rows.unique().tolist()) == set(range(digits))
        assert torch.equal(batch["y"], (rows % 10) @ torch.tensor([100, 10, 1]))
        shares = torch.stack([channel.bincount(minlength=digits) for channel in rows.T]) / 2000 * digits
        assert (shares - 1).abs().max() < 0.5
        assert len(rows.unique(dim=0)) > 1700  # channels are drawn independently
        with pytest.raises(IndexError):
            split.take(torch.tensor([length]))


@pytest.mark.usefixtures("home")
def test_rows_depend_on_seed_and_index_alone():
    source = SOURCES.build("stacked-mnist")
    rows = torch.tensor([9, 0, 9])
    whole = source.split("train").take(rows)
    assert torch.equal(whole["x"][0], whole["x"][2])
    few = SOURCES.build("stacked-mnist(count=10, size=32)")
    assert few.spec.shape == (3, 32, 32)
    assert torch.equal(few.split("train").take(rows)["x"][..., 2:-2, 2:-2], whole["x"])
    other = SOURCES.build("stacked-mnist(seed=1)").split("train").take(torch.arange(10))
    assert not torch.equal(other["y"], source.split("train").take(torch.arange(10))["y"])
    texts = ("", "(count=10)", "(seed=1)", "(size=32)")
    assert len({SOURCES.build(f"stacked-mnist{options}").fingerprint() for options in texts}) == 4
    with pytest.raises(UsageError, match="count=0"):
        SOURCES.build("stacked-mnist(count=0)")


def test_real_digits_where_present(shared_data):
    shared_data("mnist")
    source = SOURCES.build("stacked-mnist(size=32)")
    y = source.split("test").take(torch.arange(26_000))["y"]
    assert len(y.unique()) == 1000
