"""Folders and archives: layouts, labels, splits, and everything that can be wrong with files."""

import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.core.registry import SOURCES
from gannet.data import images, listing
from gannet.data.download import data_home
from gannet.data.folder import Folder


def put(path, value=0, size=(8, 8), colour=False, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size, value)
    image.putpixel((0, 0), 255 - value)
    (image.convert("RGB") if colour else image).save(path, **options)


def values(source, name):
    """The grey value of every image of a split."""
    return source.split(name).fields["x"][:, 0, -1, -1].tolist()


@pytest.fixture
def flat(tmp_path):
    for k in range(20):
        put(tmp_path / "set" / f"{k:02}.png", k)
    return tmp_path / "set"


def classes(root, n=10):
    for c, name in enumerate(("cat", "dog", "Eel")):
        for k in range(n):
            put(root / name / f"{k}.png", 50 * c + k)
    return root


def test_a_flat_folder_is_split_by_name(flat):
    source = Folder(path=str(flat))
    assert (len(source.split("train")), len(source.split("test"))) == (18, 2)
    assert sorted(values(source, "train") + values(source, "test")) == list(range(20))
    assert source.spec.classes == 0
    assert source.spec.shape == (1, 8, 8)
    # The same names elsewhere are split in the same way.
    flat.rename(flat.parent / "moved")
    moved = Folder(path=str(flat.parent / "moved"))
    assert moved.fingerprint() == source.fingerprint()
    put(flat.parent / "moved" / "00.png", 99)
    assert Folder(path=str(flat.parent / "moved")).fingerprint() != source.fingerprint()


def test_limit_decodes_no_more_and_is_a_prefix(flat, monkeypatch):
    whole = Folder(path=str(flat))
    decoded = []
    monkeypatch.setattr("gannet.data.survey.decode", lambda *a: decoded.append(a) or images.decode(*a))
    part = Folder(path=str(flat), limit=5)
    assert values(part, "train") == values(whole, "train")[:5]
    assert values(part, "test") == values(whole, "test")
    assert len(decoded) == 5 + 2
    assert len(Folder(path=str(flat), limit=1).split("test")) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders(tmp_path, packed):
    root = classes(tmp_path / "wrapper" / "pets")
    path = tmp_path / "wrapper"
    if packed:
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in root.rglob("*.png"):
                archive.write(file, f"wrapper/{file.relative_to(root.parent)}")
    source = Folder(path=str(path))
    assert source.spec.names == ("Eel", "cat", "dog")
    for name in ("train", "test"):
        expected = [{0: 1, 1: 2, 2: 0}[value // 50] for value in values(source, name)]
        assert source.split(name).fields["y"].tolist() == expected
    some = SOURCES.build(f'folder("{path}", labels=[dog], limit=4)')
    assert some.spec.names == ("dog",)
    assert all(50 <= value < 60 for value in values(some, "train"))
    assert len(some.split("train")) == 4
    with pytest.raises(UsageError, match=r"Did you mean: dog"):
        Folder(path=str(path), labels=("dogs",))


def test_train_and_test_folders_are_the_splits(tmp_path):
    classes(tmp_path / "train", 3)
    classes(tmp_path / "val", 2)
    source = Folder(path=str(tmp_path))
    assert (len(source.split("train")), len(source.split("test"))) == (9, 6)
    assert source.spec.names == ("Eel", "cat", "dog")
    put(tmp_path / "val" / "fox" / "0.png")
    with pytest.raises(DataError, match=r"val/ has classes that train/ does not have: fox"):
        Folder(path=str(tmp_path))
    put(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"1 images lie beside train/ and val/, first stray\.png"):
        Folder(path=str(tmp_path))


def test_one_folder_is_no_class_and_an_empty_one_is_told(tmp_path):
    for k in range(4):
        put(tmp_path / "faces" / f"{k}.png", k)
    assert Folder(path=str(tmp_path)).spec.classes == 0
    with pytest.raises(UsageError, match="no labels"):
        Folder(path=str(tmp_path), labels=("faces",))
    put(tmp_path / "cars" / "0.png")
    (tmp_path / "boats").mkdir()
    with pytest.warns(UserWarning, match="without images make no class: boats"):
        assert Folder(path=str(tmp_path)).spec.names == ("cars", "faces")
    put(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"1 images lie beside the class folders .* loose\.png"):
        Folder(path=str(tmp_path))


def test_dataset_json_gives_the_labels(tmp_path):
    for k in range(6):
        put(tmp_path / f"0000{k // 3}" / f"img{k}.png", k)
    rows = [[f"0000{k // 3}/img{k}.png", 3 if k % 2 else 8] for k in range(6)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": rows}))
    source = Folder(path=str(tmp_path))
    assert source.spec.names == ("3", "8")
    assert source.split("train").fields["y"].tolist() == [1 - value % 2 for value in values(source, "train")]
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert Folder(path=str(tmp_path)).spec.classes == 0


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"labels": [["0.png", 0]]}', r"1 images have no label, first 1\.png"),
        ('{"labels": [["0.png", 0], ["1.png", 0.5]]}', "entry 1"),
        ('{"labels": [["0.png", 0], ["1.png", -1]]}', "entry 1"),
        ('{"labels": [["0.png", true], ["1.png", 0]]}', "entry 0"),
        ('{"labels": [["0.png", 0], ["0.png", 1]]}', "entry 1"),
        ('{"labels": {"0.png": 0}}', "no list of labels"),
        ("[]", "no list of labels"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
    ],
)
def test_malformed_labels_are_named(tmp_path, content, match):
    for k in range(2):
        put(tmp_path / f"{k}.png", k)
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=match):
        Folder(path=str(tmp_path))


