"""Extractors that need no labels and no weights from elsewhere; distances in their features are never called FID.

They run on the CPU in fp32, so a number does not depend on where the generator was trained.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from gannet.core import random
from gannet.core.errors import UsageError
from gannet.core.parts import Extractor
from gannet.core.registry import EXTRACTORS
from gannet.core.types import Source


def size_text(shape: tuple[int, ...]) -> str:
    """`8x8` for `(1, 8, 8)`, `2` for `(2,)`."""
    return "x".join(str(n) for n in (shape[1:] if len(shape) == 3 else shape))


def shape_text(shape: tuple[int, ...]) -> str:
    """`1×28×28`, for messages."""
    return "×".join(str(n) for n in shape)


@EXTRACTORS.register("pixels")
class Pixels(Extractor):
    """The samples themselves, flattened: right for points; on images it sees brightness and position, not content."""

    name = "pixels"

    def __init__(self, shape: tuple[int, ...]):
        self.shape = tuple(shape)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    @property
    def protocol(self) -> str:
        return f"{self.name},{size_text(self.shape)}"


@EXTRACTORS.register("random-conv")
class RandomConvolution(Extractor):
    """Activations of an untrained convolutional network with fixed seeded weights, for images of any size and channels.

    Each stage is a 3×3 convolution, a leaky ReLU and a halving; every stage gives its mean over a 2×2 grid of regions,
    so features hold texture, coarse place and scale. Random networks rank generators much as trained ones do (Naeem et
    al. 2020, arXiv 2002.09797). No resize. Raises `UsageError` for samples that are no images.
    """

    name = "random-conv"

    def __init__(self, shape: tuple[int, ...], *, seed: int = 0, width: int = 8):
        if len(shape) != 3:
            raise UsageError(f"random-conv reads images [C, H, W], the samples are {list(shape)}. Use pixels.")
        if width < 1:
            raise UsageError(f"random-conv: width={width}; the first stage needs at least 1 channel, 8 is usual.")
        self.shape = tuple(shape)
        draw = random.generator(seed, "random-conv")
        stages = min(
            4, max(1, min(shape[1:]).bit_length() - 2)
        )  # the last stage works on 4×4 or more, where there is room
        channels = [shape[0], *(width << i for i in range(stages))]
        self.weights = {}
        for i, (fan, out) in enumerate(pairwise(channels)):
            self.weights[f"{i}.weight"] = torch.randn(out, fan, 3, 3, generator=draw) * (2 / (9 * fan)) ** 0.5
            self.weights[f"{i}.bias"] = torch.randn(out, generator=draw) * 0.1
        self.stages = stages
        self.sha256 = hashlib.sha256(safetensors.torch.save(self.weights)).hexdigest()

    def features(self, x: Tensor) -> Tensor:
        found = []
        for i in range(self.stages):
            x = nn.functional.conv2d(x, self.weights[f"{i}.weight"], self.weights[f"{i}.bias"], padding=1)
            x = nn.functional.leaky_relu(x, 0.2)
            found.append(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))  # [B, 4·C]
            x = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
        return torch.cat(found, dim=1)

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},{size_text(self.shape)}"


@EXTRACTORS.register("pca")
class PrincipalComponents(Extractor):
    """Projections of the flattened samples on the first principal components of the source's training rows, in fp64.

    Of all linear features so many, these keep the most of the variance: pixels, in numbers a Fréchet distance can be
    taken of. They are fitted on up to 4,096 training rows at even distances (fewer of large images), whose hash is part
    of the protocol. Signs of components are arbitrary, and no distance depends on them. Raises `UsageError` for more
    components than the rows or the samples have.
    """

    name = "pca"
    wants_source: ClassVar[bool] = True
    ROWS, NUMBERS = 4096, 1 << 26

    def __init__(self, source: Source, *, components: int = 64):
        self.shape, self.components = tuple(source.spec.shape), components
        train, wide = source.split("train"), torch.Size(self.shape).numel()
        count = min(len(train), self.ROWS, max(components + 1, self.NUMBERS // wide))
        most = min(count - 1, wide)
        if not 1 <= components <= most:
            raise UsageError(
                f"pca: components={components}; {count:,} training rows of {wide:,} numbers have 1 … {most:,}."
            )
        x = train.take(torch.arange(count) * len(train) // count)["x"].float().flatten(1)  # [n, d]
        # The rows are hashed, not the basis: its last bits and signs belong to the machine.
        self.sha256 = hashlib.sha256(x.numpy().tobytes()).hexdigest()
        x = x.double()
        self.mean = x.mean(0)
        self.basis = _principal(x - self.mean, components)

    def features(self, x: Tensor) -> Tensor:
        return (x.double().flatten(1) - self.mean) @ self.basis

    @property
    def protocol(self) -> str:
        return f"{self.name}({self.components})@{self.sha256[:8]},{size_text(self.shape)}"


def _principal(x: Tensor, count: int) -> Tensor:
    """The `count` leading directions, `[d, count]`, of centred rows `x` `[n, d]`, from the smaller of XᵀX and XXᵀ."""
    if x.shape[1] <= x.shape[0]:
        return torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)[:, :count]
    directions = x.T @ torch.linalg.eigh(x @ x.T).eigenvectors.flip(1)[:, :count]
    return torch.linalg.qr(directions).Q  # of unit length, and orthogonal also where a variance is zero
