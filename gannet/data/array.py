"""Arrays as data: `.npy` and `.npz` files, or arrays handed over in Python."""

from __future__ import annotations

import dataclasses
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DataError, UsageError, nearest
from gannet.core.registry import SOURCES
from gannet.core.types import Field
from gannet.data.memory import MemorySource

Range = Literal["auto", "0..1", "-1..1", "0..255"]
Layout = Literal["auto", "hwc", "chw"]
Scale = Literal["auto", "columns", "none"]
KEYS = ("x", "y", "given")
CHANNELS = (1, 3, 4)
FAR, NEAR = 10.0, 0.01
"""Points keep their values where no column's mean or deviation is over the first, and no deviation below the second:
what networks and penalties are made for."""
LARGEST = 1e30
"""Beyond it squares and sums of numbers are no longer finite in fp32."""
BOUNDS = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}


@SOURCES.register("array")
class ArraySource(MemorySource):
    """A `.npy` file, or a `.npz` file with `x` and, if wanted, `y` `[N]` whole numbers and `given` (paired with `x`).

    `x` and `given` are images `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]`, or points `[N, D]`. uint8 images are
    0 … 255; floats need a range, which `auto` accepts only where the values leave no doubt. Points whose columns have
    means or deviations above 10 or deviations below 0.01 are standardised column by column, and samples of them come
    back in the units of the file: `scale` says that for all (`columns`) or for none.
    A fixed random share `test` of the rows is held out. Object arrays are never loaded. Raises `DataError` naming the
    first bad index.
    """

    def __init__(
        self,
        *,
        path: str,
        range: Range = "auto",
        layout: Layout = "auto",
        scale: Scale = "auto",
        test: float = 0.1,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        self._fill(_load(Path(path).expanduser()), path, range, layout, scale, test, limit, labels)

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any = None,
        given: Any = None,
        *,
        range: Range = "auto",
        layout: Layout = "auto",
        scale: Scale = "auto",
        test: float = 0.1,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ) -> ArraySource:
        """The same from NumPy arrays or CPU tensors."""
        arrays = {"x": x, "y": y, "given": given}
        source = cls.__new__(cls)
        found = {k: np.asarray(v) for k, v in arrays.items() if v is not None}
        source._fill(found, "the array", range, layout, scale, test, limit, labels)
        return source

    def _fill(
        self,
        arrays: dict[str, np.ndarray],
        origin: str,
        range: Range,
        layout: Layout,
        scale: Scale,
        test: float,
        limit: int | None,
        labels: tuple[int | str, ...] | None,
    ) -> None:
        if not 0 < test < 1:
            raise UsageError(f"test={test} is not a share; use a number between 0 and 1, such as 0.1.")
        n = len(arrays["x"]) if arrays["x"].ndim else 0
        for key, array in arrays.items():
            if array.ndim and len(array) != n:
                raise DataError(
                    f"{origin}: {key} has {len(array):,} rows, x has {n:,}: index {min(n, len(array)):,} is alone."
                )
        if n < 2:
            raise DataError(f"{origin}: {n} samples; at least 2 are needed, one of them to hold out.")
        fields = {k: as_tensor(a, f"{origin}: {k}", range, layout) for k, a in arrays.items() if k != "y"}
        names: list[str] = []
        if "y" in arrays:
            fields["y"], names = as_labels(arrays["y"], f"{origin}: y")
        order = torch.from_numpy(np.random.RandomState(0).permutation(n))
        held = min(n - 1, max(1, round(test * n)))
        units = {}
        for key, rows in fields.items():
            if key != "y" and rows.dim() == 2:
                units[key] = _units(rows[order[held:]], f"{origin}: {key}", scale)
                field = Field(tuple(rows.shape[1:]), "points", None, units=units[key])
                fields[key] = field.standardised(rows).float()
        train, rest = ({k: t[rows] for k, t in fields.items()} for rows in (order[held:], order[:held]))
        super().__init__(train, rest, names, labels, limit)
        known = {k: dataclasses.replace(f, units=units.get(k, ())) for k, f in self.spec.fields.items()}
        self.spec = dataclasses.replace(self.spec, fields=known)


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.np[yz]")]) if path.parent.is_dir() else []
        raise DataError(f"{path} is not a file." + (f" Did you mean: {', '.join(close)}?" if close else ""))
    try:
        # Never with allow_pickle: an object array runs code when it is loaded.
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded:
            found = list(loaded.files)
            strange = [key for key in found if key not in KEYS]
            if "x" not in found or strange:
                raise DataError(f"{path} holds {', '.join(found) or 'nothing'}; it must hold x, may hold y and given.")
            return {key: loaded[key] for key in found}
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, MemoryError, NotImplementedError) as error:
        reason = str(error)[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read as .npy or .npz without objects: {reason}.") from None


def as_tensor(array: np.ndarray, where: str, range: Range, layout: Layout) -> Tensor:
    """`array` as images `[N, C, H, W]`, uint8 or float32 in [−1, 1], or as points `[N, D]`, float64 as they are.

    Raises `DataError` for another rank or type, for values that are not finite, out of range, or all the same.
    """
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} has type {array.dtype}; use uint8, another whole number type, or floats.")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise DataError(f"{where} has shape {array.shape}; use images [N, H, W(, C)], [N, C, H, W] or points [N, D].")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            share = f"{bad.sum():,} of {len(array):,} samples"
            raise DataError(f"{where}: {share} are not finite, first at index {bad.argmax()}.")
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise DataError(f"{where}: every value is {low:g}; there is nothing to learn.")
    if array.ndim == 2:
        if max(abs(low), abs(high)) > LARGEST:
            raise DataError(f"{where}: values reach {low:.3g} … {high:.3g}, beyond {LARGEST:g}. Rescale them.")
        return torch.from_numpy(np.array(array, dtype=np.float64))
    images = torch.from_numpy(np.ascontiguousarray(_channels_first(array, where, layout)))
    if array.dtype == np.uint8 and range in ("auto", "0..255"):
        return images
    lower, upper = BOUNDS[_range_of(array, low, high, where, range)]
    return images.float().sub_(lower).mul_(2 / (upper - lower)).sub_(1).clamp_(-1, 1)