def test_channels(flat):
    put(flat / "colour.png", 7, colour=True)
    for channels, count in (("auto", 3), (1, 1), (3, 3), (4, 4)):
        source = Folder(path=str(flat), channels=channels)
        assert source.spec.shape == (count, 8, 8)
    assert (source.split("train").fields["x"][:, 3] == 255).all()


def test_flip_mirrors_the_training_images_only(flat):
    plain, source = Folder(path=str(flat)), Folder(path=str(flat), flip=True)
    assert (len(source.split("train")), len(source.split("test"))) == (36, 2)
    batch = source.split("train").take(torch.tensor([3, 21]))["x"]
    assert_close(batch[0], batch[1].flip(-1), rtol=0, atol=0)
    assert plain.fingerprint() != source.fingerprint()


def test_sizes_that_differ_are_told(flat):
    put(flat / "wide.png", 7, size=(12, 8))
    with pytest.raises(DataError, match=r"20 of 8×8, 1 of 8×12.* size=8"):
        Folder(path=str(flat))
    for crop in ("center", "pad", "stretch"):
        assert Folder(path=str(flat), size=6, crop=crop).spec.shape == (1, 6, 6)
    with pytest.raises(UsageError, match="size=0"):
        Folder(path=str(flat), size=0)


def spoil(root):
    """Every kind of file that must be refused, under names that look like images."""
    (root / "zero.png").write_bytes(b"")
    (root / "text.jpg").write_text("hello")
    put(root / "cut.jpg", size=(64, 64))
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:400])
    Image.fromarray(np.ones((8, 8), np.float32)).save(root / "float.tiff")
    header = bytearray((root / "00.png").read_bytes())
    header[16:24] = struct.pack(">2I", 30_000, 30_000)
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    (root / "bomb.png").write_bytes(header)
    (root / "phone.heic").write_bytes(b"anything")
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    os.mkfifo(root / "pipe.png")
    return {
        "zero.png",
        "text.jpg",
        "cut.jpg",
        "float.tiff",
        "bomb.png",
        "phone.heic",
        "gone.png",
        "loop.png",
        "pipe.png",
    }


