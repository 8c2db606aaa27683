"""CIFAR-10 as JPEG files in a zip, decoded once and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor
from tqdm import tqdm

from gannet.core.errors import DataError
from gannet.core.registry import SOURCES
from gannet.data.cifar10 import JPEGS, NAMES, SIDE, luma
from gannet.data.download import cache_home, placed
from gannet.data.images import decode
from gannet.data.listing import Archive, shown
from gannet.data.memory import MemorySource, SplitName, check_limit, class_numbers
from gannet.data.survey import UNREADABLE, reason

ARCHIVE = JPEGS
ABOUT = (
    "It is a zip of train/<class>/*.jpg and test/<class>/*.jpg, 32×32, with the ten classes of CIFAR-10. "
    "The lossless original is the source cifar10, which is downloaded where it is missing."
)


@SOURCES.register("cifar10-jpg")
class Cifar10Jpg(MemorySource):
    """CIFAR-10 that went through JPEG, 32×32 RGB, ten classes: compare scores only with scores on the same files.

    Read from `$GANNET_DATA/cifar10-jpg.zip`, which holds `train/<class>/*.jpg` and `test/<class>/*.jpg`. The order goes
    round the classes, so any `limit` holds as many of each. Images are decoded where they are wanted, and remembered in
    the user's cache for the archive's content and the choice of `labels` and `limit`. `grey` keeps the luma only,
    `flip` adds the mirror image of every training image. Raises `DataError` naming the archive and the file in it.
    """

    def __init__(
        self,
        *,
        grey: bool = False,
        flip: bool = False,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        check_limit(limit)
        kept = sorted(class_numbers(labels, NAMES))
        path = placed(ARCHIVE, ABOUT)
        train, test = _remembered(path, "train", kept, limit), _remembered(path, "test", kept, None)
        if grey:
            train, test = ({**rows, "x": luma(rows["x"])} for rows in (train, test))
        super().__init__(train, test, NAMES, labels, None, flip)


def _remembered(path: Path, split: SplitName, classes: Sequence[int], limit: int | None) -> dict[str, Tensor]:
    """The decoded rows from the cache, else from the archive and then put there."""
    # Imported late, as everything that only one source needs.
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    with open(path, "rb") as file:
        content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    content.update(repr((split, list(classes), limit)).encode())
    cached = cache_home() / "cifar10-jpg" / f"{content.hexdigest()}.safetensors"
    with contextlib.suppress(OSError, SafetensorError):  # what is missing or damaged there is made anew
        rows = load_file(cached)
        if set(rows) == {"x", "y"} and len(rows["x"]) == len(rows["y"]):
            return rows
    rows = _decoded(path, split, classes, limit)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            save_file(rows, Path(folder, "rows"))
            os.replace(Path(folder, "rows"), cached)
    except (OSError, SafetensorError) as error:
        warnings.warn(f"{cached}: the decoded images could not be kept for the next start ({error}).")
    return rows


def _decoded(path: Path, split: SplitName, classes: Sequence[int], limit: int | None) -> dict[str, Tensor]:
    files = Archive(path)
    if files.refused:
        name, why = next(iter(files.refused.items()))
        raise DataError(f"{path}: {shown(name)} is not read: {why}.")
    chosen = [(name, number) for name, number in _in_turn(files, split) if number in classes][:limit]
    x = torch.empty(len(chosen), 3, SIDE, SIDE, dtype=torch.uint8)
    bar = tqdm(chosen, f"decoding {split}", unit=" images", delay=2, leave=False, disable=None)
    for row, (name, _) in zip(x, bar, strict=True):
        try:
            with files.open(name) as file:
                image = torch.from_numpy(decode(file, channels=3, size=None, crop="center"))
        except (*UNREADABLE, EOFError) as error:
            raise DataError(f"{path}: {shown(name)} cannot be read ({reason(error) or 'it ends too early'}).") from None
        if image.shape != (SIDE, SIDE, 3):
            raise DataError(f"{path}: {shown(name)} has {image.shape[0]}×{image.shape[1]} pixels, not {SIDE}×{SIDE}.")
        row.copy_(image.permute(2, 0, 1))
    return {"x": x, "y": torch.tensor([number for _, number in chosen], dtype=torch.int64)}


def _in_turn(files: Archive, split: SplitName) -> list[tuple[str, int]]:
    """Names and class numbers of a split: the first image of every class, the second of every class, and so on."""
    found: dict[int, list[str]] = {number: [] for number in range(len(NAMES))}
    for name in sorted(files.images):
        parts = PurePosixPath(name).parts
        if len(parts) != 3 or parts[0] not in ("train", "test") or parts[1] not in NAMES:
            raise DataError(f"{files.path}: {shown(name)} is not train/<class>/*.jpg or test/<class>/*.jpg. {ABOUT}")
        if parts[0] == split:
            found[NAMES.index(parts[1])].append(name)
    turns = [(place, number, name) for number, names in found.items() for place, name in enumerate(names)]
    return [(name, number) for _, number, name in sorted(turns)]
