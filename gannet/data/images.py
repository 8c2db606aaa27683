"""Decoding one image file, with every awkward kind handled on purpose.

Read are PNG, JPEG, WebP, BMP, GIF and TIFF, told by their content and not by their name; of animations the first frame.
Transparency is composited on white unless four channels are wanted. 16-bit grey is scaled to 8 bits, not wrapped; the
EXIF rotation is applied; palettes, CMYK and YCbCr become RGB. Colour profiles are ignored. 32-bit whole numbers and
floats have no known range and are refused, as is anything over 64 million pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 64_000_000
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N")
Crop = Literal["center", "pad", "stretch"]


class BadImage(Exception):
    """A file that is no readable image; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known without decoding: the size after rotation, whether there is colour, and what decoding will
    have to do (`mode` is Pillow's name of how the pixels are stored; the last four take no part in comparisons)."""

    height: int
    width: int
    colour: bool
    mode: str = field(default="", compare=False)
    transparent: bool = field(default=False, compare=False)
    rotated: bool = field(default=False, compare=False)
    animated: bool = field(default=False, compare=False)

    @property
    def deep(self) -> bool:
        """More than eight bits a channel."""
        return self.mode.startswith("I;16")


_header = lru_cache(maxsize=4096)(Header)
"""A million files have a few kinds of header; each kind is kept once."""


def probe(file: BinaryIO) -> Header:
    """The header of an image file. Raises `BadImage`."""
    with _opened(file) as image:
        turn = _orientation(image)
        width, height = image.size[::-1] if turn >= 5 else image.size
        colour, transparent = _has_colour(image), image.has_transparency_data
        return _header(height, width, colour, image.mode, transparent, turn > 1, getattr(image, "is_animated", False))


def decode(file: BinaryIO, channels: int, size: int | None, crop: Crop) -> np.ndarray:
    """The pixels `[H, W, channels]` uint8; `size` × `size` if given. Raises `BadImage`.

    `crop` brings another shape to a square: center cuts the middle out, pad adds black (transparent for four channels)
    around, stretch distorts. Resampling is Lanczos's, antialiased.
    """
    with _opened(file) as image:
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        fitted = _to_mode(upright, MODES[channels])
        if size is not None:
            fitted = _to_square(fitted, size, crop)
        return np.array(fitted).reshape(fitted.height, fitted.width, channels)


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged EXIF and of large images; damage that matters and size are judged here.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BadImage(f"{image.width}×{image.height} pixels, over {MAX_PIXELS:,}")
                if image.mode in ("I", "F"):
                    kind = "32-bit whole numbers" if image.mode == "I" else "floats"
                    raise BadImage(f"pixels are {kind}, whose range is not known; convert it to 8 or 16 bits")
                yield image
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"over {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise BadImage(f"not one of {', '.join(FORMATS)}, or its header is damaged") from None
    except Exception as error:  # Decoders meet hostile bytes with every exception there is.
        raise BadImage(f"damaged: {str(error)[:80] or type(error).__name__}") from None


def _orientation(image: Image.Image) -> int:
    # A PNG's EXIF may stand behind its pixels, where asking for it would decode the whole image: that is left alone.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged EXIF, read by the same kind of code as pixels, does not cost a sound image.
        return 1
    return value if value in range(1, 9) else 1


def _has_colour(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return image.mode not in GREY


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion cuts values off at 255.
        deep = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert(mode)


def _to_square(image: Image.Image, size: int, crop: Crop) -> Image.Image:
    box = None
    width, height = size, size
    if crop == "center":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
    elif crop == "pad":
        scale = size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
    if (width, height) != image.size or box not in (None, (0, 0, *image.size)):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if (width, height) == (size, size):
        return image
    canvas = Image.new(image.mode, (size, size))
    canvas.paste(image, ((size - width) // 2, (size - height) // 2))
    return canvas
