"""Small classifiers and the one recipe that trains them: the networks whose last features compare samples.

Activations are smooth (SiLU), which keeps every feature alive; a Fréchet distance needs that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gannet.core.errors import DivergedError
from gannet.core.types import Split

FEATURES = 64
"""Features before the class layer, of every classifier made here."""
SIDE = 32
"""Images whose smaller side is at least twice this are averaged down, to this or a little more, first of all."""


class Network(nn.Module):
    """A `body` that ends in 64 features and a linear `head` of classes."""

    body: nn.Sequential
    head: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """Features before the class layer, `[B, *shape]` → `[B, 64]`."""
        return self.body(x)

    def logits(self, x: Tensor) -> Tensor:
        """`[B, *shape]` → `[B, classes]`."""
        return self.head(self.body(x))


class DigitsNetwork(Network):
    """The classifier of 8×8 grey digits: three convolutions, 64 features, 10 classes."""

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
            nn.Linear(512, FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, 10)


class ImageNetwork(Network):
    """A classifier of images of any size and channels: a 3×3 convolution, then halvings until a side is at most 4.

    Stage k has 16·k channels, so 28×28 and 32×32 images take three halvings. Sides of 64 and more are first averaged
    down by a whole factor, so the cost does not grow with the image.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        factor = max(1, min(height, width) // SIDE)
        height, width = height // factor, width // factor
        layers: list[nn.Module] = [nn.AvgPool2d(factor)] if factor > 1 else []
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.SiLU()]
        wide = 16
        while min(height, width) > 4:
            layers += [nn.Conv2d(wide, wide + 16, 4, stride=2, padding=1), nn.SiLU()]
            wide, height, width = wide + 16, height // 2, width // 2
        layers += [nn.Flatten(), nn.Linear(wide * height * width, FEATURES), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, classes)


class PointsNetwork(Network):
    """A classifier of points `[B, d]`, or of anything flattened to them: two hidden layers."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        wide = torch.Size(shape).numel()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(wide, 128), nn.SiLU(), nn.Linear(128, FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, classes)


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: `samples` shown in batches of `batch`, AdamW from `rate` down a cosine to 0, images
    moved by up to `shift` pixels each way. One seed and one thread: one build of PyTorch gives one set of weights."""

    samples: int = 100_000
    batch: int = 100
    rate: float = 3e-3
    shift: int = 2
    seed: int = 0


def fit(
    build: Callable[[], Network], train: Split, recipe: Recipe, said: Callable[[float], None] | None = None
) -> Network:
    """Train `build()` on the labelled rows of `train`; `said` is called with the share done, about every percent.

    Labels are smoothed by 0.05, or the features would grow without bound once every training row is right. Raises
    `DivergedError` if the loss is not finite.
    """
    batch = min(recipe.batch, len(train))
    each, steps = len(train) // batch, max(1, recipe.samples // batch)
    with _alone(recipe.seed):
        network = build().train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=0.05)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            if step % each == 0:
                order = torch.randperm(len(train))[: each * batch].view(-1, batch)
            rows = train.take(order[step % each])
            logits = network.logits(_shifted(rows["x"].float(), recipe.shift))
            loss = nn.functional.cross_entropy(logits, rows["y"], label_smoothing=0.05)
            if not loss.isfinite():
                raise DivergedError(f"the classifier's loss is {loss.item()} in step {step}; lower rate={recipe.rate}.")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
            if said is not None and (step + 1) * 100 // steps > step * 100 // steps:
                said((step + 1) / steps)
    return network.eval().requires_grad_(False)


def accuracy(network: Network, rows: Split) -> float:
    """Share of labelled `rows` whose class is named."""
    right = 0
    for part in torch.arange(len(rows)).split(500):
        batch = rows.take(part)
        with torch.no_grad():
            right += int((network.logits(batch["x"].float()).argmax(1) == batch["y"]).sum())
    return right / len(rows)


def _shifted(x: Tensor, shift: int) -> Tensor:
    """Each image `[C, H, W]` moved by up to `shift` pixels each way, background (−1) coming in; points stay."""
    if x.dim() != 4 or shift == 0:
        return x
    wide = nn.functional.pad(x, [shift] * 4, value=-1.0)
    dy, dx = torch.randint(2 * shift + 1, (2, len(x), 1, 1, 1))
    b, c, high, across = (
        torch.arange(n).view([-1 if i == axis else 1 for i in range(4)]) for axis, n in enumerate(x.shape)
    )
    return wide[b, c, dy + high, dx + across]


@contextlib.contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread and a global generator seeded with `seed`; both are put back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
