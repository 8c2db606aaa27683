"""Arrays: what is accepted and what is refused with the first bad index."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.core.types import DataSpec
from gannet.data.array import ArraySource

RNG = np.random.default_rng(0)
BYTES = RNG.integers(256, size=(40, 6, 5, 3), dtype=np.uint8)


def everything(source):
    """All rows of x as a sorted set, whatever split they fell into."""
    return torch.cat([source.split(s).take(torch.arange(len(source.split(s))))["x"] for s in ("train", "test")])


def rows(x):
    return sorted(map(tuple, x.flatten(1).double().tolist()))


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (BYTES, {}),
        (BYTES.transpose(0, 3, 1, 2), {}),
        (BYTES / np.float32(255), {}),
        (BYTES / 127.5 - 1, {}),
        (BYTES.astype(np.int64), {"range": "0..255"}),
        (BYTES.astype(np.float64), {"range": "0..255"}),
        (torch.from_numpy(BYTES), {"layout": "hwc"}),
    ],
)
def test_every_form_gives_the_same_images(x, options):
    source = ArraySource.from_arrays(x, **options)
    assert source.spec.shape == (3, 6, 5)
    assert (len(source.split("train")), len(source.split("test"))) == (36, 4)
    expected = torch.from_numpy(BYTES).permute(0, 3, 1, 2).float() / 127.5 - 1
    np.testing.assert_allclose(rows(everything(source)), rows(expected), atol=1e-5)


def test_bytes_stay_bytes_in_memory():
    assert ArraySource.from_arrays(BYTES).split("train").fields["x"].dtype == torch.uint8


def test_files_are_the_same_as_arrays(tmp_path):
    y = np.arange(40) % 3 + 5
    np.savez(tmp_path / "set.npz", x=BYTES, y=y, given=BYTES[..., :1])
    np.save(tmp_path / "set.npy", BYTES)
    source = SOURCES.build(f'array("{tmp_path}/set.npz", labels=[7, 5])')
    assert source.spec.names == ("7", "5")
    assert source.spec.given.shape == (1, 6, 5)
    batch = source.split("train").take(torch.arange(len(source.split("train"))))
    assert_close(batch["given"], batch["x"][:, :1], rtol=0, atol=0)
    plain = SOURCES.build(f'array("{tmp_path}/set.npy")')
    assert plain.fingerprint() == ArraySource.from_arrays(BYTES).fingerprint()


def test_points_and_grey_images():
    x = RNG.normal(size=(50, 2)) * 100
    points = ArraySource.from_arrays(x, scale="none")
    assert (points.spec.kind, points.spec.x.range) == ("points", None)
    np.testing.assert_allclose(rows(everything(points)), sorted(map(tuple, x)), rtol=1e-6)
    assert ArraySource.from_arrays(BYTES[..., 0]).spec.shape == (1, 6, 5)


# Age, income, a share, something that never changes, a date in seconds.
TABLE = np.stack(
    [
        RNG.normal(40, 12, 200),
        np.exp(RNG.normal(10.5, 0.5, 200)),
        RNG.random(200) / 100,
        np.full(200, 7.0),
        1.7e9 + RNG.integers(0, 900, 200),
    ],
    axis=1,
)


def test_columns_of_different_units_are_standardised_and_come_back():
    with pytest.warns(UserWarning, match="the array: x: columns have means up to 1.7e.09 .* each is standardised"):
        source = ArraySource.from_arrays(TABLE)
    train, field = everything(source), source.spec.x
    part = source.split("train").fields["x"].double()
    assert_close(part.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0)
    assert_close(part.std(0, correction=0), torch.tensor([1.0, 1, 1, 0, 1], dtype=torch.float64), atol=1e-6, rtol=0)
    back = field.restored(train.double())
    away = np.abs(np.array(rows(back)) - np.array(sorted(map(tuple, TABLE))))
    assert (away.max(0) <= 1e-6 * np.maximum(TABLE.std(0), 1)).all()
    assert np.abs(np.sort(back[:, 4]) - np.sort(TABLE[:, 4])).max() < 0.01, "dates to the second"
    assert_close(field.standardised(back), train.double())
    assert DataSpec.from_json(json.loads(json.dumps(source.spec.to_json()))) == source.spec


def test_columns_that_do_not_vary_are_no_reason_to_standardise():
    x = np.stack([RNG.normal(size=100), np.full(100, 0.1)], axis=1)  # whose mean is not 0.1 to the last bit
    assert not ArraySource.from_arrays(x).spec.x.units
    mean, deviation = ArraySource.from_arrays(x, scale="columns").spec.x.units[1]
    assert (round(mean, 9), deviation) == (0.1, 1)
    assert not ArraySource.from_arrays(np.array([[900.0, 5.0], [700.0, 5.0]])).spec.x.units, "one row to train on"


def test_points_of_a_usual_size_keep_their_values_unless_asked():
    x = RNG.normal(size=(50, 2)) * [3, 0.1] + [5, 0]
    kept = ArraySource.from_arrays(x)
    assert kept.spec.x.units == ()
    assert "units" not in kept.spec.to_json()["fields"]["x"]
    assert kept.spec.x.restored(torch.ones(2)).tolist() == [1, 1]
    np.testing.assert_allclose(rows(everything(kept)), sorted(map(tuple, x)), rtol=1e-6)
    with warnings.catch_warnings(action="error"):
        assert ArraySource.from_arrays(x, scale="columns").spec.x.units
        assert not ArraySource.from_arrays(TABLE, scale="none").spec.x.units


def with_value(value, index=7):
    x = BYTES / 255
    x[index, 2, 2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "options", "match"),
    [
        (with_value(np.nan), {}, "1 of 40 samples are not finite, first at index 7"),
        (with_value(-np.inf), {}, "first at index 7"),
        (np.full((9, 4, 4), 3, np.uint8), {}, "every value is 3"),
        (with_value(1.2), {}, "could be meant in several ways"),
        (with_value(1.2), {"range": "0..1"}, "in 1 samples, first at index 7"),
        (with_value(-0.5), {"range": "0..1"}, "first at index 7"),
        (BYTES.astype(np.int16), {}, "could be meant in several ways"),
        (BYTES.astype(np.float32), {}, "could be meant in several ways"),
        (BYTES.astype(np.complex64), {}, "complex64"),
        (BYTES.astype(str), {}, "type <U"),
        (BYTES[0, 0, 0], {}, r"shape \(3,\)"),
        (BYTES[None], {"test": 0.5}, "1 samples|shape"),
        (np.zeros((5, 0, 4, 4)), {}, "shape"),
        (np.array([[1.0, 2.0], [3.0, -1e200]]), {}, r"values reach -1e\+200 … 3, beyond 1e\+30"),
        (np.float32(3), {}, "0 samples"),
        (BYTES[:1], {}, "1 samples; at least 2"),
        (RNG.integers(256, size=(9, 3, 8, 3), dtype=np.uint8), {}, "both the second and the last"),
        (RNG.integers(256, size=(9, 8, 8, 7), dtype=np.uint8), {}, "neither the second nor the last"),
    ],
)
def test_unusable_arrays_are_refused_with_the_place(x, options, match):
    with pytest.raises(DataError, match=match):
        ArraySource.from_arrays(x, **options)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.zeros(39, int), "y has 39 rows, x has 40: index 39 is alone"),
        (np.zeros(40), "type float64"),
        (np.eye(40, dtype=int), "one-hot"),
        (np.r_[np.zeros(12, int), -1, np.zeros(27, int)], "label -1 at index 12"),
    ],
)
def test_unusable_labels_are_refused_with_the_place(y, match):
    with pytest.raises(DataError, match=match):
        ArraySource.from_arrays(BYTES, y)


def test_unreadable_files_are_refused_and_objects_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    np.save(tmp_path / "object.npy", np.array([Bomb()] * 3, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "keys.npz", images=BYTES)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "cut.npy", BYTES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:500])
    np.savez_compressed(tmp_path / "cut.npz", x=BYTES)
    damaged = bytearray((tmp_path / "cut.npz").read_bytes())
    damaged[400] ^= 255
    (tmp_path / "cut.npz").write_bytes(damaged)
    for name in ("object.npy", "text.npy", "empty.npy", "cut.npy", "cut.npz"):
        with pytest.raises(DataError, match="cannot be read"):
            ArraySource(path=str(tmp_path / name))
    assert not (tmp_path / "canary").exists()
    with pytest.raises(DataError, match="holds images; it must hold x"):
        ArraySource(path=str(tmp_path / "keys.npz"))
    with pytest.raises(DataError, match=r"Did you mean: .*keys\.npz"):
        ArraySource(path=str(tmp_path / "key.npz"))
    with pytest.raises(UsageError, match=r"test=1\.5"):
        ArraySource.from_arrays(BYTES, test=1.5)
