"""Packed data: the same rows as the source, opened at once, and refused when a byte is not what it was."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import DataError, UsageError
from gannet.core.experiment import data_shorthand
from gannet.core.registry import SOURCES
from gannet.core.types import DataSpec, Field
from gannet.data.index import Index, Shard, _digest, read_index, shard_file
from gannet.data.pack import pack
from gannet.data.shards import Column, Shards


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The digits, packed into shards of 64 rows."""
    out = tmp_path_factory.mktemp("packed") / "digits"
    pack("digits", out, shard_mb=64 * 72 / 2**20)
    return out


@pytest.fixture
def packed(original, tmp_path):
    """A copy to be spoiled."""
    return shutil.copytree(original, tmp_path / "packed")


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert_close(a[name], b[name], rtol=0, atol=0)


def test_rows_are_those_of_the_source(original):
    source, shards = SOURCES.build("digits"), Shards(path=str(original))
    assert shards.spec == source.spec
    assert len(read_index(original).splits["train"]) == 24  # 1,500 rows in shards of 64
    generator = torch.Generator().manual_seed(0)
    for name in ("train", "test"):
        ours, theirs = shards.split(name), source.split(name)
        assert len(ours) == len(theirs)
        for indices in (
            torch.randint(len(theirs), (100,), generator=generator),
            torch.arange(len(theirs)),
            torch.tensor([0, 64, 63, len(theirs) - 1, 63]),
            torch.empty(0, dtype=torch.int64),
        ):
            same(ours.take(indices), theirs.take(indices))
        for outside in (-1, len(theirs)):
            with pytest.raises(IndexError, match=f"split of {len(theirs)} rows"):
                ours.take(torch.tensor([0, outside]))
    with pytest.raises(UsageError, match=r"Did you mean: train"):
        shards.split("trian")


@pytest.mark.parametrize("options", ["limit=70", "labels=[8, 3]", 'labels=["3"], limit=5'])
def test_options_mean_what_they_mean_elsewhere(original, options):
    source, shards = SOURCES.build(f"digits({options})"), SOURCES.build(f'shards("{original}", {options})')
    assert shards.spec == source.spec
    for name in ("train", "test"):
        rows = torch.arange(len(source.split(name)))
        assert len(shards.split(name)) == len(rows)
        same(shards.split(name).take(rows), source.split(name).take(rows))


def test_flip_doubles_the_training_rows_with_mirror_images(original):
    plain, flipped = Shards(path=str(original)), Shards(path=str(original), flip=True)
    assert (len(flipped.split("train")), len(flipped.split("test"))) == (3000, 297)
    batch, there = (
        flipped.split("train").take(torch.tensor([1500, 1499])),
        plain.split("train").take(torch.tensor([0, 1499])),
    )
    assert_close(batch["x"], torch.stack([there["x"][0].flip(-1), there["x"][1]]), rtol=0, atol=0)
    assert_close(batch["y"], there["y"])


def test_points_and_pairs_keep_their_fields(tmp_path):
    for name in ("points", "edges"):
        pack(name, tmp_path / name)
        source, shards = SOURCES.build(name), Shards(path=str(tmp_path / name))
        assert shards.spec == source.spec
        rows = torch.arange(50)
        same(shards.split("test").take(rows), source.split("test").take(rows))
    with pytest.raises(UsageError, match="points"):
        Shards(path=str(tmp_path / "points"), flip=True)


def test_fingerprint_follows_the_content_and_what_is_kept(original, tmp_path):
    prints = [Shards(path=str(original), **options).fingerprint() for options in ({}, {}, {"limit": 9}, {"flip": True})]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert int(prints[0], 16) >= 0
    pack("digits(limit=1499)", tmp_path / "other")
    assert Shards(path=str(tmp_path / "other")).fingerprint() not in prints
    # The same rows from elsewhere, in shards of the same size, are the same data.
    np.savez(tmp_path / "a.npz", x=np.arange(640, dtype=np.uint8).reshape(10, 8, 8))
    shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz")
    for name in "ab":
        pack(str(tmp_path / f"{name}.npz"), tmp_path / name)
    assert len({Shards(path=str(tmp_path / name)).fingerprint() for name in "ab"}) == 1


def test_a_packed_folder_is_recognised_where_folders_are(original, tmp_path):
    assert data_shorthand(str(original)).name == "shards"
    assert data_shorthand(str(tmp_path)).name == "folder"
    (tmp_path / "index.json").write_text('{"images": []}')
    assert data_shorthand(str(tmp_path)).name == "folder"
    assert data_shorthand("set/train-{0..9}.tar").name == "tars"


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), r"cut short: 4,095 bytes, 4,096 are expected"),
        (lambda f: f.write_bytes(f.read_bytes() + b"\0"), r"too long: 4,097 bytes, 4,096 are expected"),
        (lambda f: f.unlink(), r"cannot be read \(No such file or directory\)"),
        (lambda f: f.write_bytes(bytes(4096)), "not the file that was packed"),
    ],
)
def test_a_spoiled_shard_is_named(packed, change, match):
    change(packed / "train-00003-x.bin")
    with pytest.raises(DataError, match=rf"train-00003-x\.bin.* {match}.*pack the data again"):
        Shards(path=str(packed))


def test_shards_that_changed_places_are_noticed(packed):
    a, b, c = (packed / shard_file("train", k, "y") for k in (1, 2, 99))
    for old, new in ((a, c), (b, a), (c, b)):
        old.rename(new)
    with pytest.raises(DataError, match=r"train-00001-y\.bin is not the file"):
        Shards(path=str(packed))


