"""Extractors: the features in which samples are compared. All work offline; none is ever called FID.

They run on the CPU in fp32, so a number does not depend on where the generator was trained.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gannet.core import random
from gannet.core.errors import CheckpointError, UsageError
from gannet.core.parts import Extractor
from gannet.core.registry import EXTRACTORS

WEIGHTS = Path(__file__).parent / "weights"


def size_text(shape: tuple[int, ...]) -> str:
    """`8x8` for `(1, 8, 8)`, `2` for `(2,)`."""
    return "x".join(str(n) for n in (shape[1:] if len(shape) == 3 else shape))


class DigitsNetwork(nn.Module):
    """The small classifier of 8×8 grey digits: three convolutions, 64 features, 10 classes. `[B, 1, 8, 8]` → `[B, 64]`.

    Smooth activations keep every feature alive, which a Fréchet distance needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 4, stride=2, padding=1),  # [B, 32, 4, 4]
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The 64 features before the class layer."""
        return self.body(x)


@EXTRACTORS.register("digits-classifier")
class DigitsClassifier(Extractor):
    """The 64 last features, and the class probabilities, of a small classifier trained on the embedded 8×8 digits.

    Its weights ship with the package, beside a card with their SHA-256, accuracy and the command that made them.
    Raises `UsageError` for samples of another shape, `CheckpointError` if the shipped file is missing or damaged.
    """

    name = "digits-classifier"

    def __init__(self, shape: tuple[int, ...]):
        if tuple(shape) != (1, 8, 8):
            raise UsageError(
                f"digits-classifier reads 1×8×8 digits, the samples are {'×'.join(map(str, shape))}. "
                f"Use random-conv for other images, pixels for points."
            )
        state, self.sha256 = load_checked(WEIGHTS / "digits-classifier.safetensors")
        self.network = DigitsNetwork().eval().requires_grad_(False)
        self.network.load_state_dict(state)

    def features(self, x: Tensor) -> Tensor:
        return self.network(x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self.network.head(self.network(x)).softmax(1)

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},8x8"


def load_checked(path: Path) -> tuple[dict[str, Tensor], str]:
    """Weights from a safetensors file whose SHA-256 agrees with the card (`.json`) beside it, and that hash."""
    try:
        content = path.read_bytes()
        expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise CheckpointError(
                f"{path}: SHA-256 {found[:16]}…, its card says {expected[:16]}…. Install Gannet again."
            )
        return safetensors.torch.load(content), found
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{path} or its card cannot be read ({error}). Install Gannet again.") from None


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
