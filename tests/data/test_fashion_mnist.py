"""Fashion-MNIST is MNIST in another folder, with hashes and names of its own."""

import gzip
import struct

import numpy as np
import pytest
import torch

from gannet.core.errors import DataError
from gannet.core.registry import SOURCES
from gannet.data import fashion_mnist, mnist


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes(), 1
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder whose image k is filled with the value k, of class k mod 10."""
    (tmp_path / "fashion-mnist").mkdir()
    for (images, labels), n in zip(mnist.FILES.values(), (30, 20), strict=True):
        x = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 28, 28))
        (tmp_path / "fashion-mnist" / images).write_bytes(idx(np.ascontiguousarray(x)))
        (tmp_path / "fashion-mnist" / labels).write_bytes(idx(np.arange(n, dtype=np.uint8) % 10))
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    return tmp_path / "fashion-mnist"


def test_rows_names_and_options(home):
    source = SOURCES.build("fashion-mnist")
    assert source.spec.shape == (1, 28, 28)
    assert (source.spec.names[0], source.spec.names[9]) == ("T-shirt/top", "Ankle boot")
    assert (len(source.split("train")), len(source.split("test"))) == (30, 20)
    batch = source.split("train").take(torch.tensor([29, 3]))
    assert batch["y"].tolist() == [9, 3]
    torch.testing.assert_close(batch["x"].mean((1, 2, 3)), torch.tensor([29.0, 3.0]) / 127.5 - 1)
    boots = SOURCES.build('fashion-mnist(size=32, labels=["Ankle boot"], limit=2)').split("train")
    assert boots.fields["x"].shape == (2, 1, 32, 32)
    assert boots.fields["x"].amax((1, 2, 3)).tolist() == [9, 19]
    assert len({SOURCES.build(f"fashion-mnist{o}").fingerprint() for o in ("", "(limit=29)", "(size=29)")}) == 3


def test_errors_speak_of_fashion_and_its_own_files(home, monkeypatch):
    (home / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.full(20, 12, np.uint8)))
    with pytest.raises(DataError, match=r"label 12 at index 0; fashion-mnist has 0 … 9"):
        SOURCES.build("fashion-mnist")
    monkeypatch.setattr("pooch.os_cache", lambda name: home / "cache")
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    (home / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=fashion_mnist.SHA256["train-images-idx3-ubyte.gz"]):
        SOURCES.build("fashion-mnist")


def test_hashes_are_not_those_of_mnist():
    assert fashion_mnist.SHA256.keys() == mnist.SHA256.keys()
    assert not set(fashion_mnist.SHA256.values()) & set(mnist.SHA256.values())


def test_real_files_where_present(shared_data):
    shared_data("fashion-mnist")
    source = SOURCES.build("fashion-mnist")
    train = source.split("train")
    assert (len(train), len(source.split("test"))) == (60_000, 10_000)
    assert train.fields["y"].bincount().tolist() == [6000] * 10
    assert abs(float(train.fields["x"].float().mean()) / 255 - 0.2860) < 1e-4
