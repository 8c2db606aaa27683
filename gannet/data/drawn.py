"""Points of one's own: drawn by hand, in the text of a CSV file, or scattered as dark as an image is."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gannet.core.errors import DataError, ResourceError
from gannet.core.random import mix
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.data.array import ArraySource, Scale
from gannet.data.images import BadImage, decode, probe
from gannet.data.plane import Density, gaussians

MAX_ROWS = 100_000
MAX_TEXT = 16 << 20
MAX_IMAGE = 8 << 20
MAX_PIXELS = 16_000_000
SIDE = 256
"""Longest side, in pixels, of the image that points are scattered over."""
FILE = "points.npy"
NUMERIC = tuple("0123456789+-.")
"""What a number begins with, and a name of a column does not."""


class Drawn(ArraySource):
    """Points handed over in memory: `rows` `[n, 1]` or `[n, 2]`, finite, 2 … 100,000 of them.

    Its canonical form, fp32 without negative zeros, is what is trained on and hashed, and what `save` writes: the
    source read back from there has the same rows, splits and fingerprint. `density` is p(x), where it is known.
    Raises `DataError` for other shapes, numbers that are not finite and rows that are all the same.
    """

    def __init__(self, rows: Any, density: Density | None = None, origin: str = "the points"):
        self.rows = _canonical(rows, origin, least=2)
        self._fill({"x": self.rows}, origin, "auto", "auto", "none", 0.1, None, None)
        self.density = density
        self.view = _view(self.rows)

    def save(self, directory: Path) -> Spec:
        """Write the points into `directory` and return what stands after `data=` to read them from there.

        The file has one name and appears whole or not at all. Raises `ResourceError` if it cannot be written.
        """
        path = Path(directory) / FILE
        partial = path.with_suffix(".partial")
        try:
            with open(partial, "wb") as stream:
                np.save(stream, self.rows, allow_pickle=False)
            os.replace(partial, path)
        except OSError as error:
            raise ResourceError(f"{path} could not be written: {error.strerror or error}. Free space.") from error
        return saved(path)


def saved(path: Path | str) -> Spec:
    """What stands after `data=` to read saved points from `path`: the very numbers, whatever their size."""
    return Spec("array", (), {"path": str(path), "scale": "none"})


@SOURCES.register("csv")
class Csv(ArraySource):
    """Points in a text file: as many numbers in every line, between commas, semicolons, tabs or blanks.

    A first line of names is passed over. `scale`, `test` and `limit` are those of the source array. Raises `DataError`
    naming the first bad line.
    """

    def __init__(self, *, path: str, scale: Scale = "auto", test: float = 0.1, limit: int | None = None):
        file = Path(path).expanduser()
        try:
            if file.stat().st_size > MAX_TEXT:
                raise DataError(f"{path} has {file.stat().st_size:,} bytes; at most {MAX_TEXT:,} are read.")
            text = file.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is no text in UTF-8; save it as CSV in UTF-8.") from None
        # Without negative zeros, as points handed over in memory are.
        self._fill({"x": parse_csv(text, path, widest=None) + 0.0}, path, "auto", "auto", scale, test, limit, None)


def parse_csv(text: str, origin: str = "the CSV text", widest: int | None = 2) -> np.ndarray:
    """Points `[n, D]` fp64, D at most `widest`, from lines of numbers between commas, semicolons, tabs or blanks.

    The first line may hold names instead. Raises `DataError` naming the line for other numbers of columns, what is no
    finite number, fewer than 2 and more than 100,000 rows.
    """
    if len(text) > MAX_TEXT:
        raise DataError(f"{origin} has {len(text):,} characters; at most {MAX_TEXT:,} are read.")
    stream = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    # Millions of lines are not held only to be refused.
    lines = list(islice(((number, line) for number, line in enumerate(stream, 1) if line.strip()), MAX_ROWS + 2))
    if lines and not any(_is_number(cell) or cell[:1] in NUMERIC for cell in _cells(lines[0][1])):
        lines = lines[1:]
    if not 2 <= len(lines) <= MAX_ROWS:
        count = f"over {MAX_ROWS:,}" if len(lines) > MAX_ROWS else str(len(lines))
        raise DataError(f"{origin} has {count} rows of numbers; use 2 … {MAX_ROWS:,}.")
    width = len(_cells(lines[0][1]))
    fits = widest is None or width <= widest
    rows = []
    for number, line in lines:
        cells = _cells(line)
        if len(cells) != width or not fits:
            wanted = f"{width}, as in line {lines[0][0]}" if fits else f"at most {widest}"
            raise DataError(f"{origin}, line {number}: {len(cells)} columns; use {wanted}. Decimals take a point: 0.5.")
        for cell in cells:
            if not _is_number(cell) or not math.isfinite(float(cell)):
                raise DataError(f"{origin}, line {number}: '{cell[:40]}' is not a finite number, such as 0.5 or -1e-3.")
        rows.append([float(cell) for cell in cells])
    return np.array(rows, dtype=np.float64)


def _cells(line: str) -> list[str]:
    mark = next((mark for mark in (";", "\t", ",") if mark in line), None)
    return [cell.strip().strip('"') for cell in line.strip(" \n").split(mark)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def strokes(points: Sequence[Sequence[float]], n: int = 12_000, noise: float = 0.02, seed: int = 0) -> Drawn:
    """A drawing: n rows, each one of `points` `[k, 1 | 2]` picked at random, moved by N(0, noise²) on every axis.

    `noise` is in the unit of the points, above 0. Raises what `Drawn` raises, and `DataError` for no points or more
    than 100,000.
    """
    if not (2 <= n <= MAX_ROWS and 0 < noise < math.inf):
        raise DataError(f"a drawing of n={n} rows with noise={noise:g}: use 2 … {MAX_ROWS:,} rows and a noise above 0.")
    touched = _canonical(points, "the drawing", least=1).astype(np.float64)
    rng = np.random.default_rng(mix(seed, "drawing"))
    rows = touched[rng.integers(len(touched), size=n)] + noise * rng.standard_normal((n, touched.shape[1]))
    return Drawn(rows, gaussians(touched, noise), "the drawing")


def scattered(image: bytes, n: int = 12_000, seed: int = 0) -> Drawn:
    """Points as dense as the image (PNG, or another kind that folders may hold) is dark, at most 8 MB and 16 million
    pixels of it. Raises `DataError` for what cannot be read and for an image that is white all over."""
    if not 2 <= n <= MAX_ROWS:
        raise DataError(f"n={n} points of an image: use 2 … {MAX_ROWS:,}.")
    darkness = Darkness(image)
    return Drawn(darkness.draw(n, np.random.default_rng(mix(seed, "image"))), darkness, "the image")


class Darkness:
    """An image as a density in the plane: its middle at 0, its longer side from −1 to 1, upright.

    `share` `[H, W]` is the mass of every pixel, spread evenly over it; the longer side has at most 256 pixels, which
    are means of the image's own. Transparent is white.
    """

    def __init__(self, image: bytes):
        if len(image) > MAX_IMAGE:
            raise DataError(f"the image has {len(image):,} bytes; at most {MAX_IMAGE:,} are read. Save it smaller.")
        try:
            # The header first: what would expand to more is never decoded.
            header = probe(io.BytesIO(image))
            if header.width * header.height > MAX_PIXELS:
                raise BadImage(f"{header.width}×{header.height} pixels, over {MAX_PIXELS:,}")
            grey = Image.fromarray(decode(io.BytesIO(image), 1, None, "center")[:, :, 0])
        except BadImage as error:
            raise DataError(f"the image cannot be read: {error}.") from None
        shrink = min(1.0, SIDE / max(grey.size))
        width, height = (max(1, round(side * shrink)) for side in grey.size)
        dark = 255.0 - np.asarray(grey.resize((width, height), Image.Resampling.BOX), dtype=np.float64)
        if dark.sum() == 0:
            raise DataError("the image is white all over; points fall where it is dark, so draw something on it.")
        self.share = dark / dark.sum()
        self.pixel = 2 / max(width, height)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n points `[n, 2]`."""
        height, width = self.share.shape
        ends = np.cumsum(self.share.ravel())
        place = np.searchsorted(ends, rng.random(n) * ends[-1], side="right")
        row, column = np.divmod(np.minimum(place, ends.size - 1), width)
        inside = rng.random((n, 2))
        corner = np.stack([column - width / 2, height / 2 - row - 1], axis=1)
        return (corner + inside) * self.pixel

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The density at every row of `x` `[n, 2]`: `[n]`, 0 outside the image."""
        height, width = self.share.shape
        column = np.floor(x[:, 0] / self.pixel + width / 2).astype(int)
        row = height - 1 - np.floor(x[:, 1] / self.pixel + height / 2).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        found = self.share[np.where(inside, row, 0), np.where(inside, column, 0)] / self.pixel**2
        return np.where(inside, found, 0.0)


def _canonical(rows: Any, origin: str, least: int) -> np.ndarray:
    """`rows` as fp32 `[n, 1 | 2]` without negative zeros, so that equal points have equal bytes."""
    try:
        given = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{origin}: use rows of one or two numbers, such as [[0.1, 0.2], [0.3, 0.4]].") from None
    if given.ndim != 2 or given.shape[1] not in (1, 2) or not least <= len(given) <= MAX_ROWS:
        shape = list(given.shape)
        raise DataError(f"{origin}: received shape {shape}; use {least} … {MAX_ROWS:,} rows of 1 or 2 numbers.")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(given, dtype=np.float32) + np.float32(0)
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        raise DataError(
            f"{origin}: {bad.sum():,} of {len(found):,} rows are not finite in fp32, first row {bad.argmax()}."
        )
    return found


def _view(rows: np.ndarray) -> tuple[float, float]:
    """An interval of every axis that shows all `rows`, with a tenth to spare on either side."""
    low, high = float(rows.min()), float(rows.max())
    spare = 0.1 * (high - low)
    return low - spare, high + spare
