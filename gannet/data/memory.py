"""Sets that fit in memory: tensors that are sliced and scaled in `take`, without worker processes or collation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import DataError, UsageError, unknown
from gannet.core.types import Batch, DataSpec, Field, Source

SplitName = Literal["train", "test"]


class MemorySplit:
    """Rows held as tensors. uint8 `[N, C, H, W]` is given out as float32 in [−1, 1], everything else as it is.

    With `flip` the set is twice as long: index i ≥ N is the mirror image of row i − N, so `take` stays a pure function
    of the indices. The fields named in `own` are second domains with rows and an order of their own: `take` leaves them
    out, `take_own` and `own_length` reach them.
    """

    def __init__(self, fields: Mapping[str, Tensor], flip: bool = False, own: Sequence[str] = ()):
        self.fields = {name: tensor.contiguous() for name, tensor in fields.items() if name not in own}
        self.own = {name: fields[name].contiguous() for name in own}
        self.rows = len(self.fields["x"])
        self.flip = flip

    def __len__(self) -> int:
        return self.rows * (1 + self.flip)

    def take(self, indices: Tensor) -> Batch:
        """Rows by index (`[B]` int64, any order, repeats allowed). `IndexError` for one outside 0 … len − 1."""
        if self.flip:
            _check_indices(indices, len(self))
        rows = indices % self.rows if self.flip else indices
        batch = {name: tensor.index_select(0, rows) for name, tensor in self.fields.items()}
        if self.flip:
            mirrored = (indices >= self.rows).view(-1, 1, 1, 1)
            for name in batch.keys() - {"y"}:
                batch[name] = torch.where(mirrored, batch[name].flip(-1), batch[name])
        return {name: scaled(rows) for name, rows in batch.items()}

    def own_length(self, name: str) -> int:
        """How many rows the unpaired field `name` has."""
        return len(self._unpaired(name))

    def take_own(self, name: str, indices: Tensor) -> Tensor:
        """Rows of the unpaired field `name` by its own index, `[B, *shape]` in its range."""
        return scaled(self._unpaired(name).index_select(0, indices))

    def _unpaired(self, name: str) -> Tensor:
        if name not in self.own:
            raise UsageError(unknown("unpaired field", name, self.own))
        return self.own[name]


class MemorySource(Source):
    """A source of two `MemorySplit`s, whose rows with three axes are images and all others points.

    `labels` keeps and renumbers classes in both splits, `limit` cuts the training rows only, `flip` doubles those.
    `own` names the unpaired fields, which none of them touches. Raises `DataError` if a split ends up empty.
    """

    def __init__(
        self,
        train: Mapping[str, Tensor],
        test: Mapping[str, Tensor],
        names: Sequence[str] = (),
        labels: Sequence[int | str] | None = None,
        limit: int | None = None,
        flip: bool = False,
        own: Sequence[str] = (),
    ):
        check_limit(limit)
        classes = class_numbers(labels, names)
        if labels is not None:
            train, test = keep_classes(train, classes, own), keep_classes(test, classes, own)
        train = {name: tensor if name in own else tensor[:limit] for name, tensor in train.items()}
        for split, rows in (("training", train), ("test", test)):
            if not len(rows["x"]):
                raise DataError(f"no {split} samples are left with labels={list(labels or ())}, limit={limit}.")
        self._splits = {"train": MemorySplit(train, flip, own), "test": MemorySplit(test, own=own)}
        fields = {n: _field(t, "own" if n in own else "x") for n, t in train.items() if n != "y"}
        kept = tuple(names[c] for c in classes) if "y" in train else ()
        self.spec = DataSpec(fields, len(kept), kept)

    def split(self, name: str) -> MemorySplit:
        """ "train" or "test"; any other name is a `UsageError`."""
        if name not in self._splits:
            raise UsageError(unknown("split", name, self._splits))
        return self._splits[name]

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of BLAKE2b over the names, shapes and bytes of every tensor of both splits."""
        digest = hashlib.blake2b(repr((self.spec.names, self.split("train").flip)).encode(), digest_size=8)
        for split in self._splits.values():
            for name, tensor in sorted((split.fields | split.own).items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.numpy().data.cast("B"))
        return digest.hexdigest()


def _field(rows: Tensor, order: str) -> Field:
    shape = tuple(rows.shape[1:])
    return Field(shape, order=order) if len(shape) == 3 else Field(shape, "points", None, order)


def scaled(rows: Tensor) -> Tensor:
    """uint8 0 … 255 as float32 −1 … 1, exact at both ends; other types unchanged."""
    return rows.float().div_(127.5).sub_(1) if rows.dtype == torch.uint8 else rows


def padded(images: Tensor, size: int | None) -> Tensor:
    """`[N, C, H, W]` in the middle of a black canvas `[N, C, size, size]`; unchanged for `None`.

    Pixels are not resampled, so nothing is blurred. Raises `UsageError` for a canvas smaller than the images.
    """
    if size is None:
        return images
    height, width = images.shape[-2:]
    if size < max(height, width):
        raise UsageError(
            f"size={size} cannot hold {height}×{width} images, which it pads; use {max(height, width)} or more."
        )
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(images, (left, size - width - left, top, size - height - top))


def check_limit(limit: int | None) -> None:
    """`UsageError` for a limit below 1."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit} keeps no samples; use 1 or more, or leave it out to keep all.")


def class_numbers(labels: Sequence[int | str] | None, names: Sequence[str]) -> list[int]:
    """The numbers of the wanted classes, in the order asked for; all of them for `None`.

    A label is a class name, or else a class number. Raises `UsageError` for one that does not exist or comes twice.
    """
    if labels is None:
        return list(range(len(names)))
    if not names:
        raise UsageError(f"labels={list(labels)} asks for classes, but this data has no labels; leave labels= out.")
    if not labels:
        raise UsageError(f"labels=[] keeps no class; allowed: {', '.join(names[:20])}.")
    numbers = []
    for label in labels:
        if str(label) in names:
            numbers.append(list(names).index(str(label)))
        elif isinstance(label, int) and 0 <= label < len(names):
            numbers.append(label)
        else:
            raise UsageError(unknown("label", str(label), names))
        if numbers.count(numbers[-1]) > 1:
            raise UsageError(f"labels={list(labels)} names the class {names[numbers[-1]]} twice; write it once.")
    return numbers


def keep_classes(fields: Mapping[str, Tensor], classes: Sequence[int], own: Sequence[str] = ()) -> dict[str, Tensor]:
    """The rows whose `y` is in `classes`, with `y` renumbered to the place in that list."""
    table = torch.full((max(int(fields["y"].max()), *classes) + 1,), -1)
    table[list(classes)] = torch.arange(len(classes))
    y = table[fields["y"]]
    rows = (y >= 0).nonzero().squeeze(1)
    return {**{name: tensor if name in own else tensor[rows] for name, tensor in fields.items()}, "y": y[rows]}


def _check_indices(indices: Tensor, length: int) -> None:
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= length):
        raise IndexError(f"indices {int(indices.min())} … {int(indices.max())} of a split of {length} rows")