def _units(train: Tensor, where: str, scale: Scale) -> tuple[tuple[float, float], ...]:
    """Mean and deviation of every column of the training rows `[N, D]`, empty where they are to stay as they are.
    A column of one value keeps its unit."""
    means, deviations = train.mean(0), train.std(0, correction=0)
    constant = train.amax(0) == train.amin(0)  # rounding may leave it a deviation
    varying = deviations[~constant]
    if scale == "none" or not len(varying):
        return ()
    usual = max(float(means.abs().max()), float(varying.max())) <= FAR and float(varying.min()) >= NEAR
    if scale == "auto" and usual:
        return ()
    if scale == "auto":
        warnings.warn(
            f"{where}: columns have means up to {float(means.abs().max()):.3g} and deviations from "
            f"{float(varying.min()):.3g} to {float(varying.max()):.3g}, so each is standardised, and samples come back "
            f"in these units. scale=none keeps the values, scale=columns says nothing."
        )
    deviations[constant] = 1
    return tuple(zip(means.tolist(), deviations.tolist(), strict=True))


def _channels_first(array: np.ndarray, where: str, layout: Layout) -> np.ndarray:
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
    if layout == "auto" and first == last:
        doubt = "both the second and the last axis" if first else "neither the second nor the last axis"
        raise DataError(f"{where} has shape {array.shape}: {doubt} can be 1, 3 or 4 channels; say layout=hwc or chw.")
    if layout == "chw" or (layout == "auto" and first):
        return array
    return array.transpose(0, 3, 1, 2)


def _range_of(array: np.ndarray, low: float, high: float, where: str, range: Range) -> str:
    """The declared range once the values are known to fit it, or the only one they fit."""
    if range != "auto":
        lower, upper = BOUNDS[range]
        if low < lower or high > upper:
            bad = ((array < lower) | (array > upper)).reshape(len(array), -1).any(axis=1)
            raise DataError(
                f"{where}: values reach {low:g} … {high:g}, outside range={range}, in {bad.sum():,} samples, first at "
                f"index {bad.argmax()}. Rescale or clip them, or declare another of {', '.join(BOUNDS)}."
            )
        return range
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return "0..1"
    if array.dtype.kind == "f" and low < 0 and low >= -1 and high <= 1:
        return "-1..1"
    raise DataError(
        f"{where}: {array.dtype} values from {low:g} to {high:g} could be meant in several ways; declare range= as "
        f"one of {', '.join(BOUNDS)}, and rescale or clip the values if they do not fit."
    )


def as_labels(y: np.ndarray, where: str) -> tuple[Tensor, list[str]]:
    """Labels `[N]` renumbered to 0 … k−1 in rising order, and the values they had as names."""
    if y.ndim != 1:
        raise DataError(f"{where} has shape {y.shape}; use one whole number a sample, [N] (one-hot: y.argmax(1)).")
    if y.dtype.kind not in "bui":
        raise DataError(f"{where} has type {y.dtype}, first value {y[0]!r} at index 0; labels are whole numbers.")
    if y.min() < 0:
        raise DataError(f"{where}: label {y.min()} at index {int(y.argmin())}; labels start at 0.")
    values, numbers = np.unique(y.astype(np.int64), return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64)), [str(v) for v in values]
