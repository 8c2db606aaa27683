"""Images in a folder, a tree of class folders or a zip archive."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DataError, ResourceError
from gannet.core.registry import SOURCES
from gannet.data.images import Crop
from gannet.data.layout import Layout, check_share, layout
from gannet.data.listing import Listing, listing, shown
from gannet.data.memory import MemorySource
from gannet.data.survey import Channels, OnBad, Survey


class ImageFiles(MemorySource):
    """Image files, decoded once to uint8 and kept in memory. Raises `ResourceError` if they would not fit.

    `listing(path)` finds the files, `layout(files, test)` reads their splits and classes.
    """

    listing: ClassVar[staticmethod[[str], Listing]]
    layout: ClassVar[staticmethod[[Any, float], Layout]]

    def __init__(self, survey: Survey, flip: bool):
        check_memory(survey)
        survey.check_splits()
        splits: list[dict[str, Tensor]] = []
        for names in survey.splits.values():
            pixels = np.empty((len(names), *survey.shape), dtype=np.uint8)
            done: list[str] = []
            for name, image in survey.decoded(names, "decoding"):
                pixels[len(done)] = image
                done.append(name)
            if not done:
                raise DataError(
                    f"{survey.files.path}: of its training or test images none can be read: {survey.told()}."
                )
            images = {"x": torch.from_numpy(pixels[: len(done)])}
            splits.append({**images, "y": torch.from_numpy(survey.numbers(done))} if survey.names else images)
        survey.judge()
        if survey.bad:
            warnings.warn(f"{survey.files.path}: skipped {survey.told()}.")
        super().__init__(splits[0], splits[1], [shown(name) for name in survey.names], flip=flip)

    @classmethod
    def survey(cls, *, path: str, test: float, **choice) -> Survey:
        """The files at `path`, before they are decoded; `choice` is what a `Survey` takes."""
        check_share(test)
        files = cls.listing(path)
        return Survey(files, cls.layout(files, test), **choice)


@SOURCES.register("folder")
class Folder(ImageFiles):
    """Images of a folder or zip: flat, in class folders, or labelled by a `dataset.json` in StyleGAN's format.

    All are decoded once, to uint8. Classes are the folders below `path`, or below `train/` and `test/` where both are
    there. Without `test/`, a share `test` of the images is held out, chosen by a hash of their names. `limit` keeps the
    first N training images in the order of that hash, and at most N test images; the others are not decoded.

    `size` makes squares as `crop` says: center cuts, pad adds black, stretch distorts. Without it all images must have
    one size, which stays. `channels=auto` is 3 if any image has colour, else 1; transparency is composited on white
    unless `channels=4`. `flip` adds the mirror image of every training image.

    Raises `DataError` for no images, labels that do not fit, sizes that differ and, unless `on_bad=skip`, unreadable
    files; `ResourceError` if the pixels would not fit in memory.
    """

    listing = staticmethod(listing)
    layout = staticmethod(layout)

    def __init__(
        self,
        *,
        path: str,
        size: int | None = None,
        crop: Crop = "center",
        flip: bool = False,
        channels: Channels = "auto",
        test: float = 0.1,
        on_bad: OnBad = "error",
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        choice = {"size": size, "crop": crop, "channels": channels, "on_bad": on_bad, "limit": limit, "labels": labels}
        super().__init__(self.survey(path=path, test=test, **choice), flip)


def check_memory(survey: Survey) -> None:
    """`ResourceError` if the pixels would take more than 80 % of the machine's memory (where that is known)."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    count = len(survey.headers)
    needed = count * math.prod(survey.shape)
    if needed > 0.8 * memory:
        asked = f"{count:,} images of {'×'.join(map(str, survey.shape))}"
        raise ResourceError(
            f"{survey.files.path}: {asked} need {needed / 2**30:.1f} GiB, this machine has {memory / 2**30:.1f}. "
            f"Use a smaller size= or a limit=, or pack them on disk with gannet data pack."
        )
