"""What training sees of itself between steps: held-out rows, a preview, and the samples that are scored.

All draws are functions of the seed and of positions, so that a look changes nothing and can be had again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gannet.core.random import Draw, installed
from gannet.core.types import Inputs, Task
from gannet.engine.assembly import Game
from gannet.engine.ema import Average, Ema
from gannet.engine.feed import Feed
from gannet.engine.health import p_above

ROWS = 64
"""Held-out rows of a log line, and pictures of a preview."""
BATCHES = 4
"""Batches of held-out rows of a log line at most: what they cost is one step's time or two, by the networks."""
PREVIEW_OTHERS = 1000
"""Samples of a preview where one is a point or another thing of a few numbers."""


class Looks:
    """Looks at `game`, with the averaged networks of `ema` where samples are made."""

    def __init__(self, game: Game, ema: Ema):
        self.game, self.seed = game, game.experiment.seed
        self.samplers = [averaged_task(game.task, average) for average in ema.averages]
        self.feed = Feed(game.source, "test", self.seed, game.device, game.dtype, False)
        self.conditional = any(role.data.classes for role in game.task.roles.values())

    @torch.no_grad()
    def heldout(self, step: int, trained: Feed | None = None) -> dict[str, float]:
        """What rows that were never trained on say: P(D(real) > D(fake)), averaged over comparisons, and the task's own
        measures; given the feed of `trained` rows, P(D(trained) > D(held out)) too, of other rows at every step."""
        game, found = self.game, {}
        rows = min(ROWS, BATCHES * game.experiment.batch, len(self.feed.data))
        start = step * rows if trained else 0  # what steers must not look at the same few rows for ever
        positions = range(start, start + rows)
        draw = self._draw("heldout", step, positions)
        batch = self.feed.take("heldout", positions)
        buffers = {b: b.clone() for module in game.networks.values() for b in module.buffers()}
        with installed(draw.child("layers")):
            if game.discriminators:
                comparisons = game.task.comparisons(batch, game.task.generate(batch, draw))
                held = [self._judged(c.discriminator, c.real) for c in comparisons]
                fakes = [self._judged(c.discriminator, c.fake) for c in comparisons]
                found["p_real_above_fake/heldout"] = _mean_above(held, fakes)
                if trained:
                    known = trained.take("gap", positions)
                    comparisons = game.task.comparisons(known, game.task.generate(known, draw))
                    found["p_train_above_heldout"] = _mean_above(
                        [self._judged(c.discriminator, c.real) for c in comparisons], held
                    )
            with _at_rest(game.networks):
                found |= {f"heldout/{k}": float(v) for k, v in game.task.measure(batch, draw.child("measure")).items()}
        for buffer, value in buffers.items():  # looking must not move batch norm's statistics
            buffer.copy_(value)
        return found

    def _judged(self, role: str, inputs: Inputs) -> Tensor:
        return self.game.networks[role](inputs.x, inputs.y, inputs.given).per_sample()

    def _draw(self, purpose: str, step: int, positions: range) -> Draw:
        return Draw(self.seed, purpose, step, positions, self.game.device, self.game.dtype)

    @torch.no_grad()
    def preview(self) -> list[tuple[str, Tensor]]:
        """Columns of pictures, each with its head: samples from the same latents at every time, beside held-out
        reals."""
        positions = range(min(ROWS if self.game.source.spec.kind == "image" else PREVIEW_OTHERS, len(self.feed.data)))
        batch = self.feed.take("preview", positions)
        draw = self._draw("preview", 0, positions)
        with installed(draw.child("layers")):
            columns = self.samplers[0].preview(batch, draw, batch.get("y"))
        return [(head, x.float().cpu()) for head, x in columns]

    @torch.no_grad()
    def generate(self, count: int, start: int, labels: Tensor | None = None, average: int = 0) -> Tensor:
        """Samples number `start` … from latents that are the same at every time, of the classes that `labels` has for
        these numbers where the networks are given any; by number `average` of the averaged networks."""
        positions = range(start, start + count)
        draw, given = self._draw("evaluate", 0, positions), self.feed.take("evaluate", positions).get("given")
        y = labels[start : start + count].to(self.game.device) if labels is not None and self.conditional else None
        with installed(draw.child("layers")):
            return self.samplers[average].sample(draw, y, given).float().cpu()


@contextmanager
def _at_rest(networks: nn.ModuleDict) -> Iterator[None]:
    """`networks` as they are used once they are trained: without dropout, with batch norm's running statistics."""
    modes = {module: module.training for module in networks.modules()}
    networks.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _mean_above(higher: list[Tensor], lower: list[Tensor]) -> float:
    pairs = [p_above(a, b) for a, b in zip(higher, lower, strict=True)]
    return sum(pairs) / len(pairs)


def averaged_task(task: Task, average: Average) -> Task:
    """The task with the averaged networks, for sampling."""
    sampler = copy.copy(task)
    sampler._modules = dict(task._modules)
    sampler._modules["networks"] = torch.nn.ModuleDict(average.modules)
    return sampler