@pytest.mark.timeout(30)
def test_bad_files_are_found_at_once_and_skipped_only_when_asked(flat):
    bad = spoil(flat)
    with pytest.raises(DataError, match=r"(?s)8 unreadable files, first phone\.heic .* on_bad=skip") as caught:
        Folder(path=str(flat), size=8)
    assert caught.value.exit_code == 3
    with pytest.warns(UserWarning, match=f"skipped {len(bad)} unreadable files"):
        source = Folder(path=str(flat), size=8, on_bad="skip")
    assert sorted(values(source, "train") + values(source, "test")) == list(range(20))


@pytest.mark.parametrize(
    "name", ["zero.png", "text.jpg", "cut.jpg", "float.tiff", "bomb.png", "gone.png", "loop.png", "pipe.png"]
)
@pytest.mark.timeout(30)
def test_each_bad_file_is_named_alone(flat, name):
    for other in spoil(flat) - {name}:
        (flat / other).unlink()
    with pytest.raises(DataError, match=f"1 unreadable file, {name} "):
        Folder(path=str(flat), size=8)


def test_hidden_files_links_and_odd_names(flat):
    for hidden in (".DS_Store", "._00.png", "__MACOSX/00.png", ".cache/0.png", "Thumbs.db", "notes.txt"):
        (flat / hidden).parent.mkdir(exist_ok=True)
        (flat / hidden).write_bytes(b"no image")
    (flat / "loop").symlink_to(flat)
    put(flat / "A.PNG", 100, format="PNG")
    put(flat / "a.png", 101)
    odd = os.path.join(os.fsencode(flat), b"bad\xffname.png")
    os.rename(flat / "00.png", odd)
    source = Folder(path=str(flat))
    assert sorted(values(source, "train") + values(source, "test")) == [*range(20), 100, 101]
    with open(odd, "wb"):
        pass
    with pytest.raises(DataError, match=r"name\.png") as caught:
        Folder(path=str(flat))
    assert str(caught.value).encode("utf-8")


