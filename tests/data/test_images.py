"""One image file of every awkward kind, against the pixels it should give."""

import io

import numpy as np
import pytest
from PIL import Image

from gannet.data.images import BadImage, Header, decode, probe

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def stored(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def pixels(file, channels=3, size=None, crop="center"):
    file.seek(0)
    return decode(file, channels, size, crop)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_formats_give_the_stored_pixels(kind):
    file = stored(Image.fromarray(COLOUR), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert probe(file) == Header(4, 6, True)
    np.testing.assert_allclose(pixels(file), COLOUR, atol=0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_grey_and_colour(options):
    smooth = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[None], 32, axis=0)
    file = stored(Image.fromarray(smooth), "JPEG", quality=95, **options)
    assert probe(file) == Header(32, 32, False)
    np.testing.assert_allclose(pixels(file, 1)[..., 0], smooth, atol=4)
    assert probe(stored(Image.fromarray(smooth).convert("RGB"), "JPEG")).colour


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_do_not_wrap(kind):
    deep = np.array([[0, 128, 257], [32768, 65534, 65535]], dtype=np.uint16)
    file = stored(Image.fromarray(deep), kind)
    assert probe(file) == Header(2, 3, False)
    np.testing.assert_array_equal(pixels(file, 1)[..., 0], [[0, 0, 1], [128, 255, 255]])
    np.testing.assert_array_equal(pixels(file, 3)[..., 2], [[0, 0, 1], [128, 255, 255]])


def test_one_bit_and_palettes():
    bits = Image.fromarray((GREY > 100).astype(np.uint8) * 255).convert("1")
    assert not probe(stored(bits)).colour
    np.testing.assert_array_equal(pixels(stored(bits), 1)[..., 0], (GREY > 100) * 255)
    assert not probe(stored(Image.fromarray(GREY), "GIF")).colour
    palette = Image.fromarray(COLOUR).quantize(256)
    assert probe(stored(palette)).colour
    np.testing.assert_array_equal(pixels(stored(palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_on_white(mode):
    image = Image.new(mode, (3, 1))
    opaque, half, clear = ((40, 40, 40), (40, 40, 40), (40, 40, 40)) if mode == "RGBA" else ((40,), (40,), (40,))
    for x, (colour, alpha) in enumerate([(opaque, 255), (half, 128), (clear, 0)]):
        image.putpixel((x, 0), (*colour, alpha))
    np.testing.assert_allclose(pixels(stored(image), 1)[0, :, 0], [40, 147, 255], atol=1)
    np.testing.assert_array_equal(pixels(stored(image), 4)[0, :, 3], [255, 128, 0])
    assert probe(stored(image)).colour == (mode == "RGBA")


def test_a_transparent_palette_entry_becomes_white():
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 200, 0])
    np.testing.assert_array_equal(pixels(stored(palette, transparency=1)), [[[200, 0, 0], [255, 255, 255]]])


def test_cmyk_becomes_rgb():
    file = stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert probe(file).colour
    np.testing.assert_allclose(pixels(file)[4, 4], [255, 0, 0], atol=6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_rotation_is_applied(kind):
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: what was left stands on top
    file = stored(image, kind, exif=exif, **({"quality": 95} if kind != "PNG" else {}))
    assert probe(file) == Header(16, 8, True)
    upright = pixels(file, 1)[..., 0].astype(int)
    np.testing.assert_allclose([upright[:6].mean(), upright[-6:].mean()], [255, 0], atol=8)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "lime")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    file = stored(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_array_equal(pixels(file)[2, 2], [255, 0, 0])


def test_crops():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 255
    file = stored(Image.fromarray(image))
    np.testing.assert_array_equal(pixels(file, 1, 4, "center"), np.full((4, 4, 1), 255))
    padded = pixels(file, 1, 8, "pad")[..., 0]
    np.testing.assert_array_equal(padded[2:6], image[..., 0])
    assert padded[:2].sum() + padded[6:].sum() == 0
    stretched = pixels(file, 1, 4, "stretch")[..., 0]
    np.testing.assert_allclose(stretched[:, [0, 3]].mean(), 0, atol=30)
    np.testing.assert_allclose(stretched[:, 1:3].mean(), 255, atol=30)
    square = stored(Image.fromarray(COLOUR[:4, :4].copy()))
    np.testing.assert_array_equal(pixels(square, 3, 4), COLOUR[:4, :4])
    thin = stored(Image.new("L", (1, 10_000), 255))
    assert pixels(thin, 1, 8, "pad").shape == (8, 8, 1)


def bomb() -> io.BytesIO:
    """A PNG header that promises 30,000 × 30,000 pixels."""
    small = bytearray(stored(Image.new("L", (1, 1))).getvalue())
    import struct
    import zlib

    small[16:24] = struct.pack(">2I", 30_000, 30_000)
    small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    return io.BytesIO(bytes(small))


def float_tiff() -> io.BytesIO:
    return stored(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF")


def truncated(kind: str) -> io.BytesIO:
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
    return io.BytesIO(stored(noise, kind).getvalue()[:1500])


@pytest.mark.parametrize(
    ("file", "match"),
    [
        (io.BytesIO(b"just text"), "not one of PNG"),
        (truncated("PNG"), "damaged"),
        (truncated("JPEG"), "damaged"),
        (float_tiff(), "floats"),
        (stored(Image.fromarray(np.full((3, 3), 70_000, np.int32)), "TIFF"), "32-bit whole numbers"),
        (bomb(), "over 64,000,000"),
        (stored(Image.new("RGB", (8, 8)), "EPS"), "not one of PNG"),
        (stored(Image.new("RGB", (8, 8)), "PPM"), "not one of PNG"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(file, match):
    with pytest.raises(BadImage, match=match):
        pixels(file)


def test_damaged_exif_does_not_cost_the_image():
    file = stored(Image.new("RGB", (8, 8), "white"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert probe(file) == Header(8, 8, True)
    assert pixels(file).shape == (8, 8, 3)
