"""Tar shards: images and labels read in place, everything hostile refused by name."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data import tars
from gannet.data.download import data_home
from gannet.data.pack import pack
from gannet.data.tars import Tars


def picture(value, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, kind)
    return file.getvalue()


def write(path, members):
    """A tar file of (name or TarInfo, bytes) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if info.isreg() else info.size
            tar.addfile(info, io.BytesIO(content))
    return path


def numbered(*values, label=lambda value: [(".cls", str(value % 2))]):
    for value in values:
        yield f"{value:04d}.png", picture(value)
        for suffix, text in label(value):
            yield f"{value:04d}{suffix}", text.encode()


def values(source, name):
    return source.split(name).fields["x"][:, 0, 0, 0].tolist()


@pytest.fixture
def shards(tmp_path):
    """30 images of two classes in shards 08, 09 and 10."""
    for k in range(3):
        write(tmp_path / "set" / f"pets-{k + 8:02d}.tar", numbered(*range(10 * k, 10 * k + 10)))
    return tmp_path / "set"


@pytest.mark.parametrize("path", ["{set}", "{set}/pets-{{08..10}}.tar", "{set}/pets-{{0..1}}{{0..9}}.tar"])
def test_images_and_labels_of_all_shards(shards, path):
    path = path.format(set=shards)
    if "{0..1}" in path:
        with pytest.raises(DataError, match=r"17 of 20 shards are missing, first pets-00\.tar"):
            Tars(path=path)
        return
    source = Tars(path=path)
    assert source.spec.shape == (1, 8, 8)
    assert source.spec.names == ("0", "1")
    assert (len(source.split("train")), len(source.split("test"))) == (27, 3)
    assert sorted(values(source, "train") + values(source, "test")) == list(range(30))
    for name in ("train", "test"):
        assert source.split(name).fields["y"].tolist() == [value % 2 for value in values(source, name)]


def test_one_file_json_labels_and_no_labels(tmp_path):
    as_json = write(tmp_path / "a.tar", numbered(*range(6), label=lambda v: [(".json", json.dumps({"label": v % 3}))]))
    assert SOURCES.build(f'tars("{as_json}")').spec.names == ("0", "1", "2")
    captions = write(tmp_path / "b.tar", numbered(*range(6), label=lambda v: [(".json", '{"caption": "x"}')]))
    assert Tars(path=str(captions)).spec.classes == 0
    bare = write(tmp_path / "c.tar", numbered(*range(6), label=lambda v: []))
    assert Tars(path=str(bare)).spec.classes == 0
    views = [(name.replace(".png", ".left.png"), content) for name, content in numbered(*range(6))]
    assert Tars(path=str(write(tmp_path / "e.tar", views))).spec.classes == 2
    deep = write(tmp_path / "d.tar", [(f"./x.y/{n}", c) for n, c in numbered(*range(6))])
    assert Tars(path=str(deep)).spec.classes == 2


def test_shards_named_for_a_split_are_that_split(tmp_path):
    write(tmp_path / "train-0.tar", numbered(*range(6)))
    write(tmp_path / "val-0.tar", numbered(*range(6, 9)))
    source = Tars(path=str(tmp_path))
    assert sorted(values(source, "train")) == [0, 1, 2, 3, 4, 5]
    assert sorted(values(source, "test")) == [6, 7, 8]


def test_options_are_those_of_folder_and_packing_gives_the_same_rows(shards, tmp_path):
    source = SOURCES.build(f'tars("{shards}", size=4, channels=3, labels=["1"], limit=5, test=0.3)')
    assert source.spec.shape == (3, 4, 4)
    assert len(source.split("train")) == 5
    write(tmp_path / "a.tar", numbered(0, 2, 4, 1))
    with pytest.raises(DataError, match="no test images are left with these labels"):
        SOURCES.build(f'tars("{tmp_path}/a.tar", labels=["1"])')
    pack(f'tars("{shards}")', tmp_path / "out", {"size": 4})
    ours, theirs = SOURCES.build(f'shards("{tmp_path}/out")'), Tars(path=str(shards), size=4)
    rows = torch.arange(27)
    assert_close(ours.split("train").take(rows)["x"], theirs.split("train").take(rows)["x"], rtol=0, atol=0)


def test_members_of_other_kinds_are_passed_over(tmp_path):
    others = [("0000.npy", b"\x93NUMPY"), ("0000.pyd", b"\x80\x04."), ("0000.txt", b"a cat"), (".hidden.png", b"x")]
    path = write(tmp_path / "a.tar", [*numbered(*range(4)), *others])
    source = Tars(path=str(path))
    assert len(source.split("train")) + len(source.split("test")) == 4
    found = tars.TarShards(str(path))
    assert found.others == {".npy": 1, ".pyd": 1, ".txt": 1}
    only = write(tmp_path / "b.tar", others)
    with pytest.raises(DataError, match=r"holds no images .*1 × \.npy"):
        Tars(path=str(only))


