"""A source of which only a few labels are known, for semi-supervised learning."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import generator
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.core.types import Batch, Source, Split

DIGITS = Spec("digits")
CHUNK = 4096


class FewLabelsSplit:
    """The rows of `split`, with y = −1 for those that are not `known` `[N]`."""

    def __init__(self, split: Split, known: Tensor):
        self.whole, self.known = split, known

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, indices: Tensor) -> Batch:
        """Rows by index, as the whole split gives them but for labels that are not known."""
        batch = self.whole.take(indices)
        return {**batch, "y": batch["y"].where(self.known[indices], -1)}


@SOURCES.register("few-labels")
class FewLabels(Source):
    """The source `of` with `labels` labelled training rows, as many of each class; all others have y = −1, unknown.

    The labelled rows are the first of their class in the order of the source or, with a `seed`, in a random order that
    follows from it. Test rows keep their labels. What conditions on a label cannot use it: it is meant for the task
    semi-supervised. Raises `UsageError` for a source without labels or with an unpaired field, and for a number of
    `labels` that the classes cannot share or do not have.
    """

    partly_labelled = True
    whole: Source

    def __init__(self, *, of: Spec = DIGITS, labels: int = 100, seed: int | None = None):
        self.whole = SOURCES.build(of, where="of")
        self.spec = self.whole.spec
        if not self.spec.classes:
            raise UsageError(f"few-labels(of={of}): that source has no labels to keep a few of. Use digits or mnist.")
        if any(field.order == "own" for field in self.spec.fields.values()):
            raise UsageError(
                f"few-labels(of={of}): that source has a second, unpaired domain. Use one of images alone."
            )
        each, rest = divmod(labels, self.spec.classes)
        if rest or each < 1:
            near = max(1, each) * self.spec.classes
            raise UsageError(
                f"few-labels: labels={labels} cannot be shared evenly by {self.spec.classes} classes. "
                f"Use labels={near} or labels={near + self.spec.classes}."
            )
        train = self.whole.split("train")
        y = torch.cat([train.take(part)["y"] for part in torch.arange(len(train)).split(CHUNK)])
        self.train = FewLabelsSplit(train, _few(y, self.spec.classes, each, seed))

    def split(self, name: str) -> Split:
        """ "train" or "test"; any other name is a `UsageError`."""
        return self.train if name == "train" else self.whole.split(name)

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of BLAKE2b over the whole source's and which rows are labelled."""
        digest = hashlib.blake2b(self.whole.fingerprint().encode(), digest_size=8)
        digest.update(self.train.known.numpy().data.cast("B"))
        return digest.hexdigest()


def _few(y: Tensor, classes: int, each: int, seed: int | None) -> Tensor:
    """Which rows `[N]` are the first `each` of their class, in their own order or one drawn from `seed`."""
    order = torch.arange(len(y)) if seed is None else torch.randperm(len(y), generator=generator(seed, "few-labels"))
    known = torch.zeros(len(y), dtype=torch.bool)
    for label in range(classes):
        rows = order[y[order] == label][:each]
        if len(rows) < each:
            raise UsageError(
                f"few-labels: class {label} has {len(rows)} training rows, and labels={each * classes} wants {each} of "
                f"each. Use labels={max(1, len(rows)) * classes} or fewer."
            )
        known[rows] = True
    return known
