"""Reference statistics: what is saved is what is loaded, and nothing else is compared with."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.testing import assert_allclose, assert_array_equal

from gannet.core.errors import CheckpointError, DataError, ResourceError, UsageError
from gannet.core.tensorfile import write_tensors
from gannet.metrics.reference import Reference, load_reference, save_reference

PROTOCOL = "inception2015-tf1@6726825d,32x32,n=50|cifar10@0123abcd:train,seed=0"


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 4)) * [1, 2, 3, 4] + 7


@pytest.fixture
def path(rows, tmp_path) -> Path:
    return save_reference(tmp_path / "r.safetensors", Reference.of(rows), PROTOCOL)


def test_statistics_are_those_of_the_rows(rows):
    reference = Reference.of(rows.astype(np.float32))
    centred = rows.astype(np.float32).astype(np.float64) - rows.astype(np.float32).mean(0, dtype=np.float64)
    assert_allclose(reference.mean, rows.mean(0), rtol=1e-6)
    assert_allclose(reference.cov, centred.T @ centred / 49, rtol=1e-12)
    assert reference.cov.dtype == np.float64
    assert reference.n == 50
    assert Reference.of(rows[:, :1]).cov.shape == (1, 1)


@pytest.mark.parametrize("bad", [np.zeros((1, 4)), np.zeros(4), np.full((3, 2), np.nan)], ids=["one", "flat", "nan"])
def test_rows_that_carry_no_statistics_are_refused(bad):
    with pytest.raises(DataError, match="two rows"):
        Reference.of(bad)


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_saved_is_loaded_to_the_bit(rows, tmp_path, keep):
    saved = Reference.of(rows, keep)
    loaded = load_reference(save_reference(tmp_path / "a" / "r.safetensors", saved, PROTOCOL), PROTOCOL)
    assert_array_equal(loaded.mean, saved.mean)
    assert_array_equal(loaded.cov, saved.cov)
    assert loaded.n == 50
    if keep:
        assert_array_equal(loaded.features, rows)
    else:
        assert loaded.features is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tf1", "clean"),
        ("6726825d", "00000000"),
        ("n=50", "n=51"),
        ("0123abcd", "0123abce"),
        ("train", "test"),
        ("=0", "=1"),
    ],
)
def test_another_protocol_is_refused_and_both_are_named(path, old, new):
    wanted = PROTOCOL.replace(old, new)
    assert wanted != PROTOCOL
    with pytest.raises(UsageError) as caught:
        load_reference(path, wanted)
    assert PROTOCOL in str(caught.value)
    assert wanted in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("place", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, place):
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])
    with pytest.raises(CheckpointError, match=r"cannot be read.*Save the reference again"):
        load_reference(path, PROTOCOL)


def test_one_flipped_bit_is_found(path):
    content = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    for byte in (start, (start + len(content)) // 2, len(content) - 1):
        bad = bytearray(content)
        bad[byte] ^= 1
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match="damaged"):
            load_reference(path, PROTOCOL)
    path.write_bytes(content)
    assert load_reference(path, PROTOCOL).n == 50


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_reference(tmp_path / "nowhere.safetensors", PROTOCOL)
    other = tmp_path / "o.safetensors"
    safetensors.torch.save_file({"mean": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match="something else"):
        load_reference(other, PROTOCOL)
    other.write_text(json.dumps({"mean": 1}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_reference(other, PROTOCOL)


@pytest.mark.parametrize(
    ("change", "n"),
    [
        ({"mean": torch.zeros(3, dtype=torch.float64)}, "50"),
        ({"cov": torch.zeros(4, 3, dtype=torch.float64)}, "50"),
        ({"cov": torch.full((4, 4), torch.inf, dtype=torch.float64)}, "50"),
        ({"mean": torch.zeros(4)}, "50"),
        ({"features": torch.zeros(49, 4, dtype=torch.float64)}, "50"),
        ({"more": torch.zeros(1, dtype=torch.float64)}, "50"),
        ({}, "1"),
        ({}, "-50"),
        ({}, "many"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rows, tmp_path, change, n):
    whole = Reference.of(rows, keep=False)
    tensors = {"mean": torch.from_numpy(whole.mean), "cov": torch.from_numpy(whole.cov)}
    path = write_tensors(tmp_path / "r.safetensors", {**tensors, **change}, {"protocol": PROTOCOL, "n": n})
    with pytest.raises(CheckpointError, match="do not fit"):
        load_reference(path, PROTOCOL)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(path, rows, monkeypatch):
    before = path.read_bytes()

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match="No space left"):
        save_reference(path, Reference.of(rows + 1), PROTOCOL)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["r.safetensors"]


def test_suffix_is_checked(rows, tmp_path):
    with pytest.raises(UsageError, match=r"write to .*r\.safetensors"):
        save_reference(tmp_path / "r.npz", Reference.of(rows), PROTOCOL)