# ------------------------------------------------------------------------------------------------------------ hostile


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("member", "match"),
    [
        ((special("e.png", tarfile.SYMTYPE, "/etc/passwd"), b""), r"a/e\.png \(a link to /etc/passwd\)"),
        ((special("e.png", tarfile.LNKTYPE, "0000.png"), b""), r"a/e\.png \(a link to 0000\.png\)"),
        ((special("e.png", tarfile.CHRTYPE), b""), r"a/e\.png \(a device"),
        ((special("e.png", tarfile.FIFOTYPE), b""), r"a/e\.png \(a device"),
        (("../e.png", b"x"), r"a/\.\./e\.png \(the name leaves the archive\)"),
        (("/e.png", b"x"), r"the name leaves the archive"),
        (("b\\..\\e.png", b"x"), r"the name leaves the archive"),
        (("0000.png", picture(9)), r"a/0000\.png \(the name comes twice\)"),
        (("0000.json", b'{"label": 1}'), r"a/0000\.json \(a second label beside a/0000\.cls\)"),
        (("e.heic", b"x"), r"heic is not read"),
        (("e.png", b"no image"), r"a/e\.png \(not one of PNG"),
    ],
)
def test_a_member_that_is_not_read_is_named(tmp_path, member, match):
    path = write(tmp_path / "a.tar", [*numbered(*range(4), label=lambda v: [(".cls", "0")]), *([member])])
    if "no image" in str(member):  # an image needs its label too, before anybody looks inside
        path = write(tmp_path / "a.tar", [*numbered(*range(4), label=lambda v: []), member])
    with pytest.raises(DataError, match=match):
        Tars(path=str(path))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cat", "no readable label"),
        ("1.5", r"holds '1\.5'; a label is a whole number"),
        ("-1", "a label is a whole number"),
        ("true", "a label is a whole number"),
        ("[" * 100_000, "no readable label"),
        ("\xff\xfe", "a label|no readable label"),
        ("1" * 5000, "no readable label"),
    ],
)
def test_a_label_that_is_no_number_is_named(tmp_path, text, match):
    path = write(tmp_path / "a.tar", numbered(0, 1, label=lambda v: [(".cls", text if v else "0")]))
    with pytest.raises(DataError, match=match) as caught:
        Tars(path=str(path))
    assert "a/0001.cls" in str(caught.value)


def test_images_without_a_label_beside_others_are_named(tmp_path):
    path = write(tmp_path / "a.tar", numbered(*range(4), label=lambda v: [(".cls", "1")] if v else []))
    with pytest.raises(DataError, match=r"1 images have no label, first a/0000\.png"):
        Tars(path=str(path))


def test_a_shard_cut_short_anywhere_is_noticed(tmp_path):
    path = write(tmp_path / "a.tar", numbered(*range(3)))
    content = path.read_bytes()
    end = 3 * (512 + 512 + 512 + 512)
    assert content[end : end + 1024] == bytes(1024)
    for length in (0, 100, 512, 600, 1024, 1500, end - 512, end - 100, end):
        path.write_bytes(content[:length])
        with pytest.raises(
            DataError, match=r"a\.tar (is cut short inside|is damaged or cut short after|is no readable)"
        ):
            Tars(path=str(path))
    spoiled = bytearray(content)
    spoiled[2048 + 150] ^= 255  # the checksum of the third header
    path.write_bytes(spoiled)
    with pytest.raises(DataError, match=r"damaged or cut short after 0000\.cls"):
        Tars(path=str(path))


def test_sizes_that_lie_or_are_too_large_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", numbered(*range(3)))
    info = tarfile.TarInfo("huge.png")
    info.size = 1 << 40
    content = path.read_bytes()[: 3 * 2048] + info.tobuf() + bytes(2048)
    (tmp_path / "lie.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"lie\.tar is cut short inside huge\.png"):
        Tars(path=str(tmp_path / "lie.tar"))
    monkeypatch.setattr(tars, "MAX_FILE", 50)
    with pytest.raises(DataError, match=r"a/000\d\.png \(\d+ bytes, over 50\)"):
        Tars(path=str(path))


def test_compressed_and_strange_paths_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(DataError, match=r"no readable tar file .*compressed ones are not read"):
        Tars(path=str(tmp_path / "a.tar"))
    for path in ("pipe:cat x.tar", "http://host/x.tar", "s3://bucket/x.tar"):
        with pytest.raises(UsageError, match="commands and addresses are not"):
            Tars(path=path)
    for path in ("x-{9..1}.tar", "x-{0..99999999999999999999}.tar", "{0..999}{0..999}.tar"):
        with pytest.raises(UsageError, match="stands for no shard, or for over 100,000"):
            Tars(path=path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.tar files"):
        Tars(path=str(tmp_path / "empty"))


def test_real_images_where_present(tmp_path):
    home = data_home()
    if home is None or not (home / "cifar10-jpg.zip").is_file():
        pytest.skip("NO DATA: set GANNET_DATA to a folder with cifar10-jpg.zip to test real images")
    import zipfile

    with zipfile.ZipFile(home / "cifar10-jpg.zip") as archive:
        names = [n for n in archive.namelist() if n.endswith(".jpg")][:40]
        path = write(tmp_path / "a.tar", [(f"{k}.jpg", archive.read(name)) for k, name in enumerate(names)])
    assert Tars(path=str(path)).spec.shape == (3, 32, 32)
