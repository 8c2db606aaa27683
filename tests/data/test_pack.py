"""Packing: the pixels that training would see, in steps that survive a kill, and never over something else."""

import os
import shutil
import signal
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.core.registry import SOURCES
from gannet.data import pack as packing
from gannet.data.index import read_index
from gannet.data.pack import pack

SMALL = {"shard_mb": 8 * (3 * 8 * 8 + 8) / 2**20}
"""Eight rows of the pictures a shard."""


@pytest.fixture
def pictures(tmp_path):
    """24 of two classes in colour, of several sizes."""
    noise = np.random.default_rng(0)
    for k in range(24):
        path = tmp_path / "pictures" / ("cat" if k % 3 else "dog") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(256, size=(10 + k % 4, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_rows(folder, source):
    shards = SOURCES.build(f'shards("{folder}", verify=true)')
    assert shards.spec == source.spec
    for name in ("train", "test"):
        rows = torch.arange(len(source.split(name)))
        assert len(shards.split(name)) == len(rows)
        theirs = source.split(name).take(rows)
        ours = shards.split(name).take(rows)
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_close(ours[key], theirs[key], rtol=0, atol=0)


@pytest.mark.parametrize("crop", ["center", "pad", "stretch"])
@pytest.mark.parametrize("zipped", [False, True])
def test_pixels_are_those_of_the_folder_source(pictures, tmp_path, crop, zipped):
    path = pictures
    if zipped:
        path = tmp_path / "pictures.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in pictures.rglob("*.png"):
                archive.write(file, file.relative_to(pictures))
    done = pack(str(path), tmp_path / "out", {"size": 8, "crop": crop, "channels": 3}, **SMALL)
    assert not done.already
    assert len(done.index.splits["train"]) == 3
    assert_same_rows(tmp_path / "out", SOURCES.build(f'folder("{path}", size=8, crop={crop})'))


def test_memory_holds_a_chunk_and_shards_are_no_larger_than_asked(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "CHUNK", 3 * 3 * 8 * 8)
    seen = []
    from gannet.data.rows import FileRows

    read = FileRows.read

    def counted(self, *place):
        rows = read(self, *place)
        seen.append(len(rows["x"]))
        return rows

    monkeypatch.setattr(FileRows, "read", counted)
    out = pack(str(pictures), tmp_path / "out", {"size": 8}, shard_mb=7 * (3 * 8 * 8 + 8) / 2**20).path
    assert max(seen) <= 3
    assert {shard.rows for shard in read_index(out).splits["train"][:-1]} == {7}


def test_a_source_that_gives_floats_is_stored_in_bytes_where_nothing_is_lost(tmp_path):
    pack("digits", tmp_path / "digits")
    pack(str(tmp_path / "digits"), tmp_path / "again")  # shards give floats
    assert read_index(tmp_path / "again").dtypes == {"x": "uint8", "y": "int64"}
    assert_same_rows(tmp_path / "again", SOURCES.build("digits"))
    np.savez(tmp_path / "smooth.npz", x=np.random.default_rng(0).random((9, 8, 8)))
    pack(str(tmp_path / "smooth.npz"), tmp_path / "smooth")
    assert read_index(tmp_path / "smooth").dtypes == {"x": "float32"}
    assert_same_rows(tmp_path / "smooth", SOURCES.build(f'array("{tmp_path}/smooth.npz")'))


# --------------------------------------------------------------------------------------------------- kills and repeats


def killed_at(number, *arguments):
    """Pack in a process that is killed at its `number`-th rename; whether it came that far."""
    child = os.fork()
    if child == 0:
        real, calls = os.replace, []

        def replace(*paths):
            calls.append(paths)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*paths)

        os.replace = replace
        try:
            pack(*arguments, **SMALL)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_killed_anywhere_and_finished_it_has_the_bytes_of_an_unbroken_one(pictures, tmp_path, monkeypatch):
    whole = contents(pack(str(pictures), tmp_path / "whole", {"size": 8}, **SMALL).path)
    read = []
    from gannet.data.survey import Survey

    decoded = Survey.decoded
    monkeypatch.setattr(Survey, "decoded", lambda self, names, *a: read.extend(names) or decoded(self, names, *a))
    number, saved = 1, 0
    while killed_at(number, str(pictures), tmp_path / "broken", {"size": 8}):
        assert not (tmp_path / "broken" / "index.json").exists()
        read.clear()
        pack(str(pictures), tmp_path / "broken", {"size": 8}, **SMALL)
        saved += len(read) < 24
        found = contents(tmp_path / "broken")
        assert {n: c for n, c in found.items() if not n.startswith(".")} == whole, number
        shutil.rmtree(tmp_path / "broken")
        number += 1
    # An empty list first; x, y and the list for each of the four shards; then the index.
    assert number == 1 + 1 + 4 * 3 + 1
    assert saved == 10, "finished shards are not decoded again"


def test_packed_already_says_so_and_reads_nothing(pictures, tmp_path, monkeypatch):
    first = pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    monkeypatch.setattr("gannet.data.survey.decode", lambda *a: pytest.fail("decoded again"))
    again = pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    assert again.already
    assert again.index == first.index
    assert "already packed" in again.told()
    assert "data=" in first.told()


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_or_other_files_are_refused(pictures, tmp_path, finished):
    arguments = str(pictures), tmp_path / "out", {"size": 8}
    pack(*arguments, **SMALL) if finished else killed_at(8, *arguments)
    held = contents(tmp_path / "out")
    for options in ({"size": 6}, {"size": 8, "crop": "pad"}):
        with pytest.raises(UsageError, match=r"packed with other options: source .*size=8.* Now asked for"):
            pack(str(pictures), tmp_path / "out", options, **SMALL)
    with pytest.raises(UsageError, match="shard_mb 1"):
        pack(*arguments, shard_mb=1)
    Image.new("RGB", (12, 12)).save(pictures / "cat" / "1.png")
    with pytest.raises(DataError, match="files of it have changed since"):
        pack(*arguments, **SMALL)
    assert contents(tmp_path / "out") == held


def test_a_place_that_is_in_use_is_refused(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty \(it holds precious\.txt\)"):
        pack(str(pictures), tmp_path / "out", {"size": 8})
    with pytest.raises(UsageError, match="is a file"):
        pack(str(pictures), tmp_path / "out" / "precious.txt", {"size": 8})
    with pytest.raises(UsageError, match="Not a directory"):
        pack(str(pictures), tmp_path / "out" / "precious.txt" / "x", {"size": 8})
    (tmp_path / "busy").mkdir()
    with packing._lock(tmp_path / "busy"), pytest.raises(UsageError, match="packed by another process"):
        pack(str(pictures), tmp_path / "busy", {"size": 8})


def test_a_damaged_list_of_what_is_finished_is_refused(pictures, tmp_path):
    killed_at(8, str(pictures), tmp_path / "out", {"size": 8})
    file = tmp_path / "out" / "train-00000-x.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"train-00000-x\.bin is cut short"):
        pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    (tmp_path / "out" / "packing.json").write_text('{"format": "gannet-shards", "made": 3}')
    with pytest.raises(DataError, match=r"packing\.json is damaged"):
        pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)


# ------------------------------------------------------------------------------------------------------------ refusals


def test_bad_files_stop_it_or_are_skipped_and_counted(pictures, tmp_path):
    (pictures / "cat" / "text.png").write_text("no image")
    cut = pictures / "dog" / "cut.png"
    Image.fromarray(np.random.default_rng(1).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"(?s)1 unreadable file, cat/text\.png .*on_bad=skip"):
        pack(str(pictures), tmp_path / "strict", {"size": 8})
    assert not (tmp_path / "strict").exists()
    done = pack(str(pictures), tmp_path / "out", {"size": 8, "on_bad": "skip"}, **SMALL)
    assert done.skipped == 2
    assert "2 unreadable files left out" in done.told()
    with pytest.warns(UserWarning, match="skipped 2"):
        assert_same_rows(tmp_path / "out", SOURCES.build(f'folder("{pictures}", size=8, on_bad=skip)'))
    assert pack(str(pictures), tmp_path / "out", {"size": 8, "on_bad": "skip"}, **SMALL).skipped == 2


def test_a_file_that_goes_bad_on_the_way_is_named(pictures, tmp_path, monkeypatch):
    from gannet.data import survey

    real = survey.decode
    left = [9]

    def decode(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error")
        return real(*arguments)

    monkeypatch.setattr(survey, "decode", decode)
    with pytest.raises(DataError, match=r"7 unreadable files, first .*\(Input/output error\)"):
        pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize(
    ("source", "options", "match"),
    [
        ("digits", {"crop": "pad"}, "digits has no option 'crop'"),
        ("digitz", {}, r"unknown data source 'digitz'.*Did you mean: digits"),
        ("inverted", {}, r"unpaired field \(given\)"),
        ("digits", {"limit": 0}, "limit=0"),
    ],
)
def test_what_cannot_be_packed_is_refused_before_anything_is_written(tmp_path, source, options, match):
    with pytest.raises(UsageError, match=match):
        pack(source, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_mirror_images_and_sizes_of_nothing_are_refused(pictures, tmp_path):
    with pytest.raises(UsageError, match="flip=true"):
        pack(f'folder("{pictures}", flip=true, size=8)', tmp_path / "out")
    for size in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="shard_mb"):
            pack("digits", tmp_path / "out", shard_mb=size)


def test_a_full_disk_is_said_before_and_while_writing(pictures, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(ResourceError, match="GiB are needed"):
            pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ResourceError, match=r"No space left .* it goes on"):
            pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL)
    assert not pack(str(pictures), tmp_path / "out", {"size": 8}, **SMALL).already
