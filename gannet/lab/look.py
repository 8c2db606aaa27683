"""The layers of one moment: what the networks of a game say of points of the plane, as arrays to be drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.parts import Objective
from gannet.core.random import Draw
from gannet.core.types import Verdict
from gannet.engine.trainer import Trainer
from gannet.lab import overlays

FAKES, ARROWS, PROBED = 1_000, 300, 150
CELLS, NODES, LATTICE = 50, 21, 20


class Probe(NamedTuple):
    """Which of an InfoGAN's codes are held: the first category, the first continuous code; None is as drawn."""

    category: int | None = None
    continuous: float | None = None


def coded(trainer: Trainer, probe: Probe) -> dict[str, np.ndarray]:
    """Of an InfoGAN `codes` `[FAKES]`, the first category of each fake that is shown and, where a code is held, `probe`
    `[PROBED, D]`: fakes that share it, all else as drawn. Of other games nothing."""
    task: Any = trainer.game.task
    codes = getattr(task, "codes", None)
    if codes is None or not hasattr(task, "latents"):
        return {}
    draw = Draw(trainer.experiment.seed, "evaluate", 0, range(FAKES))
    found = {}
    if codes.categories:
        found["codes"] = codes.draw(draw)[:, : codes.categories[0]].argmax(1).numpy().astype(np.uint8)
    if probe != Probe():
        z = task.latents(draw)[:PROBED]
        if codes.categories and probe.category is not None:
            z[:, : codes.categories[0]] = torch.eye(codes.categories[0])[probe.category % codes.categories[0]]
        if codes.continuous and probe.continuous is not None:
            z[:, codes.hot] = probe.continuous
        with torch.no_grad():
            generator: Any = trainer.ema.modules["generator"]
            found["probe"] = generator(z.to(trainer.game.dtype)).float().numpy()
    return found


class Look:
    """The layers of one moment, each a method that gives named arrays. Labels, where there are any, are those of class
    0; the generator is the averaged one, which is the live one unless an average is asked for."""

    def __init__(self, trainer: Trainer, bounds: overlays.Bounds, reals: Tensor, fakes: Tensor):
        self.trainer, self.bounds, self.reals, self.fakes = trainer, bounds, reals, fakes
        self.source: Any = trainer.game.source

    def judge(self, x: Tensor) -> Verdict:
        roles = sorted(self.trainer.game.discriminators)
        if not roles:
            raise UsageError("this game has no discriminator to ask.")
        return self.trainer.game.networks[roles[0]](x.to(self.trainer.game.dtype), self._labels(roles[0], x))

    def generate(self, z: Tensor) -> Tensor:
        return self._generator()(z.to(self.trainer.game.dtype), self._labels("generator", z))

    def _generator(self) -> Any:
        network = self.trainer.ema.modules.get("generator")
        if not isinstance(getattr(network, "latent", None), int):
            raise UsageError("this game has no generator that starts from a latent of its own.")
        return network

    def _labels(self, role: str, rows: Tensor) -> Tensor | None:
        classes = self.trainer.game.task.roles[role].data.classes
        return torch.zeros(len(rows), dtype=torch.int64) if classes else None

    def heat(self) -> dict[str, np.ndarray]:
        found = {
            "heat": overlays.centres(self.bounds, CELLS),
            "probability": self.fakes,
            "probability_real": self.reals,
        }
        return {name: _byte(overlays.heat(self.judge, x)) for name, x in found.items()}

    def optimal(self) -> dict[str, np.ndarray]:
        real = getattr(self.source, "density", None)
        if real is None:
            rows = self.source.split("train")
            real = rows.take(torch.arange(min(2_000, len(rows))))["x"].numpy()
        flat = len(self.bounds) == 4 and not self.trainer.looks.conditional
        generator = self.generate if flat and self._generator().latent == 2 else None
        found = overlays.densities(overlays.centres(self.bounds, CELLS), real, self.fakes.numpy(), generator)
        return {"optimal": _byte(found.optimal())}

    def r1(self) -> dict[str, np.ndarray]:
        return {"r1": overlays.gradient_norm(self.judge, overlays.centres(self.bounds, CELLS))}

    def manifold(self) -> dict[str, np.ndarray]:
        latent = self._generator().latent
        axes = torch.eye(latent)[: len(self.bounds) // 2]
        made = overlays.manifold(self.generate, overlays.lattice(latent, NODES, axes))
        return {"manifold": made.points, "folds": made.stretch}

    def arrows(self) -> dict[str, np.ndarray]:
        m = min(ARROWS, len(self.fakes), len(self.reals))
        return {"arrows": overlays.arrows(self.judge, self._objective(), self.fakes[:m], self.reals[:m])}

    def field(self) -> dict[str, np.ndarray]:
        m = min(ARROWS, len(self.fakes), len(self.reals))
        grid = overlays.centres(self.bounds, LATTICE)
        return {"field": overlays.field(self.judge, self._objective(), grid, self.fakes[:m], self.reals[:m])}

    def _objective(self) -> Objective:
        return self.trainer.game.objective.at(self.trainer.clock)


def _byte(share: np.ndarray) -> np.ndarray:
    return np.rint(255 * share).astype(np.uint8)
