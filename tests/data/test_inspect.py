"""A look at data: figures that were put there, warnings that are due, and the words of training."""

import json
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.inspect import inspect
from gannet.data.pack import pack


def put(path, seed, size=(16, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], *([len(mode)] if len(mode) > 1 else []))
    Image.fromarray(np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8), mode).save(path)
    return path


@pytest.fixture
def clean(tmp_path):
    """Eighty of each of two classes, of which nothing bad can be said."""
    for k in range(160):
        put(tmp_path / "set" / ("cat" if k % 2 else "dog") / f"{k}.png", k)
    return tmp_path / "set"


def trained(source):
    """What training says to a source, None if it takes it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            SOURCES.build(source)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["folder", "zip", "packed"])
def test_nothing_is_said_of_clean_data(clean, tmp_path, kind):
    path = str(clean)
    if kind == "zip":
        path = str(tmp_path / "set.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in clean.rglob("*.png"):
                archive.write(file, file.relative_to(clean))
    if kind == "packed":
        path = str(pack(path, tmp_path / "packed").path)
    report = inspect(path)
    assert report.warnings == []
    assert report.refused is None
    assert report.splits == {"train": 144, "test": 16}
    assert {split: sum(counts.values()) for split, counts in report.classes.items()} == report.splits
    assert report.shape == (3, 16, 16)
    assert report.memory == 160 * 3 * 16 * 16
    assert report.duplicates.pixels == report.duplicates.bytes == report.duplicates.leaked == 0
    if kind != "packed":
        assert (report.sizes, report.modes, report.training) == (
            {"16×16": 160},
            {"RGB": 160},
            {"kept as they are": 160},
        )


def test_copies_leaks_and_looks(clean):
    put(clean / "cat" / "again.png", 0)  # of dog/0.png, the same bytes
    Image.open(clean / "dog" / "2.png").save(clean / "dog" / "other.bmp")  # the same pixels
    Image.open(clean / "dog" / "4.png").resize((32, 32)).resize((16, 16)).save(clean / "dog" / "soft.png")
    report = inspect(str(clean), near=True)
    assert (report.duplicates.bytes, report.duplicates.pixels) == (1, 2)
    assert report.duplicates.alike is not None
    assert report.duplicates.alike >= 2
    pairs = {frozenset(pair) for pair in report.duplicates.examples}
    assert pairs == {frozenset({"dog/0.png", "cat/again.png"}), frozenset({"dog/2.png", "dog/other.bmp"})}
    assert inspect(str(clean)).duplicates.alike is None
    assert any("2 of 163 samples are copies" in text for text in report.warnings)


def test_test_images_that_are_trained_on_are_counted(tmp_path):
    for k in range(80):
        put(tmp_path / "train" / f"{k}.png", k)
    for k in (3, 5, 100):
        put(tmp_path / "test" / f"{k}.png", k)
    report = inspect(str(tmp_path))
    assert report.duplicates.leaked == 2
    assert "2 test samples are training samples too, so test scores are too good." in report.warnings


def test_what_training_does_with_each_kind(clean):
    put(clean / "cat" / "clear.png", 201, mode="RGBA")
    put(clean / "cat" / "grey.png", 202, mode="L")
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(clean / "cat" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(clean / "dog" / "0.png").save(clean / "dog" / "turned.png", exif=exif)
    put(clean / "dog" / "small.png", 203, (8, 8))
    put(clean / "dog" / "wide.png", 204, (40, 20))
    Image.new("RGB", (16, 16), "red").save(clean / "dog" / "flat.png")
    Image.new("RGB", (16, 16)).save(
        clean / "dog" / "moving.gif", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]
    )
    report = inspect(str(clean), {"size": 16})
    assert report.refused is None
    assert {k: n for k, n in report.training.items() if k != "kept as they are"} == {
        "composited on white": 1,
        "grey in three channels": 3,  # deep.png and the black frame of moving.gif too
        "scaled from 16 to 8 bits": 1,
        "turned as EXIF says": 1,
        "enlarged": 1,
        "made smaller": 1,
        "cut to squares": 1,
        "first frame only": 1,
    }
    assert sorted(report.constant) == ["dog/flat.png", "dog/moving.gif"]
    text = "\n".join(report.warnings)
    for part in ("3 different sizes", "1 images are smaller", "2 images are of one colour", "16-bit", "transparent"):
        assert part in text
    put(clean / "dog" / "flat-and-wide.png", 205, (20, 10))
    cut, padded = (inspect(str(clean), {"size": 16, "crop": crop}).training for crop in ("center", "pad"))
    assert (cut["cut to squares"], cut["enlarged"], cut["made smaller"]) == (2, 2, 1)
    assert (padded["padded to squares"], padded["enlarged"], padded["made smaller"]) == (2, 1, 2)


@pytest.mark.parametrize(
    ("spoil", "options"),
    [
        (lambda s: (s / "cat" / "bad.png").write_text("no image"), {}),
        (lambda s: (s / "cat" / "phone.heic").write_text("x"), {}),
        (lambda s: put(s / "cat" / "wide.png", 1, (20, 16)), {}),
        (lambda s: put(s / "loose.png", 1), {}),
        (lambda s: (s / "dataset.json").write_text("{"), {}),
        (lambda s: put(s / "cat" / "cut.png", 1), {}),
    ],
)
def test_what_is_refused_is_refused_in_the_words_of_training(clean, spoil, options):
    spoil(clean)
    cut = clean / "cat" / "cut.png"
    if cut.exists():
        cut.write_bytes(cut.read_bytes()[:400])
    said = trained(f'folder("{clean}")')
    assert said is not None
    assert said in (inspect(str(clean)).refused or "")
    assert said.splitlines()[0] in json.dumps(inspect(str(clean)).to_json(), ensure_ascii=False)


def test_several_faults_are_said_at_once_and_skipping_ends_one(clean):
    (clean / "cat" / "bad.png").write_text("no image")
    put(clean / "cat" / "wide.png", 1, (20, 16))
    report = inspect(str(clean))
    assert "1 unreadable file, cat/bad.png" in report.refused
    assert "the images differ in height×width" in report.refused
    assert report.unreadable.keys() == {"cat/bad.png"}
    assert report.training == {"left out": 1}
    done = inspect(str(clean), {"on_bad": "skip", "size": 16})
    assert done.refused is None
    assert trained(f'folder("{clean}", size=16, on_bad=skip)') is None
    assert done.training["left out"] == 1


def test_classes_are_looked_at(tmp_path):
    for k in range(70):
        put(tmp_path / "uneven" / ("cat" if k else "dog") / f"{k}.png", k)
        put(tmp_path / "many" / f"person-{k}" / "0.png", k)
        put(tmp_path / "one" / "train" / f"{k}.png", k)
    assert any("cat has" in text and "dog" in text for text in inspect(str(tmp_path / "uneven")).warnings)
    assert any("Are the folders meant as classes?" in text for text in inspect(str(tmp_path / "many")).warnings)
    assert inspect(str(tmp_path / "one")).warnings[0] == "all images lie in train/, and one folder makes no class."
    few = [inspect("digits", {"limit": limit}).warnings for limit in (63, 64)]
    assert few == [["63 training samples are fewer than a batch of 64. Set batch=, or add some."], []]
    (tmp_path / "many" / "empty").mkdir()
    assert any("without images make no class: empty" in text for text in inspect(str(tmp_path / "many")).warnings)
    (tmp_path / "uneven" / "dataset.json").write_text(
        json.dumps({"labels": [[f"{'cat' if k else 'dog'}/{k}.png", 7] for k in range(70)]})
    )
    assert any("all samples are of one class (7)" in text for text in inspect(str(tmp_path / "uneven")).warnings)


def test_registered_names_and_arrays(tmp_path):
    report = inspect("digits")
    assert report.splits == {"train": 1500, "test": 297}
    assert report.modes == {"uint8": 1797}
    assert report.refused is None
    assert report.warnings == []
    x = np.random.default_rng(0).integers(256, size=(100, 8, 8), dtype=np.uint8)
    x[7], x[8] = 5, x[9]
    np.savez(tmp_path / "a.npz", x=x)
    report = inspect(str(tmp_path / "a.npz"))
    assert len(report.constant) == 1
    assert report.duplicates.pixels == 1
    assert inspect("points(n=500)").constant == []
    x = x.astype(np.float32)
    x[3] = np.nan
    np.savez(tmp_path / "b.npz", x=x)
    with pytest.raises(DataError, match="not finite, first at index 3"):
        inspect(str(tmp_path / "b.npz"))


def test_every_byte_of_packed_data_is_looked_at(clean, tmp_path):
    pack(str(clean), tmp_path / "out")
    file = tmp_path / "out" / "train-00000-x.bin"
    content = bytearray(file.read_bytes())
    content[9000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000-x\.bin is not the file"):
        inspect(str(tmp_path / "out"))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"Did you mean: digits"):
        inspect("digitz")
    with pytest.raises(UsageError, match="digits has no option 'crop'"):
        inspect("digits", {"crop": "pad"})
    with pytest.raises(DataError, match="does not exist"):
        inspect(str(tmp_path / "nothing"))
    report = inspect(str(tmp_path))
    assert "holds no files" in report.refused
    assert report.splits == {"train": 0, "test": 0}
