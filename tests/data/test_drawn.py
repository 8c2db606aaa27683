"""Points of one's own: what is read, what is refused with its place, and that saving changes nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gannet.core.errors import DataError, ResourceError
from gannet.core.experiment import data_shorthand
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.data.drawn import Csv, Darkness, Drawn, parse_csv, scattered, strokes

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 2))


def png(pixels, mode=None):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(stream, "PNG")
    return stream.getvalue()


def everything(source):
    return np.concatenate([source.split(s).fields["x"].numpy() for s in ("train", "test")])


def test_what_is_saved_is_read_back_as_the_same_source(tmp_path):
    drawn = Drawn(ROWS)
    spec = drawn.save(tmp_path)
    again = SOURCES.build(spec)
    assert again.fingerprint() == drawn.fingerprint()
    np.testing.assert_array_equal(
        again.split("train").fields["x"].numpy(), drawn.split("train").fields["x"].numpy(), strict=True
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["points.npy"]
    assert SOURCES.build(str(spec)).fingerprint() == drawn.fingerprint()
    assert Drawn(ROWS[::-1]).save(tmp_path) == spec
    assert SOURCES.build(spec).fingerprint() == Drawn(ROWS[::-1]).fingerprint() != drawn.fingerprint()
    with pytest.raises(ResourceError, match="could not be written"):
        drawn.save(tmp_path / "missing")


def test_large_points_are_read_back_as_they_were_saved(tmp_path):
    drawn = Drawn(1000 * ROWS)
    assert SOURCES.build(drawn.save(tmp_path)).fingerprint() == drawn.fingerprint()


def test_equal_points_have_one_fingerprint_however_they_were_written():
    x = [[0.0, 1.5], [-0.0, 2.5], [3.0, -0.0]]
    assert Drawn(x).fingerprint() == Drawn(np.array(x, np.float32) + 0).fingerprint()
    assert Drawn(x).fingerprint() == Drawn([[0.0, 1.5], [0.0, 2.5], [3.0, 0.0]]).fingerprint()
    assert Drawn(x).fingerprint() != Drawn([[0.0, 1.5], [0.0, 2.5], [3.0, 0.1]]).fingerprint()
    low, high = Drawn(x).view
    assert low < 0 < 3 < high


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], r"shape \[0\]"),
        ([[1.0, 2.0]], r"shape \[1, 2\]; use 2"),
        (np.zeros((3, 3)), r"shape \[3, 3\]"),
        (np.zeros(5), r"shape \[5\]"),
        (np.zeros((100_001, 1)), "100,000"),
        ([[1.0, 2.0], [3.0]], "rows of one or two numbers"),
        ([["a", 2.0]], "rows of one or two numbers"),
        ([[{}, 2.0]], "rows of one or two numbers"),
        ([[0.0, 1.0], [2.0, np.nan]], "1 of 2 rows are not finite in fp32, first row 1"),
        ([[0.0, 1.0], [2.0, 1e300]], "first row 1"),
        ([[2.0, 2.0], [2.0, 2.0]], "every value is 2"),
    ],
)
def test_what_is_no_set_of_points_is_refused(rows, match):
    with pytest.raises(DataError, match=match):
        Drawn(rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("x,y\n1,2\n3,4", [[1, 2], [3, 4]]),
        ("\ufeffx;y\r\n1;2\r\n\r\n3;4\r\n", [[1, 2], [3, 4]]),
        ("1\t2\n3\t-4e-1", [[1, 2], [3, -0.4]]),
        (" 1   2\n3 4", [[1, 2], [3, 4]]),
        ('"x"\n"1"\n2\n', [[1], [2]]),
        ("0.5;1\n1;2", [[0.5, 1], [1, 2]]),
        ("p1,p2\n1,2\n3,4", [[1, 2], [3, 4]]),
        ("1,2\r3,4\r", [[1, 2], [3, 4]]),
    ],
)
def test_the_usual_forms_of_csv_are_read(text, expected):
    np.testing.assert_array_equal(parse_csv(text), expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "0 rows"),
        ("x,y\n", "0 rows"),
        ("x,y\n1,2\n", "1 rows of numbers; use 2"),
        ("1,2,3\n4,5,6", "line 1: 3 columns; use at most 2"),
        ("x,y\n1,2\n\n3\n", "line 4: 1 columns; use 2, as in line 2"),
        ("1,2\n3,nan", "line 2: 'nan' is not a finite"),
        ("nan,1\n3,4", "line 1: 'nan'"),
        ("1,2\n3,1e999", "line 2: '1e999'"),
        ("1,2\n3,four", "line 2: 'four'"),
        ("1,2\n3,", "line 2: ''"),
        ("1,2\n3,1_0", "line 2: '1_0'"),
        ("a,b\nc,d\n1,2", "line 2: 'c'"),
        ("0,5;1,5\n1;2", "line 1: '0,5'"),
        ("1\n" * 100_001, "over 100,000 rows"),
        ("x\n" + "1\n" * 3_000_000, "over 100,000 rows"),
        ("1" * (17 << 20), "characters; at most"),
    ],
)
def test_what_is_no_csv_of_points_is_refused_with_its_line(text, match):
    with pytest.raises(DataError, match=match):
        parse_csv(text)


def test_a_path_that_ends_so_is_csv():
    assert data_shorthand("./Points.CSV") == Spec("csv", (), {"path": "./Points.CSV"})


def test_a_csv_file_is_a_source(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("x,y\n" + "\n".join(f"{float(a)!r},{float(b)!r}" for a, b in ROWS))
    assert SOURCES.build(f'csv("{path}")').fingerprint() == Drawn(ROWS).fingerprint()
    path.write_text("a,b,c\n" + "".join(f"{i},{i * i % 7},0.{i}\n" for i in range(10, 40)))
    assert Csv(path=str(path), scale="none", limit=5).split("train").fields["x"].shape == (5, 3)
    assert SOURCES.build(f'csv("{path}", scale=columns, test=0.5)').split("test").rows == 15
    path.write_bytes(b"\xff\xfe1,2")
    with pytest.raises(DataError, match="UTF-8"):
        Csv(path=str(path))
    path.write_bytes(b"1" * (17 << 20))
    with pytest.raises(DataError, match="at most 16,777,216"):
        Csv(path=str(path))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        Csv(path=str(tmp_path / "none.csv"))


def test_a_drawing_is_its_points_and_noise():
    points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    drawn = strokes(points, n=9000, noise=0.05)
    x = everything(drawn).astype(np.float64)
    assert x.shape == (9000, 2)
    near = np.linalg.norm(x[:, None] - np.array(points), axis=2)
    np.testing.assert_allclose(np.bincount(near.argmin(1)) / 9000, 1 / 3, atol=0.02)
    np.testing.assert_allclose(np.sqrt((near.min(1) ** 2).mean() / 2), 0.05, rtol=0.03)
    np.testing.assert_allclose(drawn.density(np.array(points)), 1 / 3 / (2 * np.pi * 0.05**2), rtol=1e-9)
    assert strokes(points).fingerprint() == strokes(points).fingerprint() != strokes(points, seed=1).fingerprint()
    assert everything(strokes([[0.3]], n=20)).shape == (20, 1)
    for bad in ({"points": []}, {"points": points, "noise": 0.0}, {"points": points, "n": 100_001}):
        with pytest.raises(DataError):
            strokes(**bad)


def test_points_fall_where_an_image_is_dark():
    # Three pixels wide, two high: black above left, half grey below right, white elsewhere.
    darkness = Darkness(png([[0, 255, 255], [255, 255, 128]]))
    total = 255 + 127
    np.testing.assert_allclose(darkness.share, np.array([[255, 0, 0], [0, 0, 127]]) / total)
    pixel = 2 / 3
    x = np.array([[-0.9, 0.5], [0.9, -0.5], [0.9, 0.5], [-0.9, 0.8], [-1.1, 0.5]])
    expected = np.array([255, 127, 0, 0, 0]) / total / pixel**2
    np.testing.assert_allclose(darkness(x), expected)
    rows = darkness.draw(20_000, np.random.default_rng(0))
    left = (rows[:, 0] > -1) & (rows[:, 0] < -1 / 3) & (rows[:, 1] > 0) & (rows[:, 1] < pixel)
    right = (rows[:, 0] > 1 / 3) & (rows[:, 0] < 1) & (rows[:, 1] > -pixel) & (rows[:, 1] < 0)
    assert (left | right).all()
    np.testing.assert_allclose(left.mean(), 255 / total, atol=0.02)
    np.testing.assert_allclose(rows[left].mean(0), [-pixel, pixel / 2], atol=0.01)
    source = scattered(png([[0, 255, 255], [255, 255, 128]]), n=500)
    assert everything(source).shape == (500, 2)
    np.testing.assert_allclose(source.density(x), expected)


def test_large_and_transparent_images_are_made_small_and_white():
    wide = np.full((300, 1024), 255, np.uint8)
    wide[:, :512] = 0
    assert Darkness(png(wide)).share.shape == (75, 256)
    np.testing.assert_allclose(Darkness(png(wide)).share[:, :128].sum(), 1)
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0, 3] = 255
    np.testing.assert_allclose(Darkness(png(clear)).share[0, 0], 1)


def bomb(width, height):
    """A PNG whose header promises what its few bytes do not hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "cannot be read"),
        (b"hello", "cannot be read: not one of PNG"),
        (png([[255, 255]]), "white all over"),
        (bomb(60_000, 60_000), "60000×60000 pixels, over|over 64,000,000"),
        (bomb(5_000, 5_000), "5000×5000 pixels, over 16,000,000"),
        (png(np.zeros((9, 9)))[:45], "cannot be read"),
        (b"\x89PNG" + bytes(9 << 20), "at most 8,388,608"),
    ],
)
def test_what_is_no_image_of_a_density_is_refused(data, match):
    with pytest.raises(DataError, match=match):
        scattered(data)
