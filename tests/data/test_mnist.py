"""IDX files, the data folder and downloads that fail."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gannet.core.errors import DataError
from gannet.data import download, mnist
from gannet.data.download import data_home, fetch, only_local
from gannet.data.mnist import SHA256, Mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    rng = np.random.default_rng(0)
    for (images, labels), n in zip(mnist.FILES.values(), (30, 20), strict=True):
        x = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        for name, array in ((images, x), (labels, np.arange(n, dtype=np.uint8) % 10)):
            (tmp_path / "mnist" / name).write_bytes(gzip.compress(idx(array)))
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    return tmp_path


def test_small_files_are_read_in_order(home):
    source = Mnist()
    assert (len(source.split("train")), len(source.split("test"))) == (30, 20)
    assert source.spec.shape == (1, 28, 28)
    raw = np.frombuffer(gzip.decompress((home / "mnist" / "train-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    taken = source.split("train").take(torch.arange(30))
    np.testing.assert_allclose((taken["x"].numpy().ravel() + 1) * 127.5, raw, atol=1e-3)
    assert taken["y"].tolist() == [k % 10 for k in range(30)]
    assert Mnist(size=32, labels=(7,), limit=2).split("train").fields["x"].shape == (2, 1, 32, 32)


# Named by what is wrong: a name made of the bytes would hold the second in which they were compressed, and two workers
# that compress them in different seconds would not agree on which tests there are.
DAMAGED = {
    "empty": (b"", "starts with nothing"),
    "no gzip": (b"no gzip at all", "damaged"),
    "labels for images": (gzip.compress(b"\0\0\x08\x01" + bytes(20)), "starts with 00 00 08 01"),
    "one short": (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 2) + bytes(7)), "only 7"),
    "one over": (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 2) + bytes(9)), "holds more"),
    "huge": (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 2)), "promises lengths"),
    "half a head": (gzip.compress(bytes([0, 0, 8, 3]) + bytes(5)), "damaged|promises lengths"),
    "cut": (gzip.compress(idx(np.ones((9, 8, 8), np.uint8)))[:-12], "damaged"),
}


@pytest.mark.parametrize(("content", "match"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_named(tmp_path, content, match):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_files_that_are_no_pair_are_refused(home):
    path = home / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(19, np.uint8))))
    with pytest.raises(DataError, match=r"20 images, .* 19 labels"):
        Mnist()
    path.write_bytes(gzip.compress(idx(np.full(20, 10, np.uint8))))
    with pytest.raises(DataError, match="label 10 at index 0"):
        Mnist()


def test_data_home_is_the_variable_or_the_folder_beside(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("GANNET_DATA", raising=False)
    assert data_home() is None
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert data_home() == Path("../shared/data")
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.setenv("GANNET_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="GANNET_DATA"):
        data_home()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("GANNET_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "gannet"


def serve(monkeypatch, answer):
    """Stand in for the network: `answer(url)` gives the bytes of the response."""
    monkeypatch.setattr(
        "pooch.HTTPDownloader.__call__", lambda self, url, output, pooch, **_: Path(output).write_bytes(answer(url))
    )


def test_a_download_is_checked_cached_and_not_repeated(cache, monkeypatch):
    asked = []
    serve(monkeypatch, lambda url: asked.append(url) or b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    for _ in range(2):
        assert fetch("set/file.gz", "https://example.invalid/file.gz", digest).read_bytes() == b"content"
    assert asked == ["https://example.invalid/file.gz"]
    assert [p.name for p in (cache / "set").iterdir()] == ["file.gz"]


def test_nothing_is_downloaded_where_only_local_files_are_wanted(cache, monkeypatch):
    asked = []
    serve(monkeypatch, lambda url: asked.append(url) or b"content")
    wanted = "set/file.gz", "https://example.invalid/file.gz", hashlib.sha256(b"content").hexdigest()
    with only_local(), pytest.raises(DataError, match="gannet data inspect"):
        fetch(*wanted)
    assert asked == []
    fetch(*wanted)
    with only_local():
        assert fetch(*wanted).read_bytes() == b"content", "what was downloaded before is here"


def test_a_failed_download_says_where_to_put_the_file(cache, monkeypatch):
    def offline(url):
        raise ConnectionError("no route to host")

    serve(monkeypatch, offline)
    with pytest.raises(DataError) as caught:
        Mnist()
    message = str(caught.value)
    for part in ("train-images-idx3-ubyte.gz", mnist.MIRROR, str(cache / "mnist"), "GANNET_DATA", "no route to host"):
        assert part in message
    assert caught.value.exit_code == 3


def test_a_tampered_download_is_refused_and_leaves_nothing(cache, monkeypatch):
    serve(monkeypatch, lambda url: b"tampered")
    with pytest.raises(DataError, match="SHA-256"):
        fetch("set/file.gz", "https://example.invalid/file.gz", "0" * 64)
    assert list((cache / "set").iterdir()) == []


def test_real_files_where_present(monkeypatch):
    home = download.data_home()
    if home is None or not (home / "mnist").is_dir():
        pytest.skip("NO DATA: set GANNET_DATA to a folder with mnist/ to test the real files")
    for name, digest in SHA256.items():
        assert hashlib.sha256((home / "mnist" / name).read_bytes()).hexdigest() == digest
    source = Mnist()
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.fields["y"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert abs(float(train.fields["x"].float().mean()) / 255 - 0.1307) < 1e-4
