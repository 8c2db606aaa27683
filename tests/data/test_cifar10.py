"""CIFAR-10 from its tar and from a zip of JPEGs, and archives that are not what they should be."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data import cifar10, cifar10_jpg
from gannet.data.cifar10 import NAMES, RECORD, SPLITS, luma

ROWS = 20


def batch(seed: int) -> bytes:
    """`ROWS` records: the label, then a red plane of 10 · label, a green one of the seed and a random blue one."""
    records = np.random.default_rng(seed).integers(256, size=(ROWS, RECORD), dtype=np.uint8)
    records[:, 0] = np.arange(ROWS) % 10
    records[:, 1:1025] = records[:, :1] * 10
    records[:, 1025:2049] = seed
    return records.tobytes()


def members() -> dict[str, bytes]:
    names = [*SPLITS["train"], *SPLITS["test"]]
    return {"cifar-10-batches-bin/readme.html": b"hello"} | {name: batch(seed) for seed, name in enumerate(names)}


def tarred(files: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "ROWS", ROWS)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    (tmp_path / cifar10.ARCHIVE).write_bytes(tarred(members()))
    return tmp_path


def test_rows_are_the_records_in_order(home):
    source = SOURCES.build("cifar10")
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test)) == (5 * ROWS, ROWS)
    assert (source.spec.shape, source.spec.names) == ((3, 32, 32), NAMES)
    assert train.fields["y"].tolist() == [k % 10 for k in range(5 * ROWS)]
    raw = torch.frombuffer(bytearray(batch(3)), dtype=torch.uint8).view(ROWS, RECORD)[:, 1:].view(ROWS, 3, 32, 32)
    assert torch.equal(train.fields["x"][3 * ROWS : 4 * ROWS], raw)
    assert test.fields["x"][:, 1].unique().tolist() == [5]
    one = train.take(torch.tensor([7]))
    torch.testing.assert_close(one["x"][0, 0], torch.full((32, 32), 70 / 127.5 - 1))


def test_options(home):
    few = SOURCES.build("cifar10(grey=true, flip=true, labels=[cat, 1], limit=7)")
    train = few.split("train")
    assert (few.spec.shape, few.spec.names, len(train)) == ((1, 32, 32), ("cat", "automobile"), 14)
    assert train.fields["y"].tolist() == [1, 0, 1, 0, 1, 0, 1]
    rows = train.take(torch.tensor([2, 9]))["x"]
    torch.testing.assert_close(rows[0].flip(-1), rows[1])
    assert len({SOURCES.build(f"cifar10{o}").fingerprint() for o in ("", "(grey=true)", "(flip=true)")}) == 3


def test_luma_is_pillows_to_a_step_and_keeps_the_ends():
    x = torch.from_numpy(np.random.default_rng(0).integers(256, size=(2, 3, 8, 8), dtype=np.uint8))
    for image, grey in zip(x, luma(x), strict=True):
        pillow = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert np.array_equal(grey[0].numpy(), pillow)
    assert luma(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)).flatten().tolist() == [
        0,
        255,
    ]


BAD = {
    "missing": (lambda m: tarred({k: v for k, v in m.items() if "batch_4" not in k}), "holds no .*data_batch_4.bin"),
    "short": (lambda m: tarred({**m, SPLITS["test"][0]: batch(5)[:-1]}), "test_batch.bin is 61,459 bytes, not 61,460"),
    "long": (lambda m: tarred({**m, SPLITS["test"][0]: batch(5) + b"0"}), "test_batch.bin is 61,461 bytes"),
    "twice": (lambda m: tarred([*m.items(), *m.items()]), "data_batch_1.bin is there twice"),
    "elsewhere": (lambda m: tarred({"../" + k: v for k, v in m.items()}), "holds no"),
    "label": (lambda m: tarred({**m, SPLITS["train"][1]: b"\x0a" + batch(1)[1:]}), "label 10 at index 0 of .*_2.bin"),
    "cut": (lambda m: tarred(m)[:-400], "damaged"),
    "checksum": (lambda m: tarred(m)[:-8] + bytes(8), "damaged"),
    "no gzip": (lambda m: b"BZh9", "damaged or not a gzipped tar"),
    "no tar": (lambda m: gzip.compress(b"x" * 2000), "damaged or not a gzipped tar"),
    "empty": (lambda m: b"", "damaged|holds no"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives_are_named(home, case):
    make, match = BAD[case]
    (home / cifar10.ARCHIVE).write_bytes(make(members()))
    with pytest.raises(DataError, match=match) as caught:
        SOURCES.build("cifar10")
    assert str(home / cifar10.ARCHIVE) in str(caught.value)


def test_links_and_bombs_are_refused(home, monkeypatch):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        link = tarfile.TarInfo(SPLITS["train"][0])
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (home / cifar10.ARCHIVE).write_bytes(target.getvalue())
    with pytest.raises(DataError, match="not a plain file"):
        SOURCES.build("cifar10")
    monkeypatch.setattr(cifar10, "MAX_CONTENT", 1 << 20)
    (home / cifar10.ARCHIVE).write_bytes(tarred({"huge": bytes(1 << 21), **members()}))
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        SOURCES.build("cifar10")


# ------------------------------------------------------------------------------------------- the same as JPEG files


def jpeg(value: int, side: int = 32) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (side, side), (value, 255 - value, value)).save(target, "JPEG", quality=95)
    return target.getvalue()


def zipped(more: dict[str, bytes] | None = None) -> bytes:
    """Two training images and one test image of every class; the value tells which."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number, name in enumerate(NAMES):
            for k, place in enumerate((f"train/{name}/b.jpg", f"train/{name}/a.jpg", f"test/{name}/a.jpg")):
                archive.writestr(place, jpeg(10 * number + 100 * k))
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.fixture
def jpegs(home):
    path = home / cifar10_jpg.ARCHIVE
    path.write_bytes(zipped())
    return path


