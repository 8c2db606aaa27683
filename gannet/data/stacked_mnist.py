"""Stacked MNIST: three digits in the channels of one image, a thousand modes that can be counted."""

from __future__ import annotations

import torch
from torch import Tensor

from gannet.core.random import mix
from gannet.core.registry import SOURCES
from gannet.core.types import Batch, DataSpec, Field
from gannet.data.counter import MadeSource, MadeSplit, check_count
from gannet.data.memory import MemorySplit
from gannet.data.mnist import Mnist

TEST = 26_000
CHANNELS = 3


class StackedSplit(MadeSplit):
    """Three rows of `digits` a row, drawn independently and with replacement."""

    columns = CHANNELS

    def __init__(self, name: str, rows: int, key: int, digits: MemorySplit):
        super().__init__(name, rows, key)
        self.digits = digits

    def take(self, indices: Tensor) -> Batch:
        rows = torch.from_numpy(self.numbers(indices) * len(self.digits)).long()  # [B, 3]
        found = self.digits.take(rows.flatten())
        x = found["x"].view(len(rows), CHANNELS, *found["x"].shape[-2:])
        return {"x": x, "y": found["y"].view(-1, CHANNELS) @ torch.tensor([100, 10, 1])}


@SOURCES.register("stacked-mnist")
class StackedMnist(MadeSource):
    """Three random MNIST digits as red, green and blue: 1,000 classes, y = 100a + 10b + c, named "000" … "999".

    The benchmark of mode collapse of Metz et al. (2017), with the 128,000 training images of VEEGAN (Srivastava et al.,
    2017) and PacGAN (Lin et al., 2018) and 26,000 test images. Training images are made of training digits, test images
    of test digits; which, follows from `seed` and the index alone, so `count` costs no memory and a larger one begins
    with a smaller one's rows. `size` pads with background to size × size. The digits come from the source mnist, and so
    do its errors.
    """

    def __init__(self, *, count: int = 128_000, size: int | None = None, seed: int = 0):
        check_count(count)
        digits = Mnist(size=size)
        key = mix(seed, "stacked-mnist")
        splits: list[MadeSplit] = [
            StackedSplit(name, rows, key, digits.split(name)) for name, rows in (("train", count), ("test", TEST))
        ]
        names = tuple(f"{number:03d}" for number in range(1000))
        spec = DataSpec({"x": Field((CHANNELS, *digits.spec.shape[-2:]))}, len(names), names)
        super().__init__(spec, splits, f"stacked-mnist {digits.fingerprint()}")