def test_a_flipped_bit_far_from_the_beginning_is_found_by_verify(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).integers(256, size=(200, 8, 8), dtype=np.uint8))
    pack(str(tmp_path / "a.npz"), tmp_path / "out")
    file = tmp_path / "out" / "train-00000-x.bin"
    content = bytearray(file.read_bytes())
    content[9000] ^= 1
    file.write_bytes(content)
    Shards(path=str(tmp_path / "out"))  # lengths and beginnings agree
    with pytest.raises(DataError, match=r"train-00000-x\.bin is not the file"):
        Shards(path=str(tmp_path / "out"), verify=True)


FIELD = {"kind": "image", "range": [-1, 1], "order": "x"}


def rewritten(folder, **changes):
    """Edit the index and give it the hash that it should have."""
    content = json.loads((folder / "index.json").read_text())
    content.update(changes)
    content.pop("sha256")
    (folder / "index.json").write_text(json.dumps({**content, "sha256": _digest(content)}))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "not a readable index"),
        ("[" * 100_000, "not a readable index"),
        ("[]", "not a readable index"),
        ('{"format": "other"}', 'does not say "format"'),
        ('{"format": "gannet-shards", "version": 2}', "is of version 2, this Gannet reads version 1"),
        ('{"format": "gannet-shards", "version": 1}', "was changed after it was written"),
    ],
)
def test_an_index_that_is_none_is_refused(packed, content, match):
    (packed / "index.json").write_text(content)
    with pytest.raises(DataError, match=match):
        Shards(path=str(packed))


def test_an_edited_index_is_refused(packed):
    file = packed / "index.json"
    file.write_text(file.read_text().replace('"rows": 64', '"rows": 32', 1))
    with pytest.raises(DataError, match=r"index\.json was changed after it was written"):
        Shards(path=str(packed))


@pytest.mark.parametrize(
    "changes",
    [
        {"splits": {}},
        {"splits": {"train": [], "test": []}},
        {"splits": {"train": [{"rows": -1, "sha256": {}, "head": {}}], "test": []}},
        {"splits": {"train": [{"rows": 1, "path": "../../x"}], "test": []}},
        {"dtypes": {"x": "object", "y": "int64"}},
        {"dtypes": {"x": "uint8"}},
        {"spec": {"fields": {"x": FIELD | {"shape": [-1, 8, 8]}}, "classes": 0, "names": []}},
        {"spec": {"fields": {"x": FIELD | {"shape": "8"}}, "classes": 0, "names": []}},
        {"spec": None},
    ],
)
def test_a_malformed_index_is_refused_even_with_a_right_hash(packed, changes):
    rewritten(packed, **changes)
    with pytest.raises(DataError, match="malformed"):
        Shards(path=str(packed))


def test_a_place_without_an_index_says_what_it_is(tmp_path, packed):
    with pytest.raises(DataError, match=r"is no packed data.* gannet data pack SOURCE"):
        Shards(path=str(tmp_path))
    (packed / "index.json").rename(packed / "packing.json")
    with pytest.raises(DataError, match="packed only in part"):
        Shards(path=str(packed))


def test_a_label_that_is_no_class_is_found_when_opening(packed):
    spec = json.loads((packed / "index.json").read_text())["spec"]
    rewritten(packed, spec={**spec, "classes": 9, "names": [str(k) for k in range(9)]})
    with pytest.raises(DataError, match=r"train-00000-y\.bin: labels 0 … 9; 0 … 8 are expected"):
        Shards(path=str(packed))


# ------------------------------------------------------------------------------------------------------------- size


def test_rows_are_gathered_across_files_and_empty_ones():
    parts = [np.arange(0, 3), np.arange(0), np.arange(3, 4), np.arange(4, 10)]
    rows = np.array([9, 3, 0, 3, 2, 4])
    np.testing.assert_array_equal(Column(parts)[rows], rows)


LARGE = """
import sys, torch, numpy as np
from gannet.core.registry import SOURCES
def anonymous():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) / 1024
SOURCES.names()
before = anonymous()
split = SOURCES.build(f'shards("{sys.argv[1]}")').split("train")
batch = split.take(torch.randint(len(split), (64,)))
print(len(split), round(anonymous() - before), float(batch["x"].max()), int(batch["y"].max()))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="NO /proc: anonymous memory cannot be read here")
def test_opening_takes_no_memory_for_the_rows(tmp_path):
    """200,000 rows of 3×32×32, 614 MB in holes that take no disk, in a process of their own."""
    rows, empty = 100_000, dict.fromkeys(("x", "y"), hashlib.sha256(bytes(4096)).hexdigest())
    spec = DataSpec({"x": Field((3, 32, 32))}, 2, ("a", "b"))
    shard = Shard(rows, empty, empty)
    index = Index(spec, {"x": "uint8", "y": "int64"}, {"train": [shard, shard], "test": [shard]}, {})
    for split, shards in index.splits.items():
        for number in range(len(shards)):
            for name in empty:
                with open(tmp_path / shard_file(split, number, name), "wb") as file:
                    file.truncate(index.bytes(name, rows))
    (tmp_path / "index.json").write_text(index.to_text())
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True)
    length, grown, brightest, label = done.stdout.split()
    assert (int(length), float(brightest), int(label)) == (2 * rows, -1.0, 0)
    assert int(grown) < 50, "MiB; the rows alone are 586"