@pytest.mark.parametrize("there", [True, False])
def test_without_the_archive_the_jpegs_that_are_there_are_named(there, jpegs, monkeypatch):
    (jpegs.parent / cifar10.ARCHIVE).unlink()
    if not there:
        jpegs.unlink()
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        SOURCES.build("cifar10")
    assert str(caught.value).endswith(f"{jpegs}: data=cifar10-jpg.") == there


def test_jpegs_go_round_the_classes(jpegs):
    source = SOURCES.build("cifar10-jpg")
    train, test = source.split("train"), source.split("test")
    assert (len(train), len(test), source.spec.names) == (20, 10, NAMES)
    assert train.fields["y"].tolist() == 2 * list(range(10))
    wanted = torch.tensor([100 + 10 * k for k in range(10)] + [10 * k for k in range(10)])  # a.jpg, then b.jpg
    torch.testing.assert_close(train.fields["x"][:, 0].float().mean((1, 2)), wanted.float(), atol=3, rtol=0)
    few = SOURCES.build("cifar10-jpg(labels=[dog, bird], limit=3, grey=true, flip=true)")
    assert (few.spec.shape, few.spec.names) == ((1, 32, 32), ("dog", "bird"))
    assert few.split("train").fields["y"].tolist() == [1, 0, 1]
    assert (len(few.split("train")), len(few.split("test"))) == (6, 2)


def test_jpegs_are_decoded_once_where_wanted(jpegs, monkeypatch):
    decoded = []
    decode = cifar10_jpg.decode
    monkeypatch.setattr(cifar10_jpg, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    first = SOURCES.build("cifar10-jpg(limit=4)")
    assert len(decoded) == 4 + 10
    assert SOURCES.build("cifar10-jpg(limit=4)").fingerprint() == first.fingerprint()
    assert len(decoded) == 14
    SOURCES.build("cifar10-jpg(limit=5)")
    assert len(decoded) == 14 + 5  # the test rows are those remembered
    cached = list((jpegs.parent / "cache").rglob("*.safetensors"))
    assert len(cached) == 3
    for file in cached:
        file.write_bytes(file.read_bytes()[:100])
    assert SOURCES.build("cifar10-jpg(limit=4)").fingerprint() == first.fingerprint()
    jpegs.write_bytes(zipped({"train/cat/c.jpg": jpeg(0)}))
    assert len(SOURCES.build("cifar10-jpg").split("train")) == 21


def test_a_cache_that_cannot_be_written_costs_a_warning(jpegs, monkeypatch):
    (jpegs.parent / "file").write_bytes(b"")
    monkeypatch.setattr("pooch.os_cache", lambda name: jpegs.parent / "file")
    with pytest.warns(UserWarning, match="could not be kept"):
        assert len(SOURCES.build("cifar10-jpg").split("train")) == 20


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"train/cow/a.jpg": jpeg(0)}, "train/cow/a.jpg is not train/<class>"),
        ({"a.jpg": jpeg(0)}, "a.jpg is not train/<class>"),
        ({"../a.jpg": jpeg(0)}, "leaves the archive"),
        ({"train/cat/c.jpg": jpeg(0, 31)}, "train/cat/c.jpg has 31×31 pixels"),
        ({"train/cat/c.jpg": jpeg(0)[:200]}, "train/cat/c.jpg cannot be read"),
        ({"train/cat/c.jpg": b""}, "train/cat/c.jpg cannot be read"),
    ],
)
def test_wrong_members_of_the_zip_are_named(jpegs, more, match):
    jpegs.write_bytes(zipped(more))
    with pytest.raises(DataError, match=match) as caught:
        SOURCES.build("cifar10-jpg")
    assert str(jpegs) in str(caught.value)
    assert not (jpegs.parent / "cache" / "gannet").exists() or not any((jpegs.parent / "cache").rglob("*tensors"))


def test_what_is_no_zip_or_not_there_is_told(jpegs):
    jpegs.write_bytes(zipped()[:-30])
    with pytest.raises(DataError, match="not a readable zip"):
        SOURCES.build("cifar10-jpg")
    jpegs.unlink()
    with pytest.raises(DataError, match=r"train/<class>/\*\.jpg(.|\n)*source cifar10(.|\n)*GANNET_DATA"):
        SOURCES.build("cifar10-jpg")
    with pytest.raises(UsageError, match="limit=0"):
        SOURCES.build("cifar10-jpg(limit=0)")


def test_real_archives_where_present(shared_data, tmp_path, monkeypatch):
    shared_data(cifar10_jpg.ARCHIVE)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path)
    source = SOURCES.build("cifar10-jpg(labels=[frog], limit=200)")
    assert (len(source.split("train")), len(source.split("test"))) == (200, 1000)
    assert source.split("train").fields["x"].float().std() > 40


def test_the_real_tar_where_present(shared_data):
    shared_data(cifar10.ARCHIVE)
    source = SOURCES.build("cifar10")
    train = source.split("train")
    assert (len(train), len(source.split("test"))) == (50_000, 10_000)
    assert train.fields["y"][:5].tolist() == [6, 9, 9, 4, 1]
    mean = train.fields["x"].float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4, rtol=0)