def test_linked_class_folders_are_followed_once(tmp_path):
    classes(tmp_path / "elsewhere", 2)
    (tmp_path / "set").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "set" / "cat" / "up").symlink_to(tmp_path / "set")
    assert Folder(path=str(tmp_path / "set")).spec.names == ("cat", "dog")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ([], "holds no files"),
        (["a.txt", "b.txt", "c.csv"], r"holds no images .* 2 × \.txt, 1 × \.csv"),
        (["a.heic"], "heic is not read; convert it to PNG"),
        (["a.png", "b.png"], "2 unreadable files"),
        (["a.png"], "holds 1 image; at least 2"),
    ],
)
def test_folders_without_usable_images_say_so(tmp_path, files, match):
    for name in files:
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=match) as caught:
        Folder(path=str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    if files == ["a.png", "b.png"]:
        with pytest.raises(DataError, match="none of its images can be read"):
            Folder(path=str(tmp_path), on_bad="skip")


def test_a_missing_path_names_the_nearest(flat):
    with pytest.raises(DataError, match=r"does not exist\. Did you mean: set\?"):
        Folder(path=str(flat.parent / "sett"))
    with pytest.raises(DataError, match="not a readable zip"):
        Folder(path=str(flat / "00.png"))


def test_archives_are_read_in_place_and_hostile_ones_refused(flat, tmp_path, monkeypatch):
    good = tmp_path / "good.zip"
    with zipfile.ZipFile(good, "w") as archive:
        for file in sorted(flat.iterdir()):
            archive.write(file, f"deep\\er/{file.name}")
        archive.writestr("__MACOSX/deep/._00.png", b"x")
    assert Folder(path=str(good)).fingerprint() == Folder(path=str(flat)).fingerprint()
    for name in ("../out.png", "/abs.png", "C:/win.png", "a/../../out.png", "..\\out.png"):
        slip = tmp_path / "slip.zip"
        with zipfile.ZipFile(slip, "w") as archive:
            archive.write(flat / "00.png", "0.png")
            archive.write(flat / "01.png", "1.png")
            archive.writestr(zipfile.ZipInfo(name), (flat / "02.png").read_bytes())
        with pytest.raises(DataError, match="the name leaves the archive"):
            Folder(path=str(slip))
        assert not (tmp_path / "out.png").exists()
    data = bytearray(good.read_bytes())
    data[80] ^= 255
    (tmp_path / "flipped.zip").write_bytes(data)
    with pytest.raises(DataError, match="unreadable file"):
        Folder(path=str(tmp_path / "flipped.zip"))
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.bmp", bytes(30 << 20))
    with pytest.raises(DataError, match="more than 200 times"):
        Folder(path=str(bomb))
    monkeypatch.setattr(listing, "MAX_FILE", 50)
    for path in (good, flat):
        with pytest.raises(DataError, match="over 50"):
            Folder(path=str(path))


def test_encrypted_and_repeated_names_in_an_archive_are_refused(flat, tmp_path):
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(flat.iterdir()):
            archive.write(file, file.name)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.write(flat / "01.png", "00.png")
    with pytest.raises(DataError, match=r"1 unreadable file, 00\.png \(the name comes twice\)"):
        Folder(path=str(path))
    locked = bytearray(path.read_bytes())
    locked[locked.rindex(b"PK\1\2") + 8] |= 1  # the flag of the last entry in the directory
    path.write_bytes(locked)
    with pytest.raises(DataError, match=r"00\.png \(encrypted\)"):
        Folder(path=str(path))


def test_an_entry_that_runs_past_the_end_of_its_archive_is_named(flat, tmp_path):
    path = tmp_path / "short.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(flat.iterdir()):
            archive.write(file, file.name)
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\1\2")  # of the last entry: its sizes stand 20 and 24 bytes on
    data[directory + 20 : directory + 28] = struct.pack("<LL", 10**6, 10**6)
    path.write_bytes(data)
    with pytest.raises(DataError, match="1 unreadable file"):
        Folder(path=str(path))


def test_a_file_that_goes_after_the_scan_is_named_or_skipped(flat, monkeypatch):
    from gannet.data.survey import Survey

    check = Survey.check_splits

    def goes(survey):
        check(survey)
        (flat / "03.png").unlink(missing_ok=True)
        put(flat / "04.png", 4, size=(9, 9))

    monkeypatch.setattr(Survey, "check_splits", goes)
    with pytest.raises(DataError, match=r"2 unreadable files, .*04\.png \(changed while it was read\)"):
        Folder(path=str(flat))
    put(flat / "03.png", 3)
    put(flat / "04.png", 4)
    with pytest.warns(UserWarning, match="skipped 2 unreadable files"):
        source = Folder(path=str(flat), on_bad="skip")
    assert sorted(values(source, "train") + values(source, "test")) == [*range(3), *range(5, 20)]


def test_more_pixels_than_memory_are_refused_before_decoding(flat, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 1 << 10)
    with pytest.raises(ResourceError, match=r"20 images of 1×4096×4096 .* limit="):
        Folder(path=str(flat), size=4096)


def test_real_archive_where_present():
    home = data_home()
    if home is None or not (home / "cifar10-jpg.zip").is_file():
        pytest.skip("NO DATA: set GANNET_DATA to a folder with cifar10-jpg.zip to test a real archive")
    source = Folder(path=str(home / "cifar10-jpg.zip"), limit=200, labels=("cat", "ship"))
    assert source.spec.shape == (3, 32, 32)
    assert source.spec.names == ("cat", "ship")
    assert (len(source.split("train")), len(source.split("test"))) == (200, 200)
    assert 70 < int(source.split("train").fields["y"].sum()) < 130
