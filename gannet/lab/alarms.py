"""Two alarms for points: the game circles; the generator feels no pull. The others are in `engine.health`."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch

from gannet.core.errors import GannetError
from gannet.engine.trainer import Trainer
from gannet.lab import overlays, phase
from gannet.lab.look import ARROWS, Look

EVERY = 5
"""Steps between two looks at the fakes' mean."""
WINDOW = 120
"""Looks behind a judgement: 600 steps."""
SWING = 0.5
"""Amplitude of a circle, in spreads of the data, from which it is no noise: that of a batch's mean is about 0.1."""
KEPT = 0.75
"""Amplitude of the window's second half over its first; a circle that dies away keeps less."""
CYCLES = 2
"""Full swings within the window."""
PULL = 0.01
"""Nats that the generator's loss would fall if every fake went a spread of the data down its gradient."""
AHEAD = 0.985
"""P(D(real) > D(fake)) from which the discriminator separates."""
STREAK = 3
"""Judgements in a row before an alarm stands or falls."""
NAMES = ("oscillation", "vanishing gradients")


class Watch:
    """The two signals of one game by step. What has been judged at a step is remembered, so a replay says the same."""

    def __init__(self) -> None:
        self.means: deque[tuple[int, np.ndarray]] = deque(maxlen=WINDOW)
        self.judged: dict[int, tuple[str, ...]] = {}

    def look(self, step: int, trainer: Trainer) -> None:
        """Note where the fakes of this step's last turn are, in spreads of the data from the reals' mean."""
        if step % EVERY or not trainer.shown:
            return
        if self.means and step != self.means[-1][0] + EVERY:
            self.means.clear()  # another place in time: the window fills anew
        real, fake = trainer.shown[0]
        self.means.append((step, ((fake.mean(0) - real.mean(0)) / _scale(trainer)).double().numpy()))

    def judge(self, step: int, trainer: Trainer, above: float | None) -> None:
        """Judge the game at `step`, unless that has been done; `above` is P(D(real) > D(fake)) of late."""
        if step in self.judged:
            return
        found = [NAMES[0]] if circles(np.array([mean for _, mean in self.means])) else []
        separates = above is not None and above > AHEAD and not phase.place(trainer.game)
        if separates and pull(trainer) < PULL:
            found.append(NAMES[1])
        self.judged[step] = tuple(found)

    def standing(self, step: int) -> list[str]:
        """The alarms at `step`: raised by `STREAK` bad judgements in a row, until as many are good."""
        judged = [self.judged[s] for s in sorted(self.judged) if s <= step]
        return [name for name in NAMES if _stands([name in said for said in judged])]

    def forget_after(self, step: int) -> None:
        self.judged = {s: said for s, said in self.judged.items() if s <= step}
        while self.means and self.means[-1][0] > step:
            self.means.pop()


def circles(means: np.ndarray) -> bool:
    """Whether the fakes' mean `[WINDOW, D]`, in spreads of the data, swings to and fro without coming to rest.

    Along the axis on which it moves most, around its own middle: it changes sides, farther than half its amplitude on
    either, at least 2 · `CYCLES` times; its amplitude (√2 standard deviations) is at least `SWING`; and in the second
    half of the window at least `KEPT` of that in the first.
    """
    if len(means) < WINDOW or not np.isfinite(means).all():
        return False
    centred = means - means.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    u = centred @ axes[0]
    amplitude = np.sqrt(2) * u.std()
    halves = [np.sqrt(2) * half.std() for half in np.array_split(u, 2)]
    sides = np.sign(u[np.abs(u) > amplitude / 2])
    changes = int((sides[1:] != sides[:-1]).sum())
    return bool(amplitude >= SWING and halves[1] >= KEPT * halves[0] and changes >= 2 * CYCLES)


def pull(trainer: Trainer) -> float:
    """Mean over the fakes of |∂L_G/∂x| times the data's spread, in nats; infinite where it cannot be told."""
    if not trainer.shown:
        return float("inf")
    real, fake = trainer.shown[0]
    m = min(ARROWS, len(fake), len(real))
    with overlays.evaluating(trainer.game.networks):
        try:
            arrows = Look(trainer, (), real[:m], fake[:m]).arrows()["arrows"]
        except (GannetError, RuntimeError):
            return float("inf")
    slopes = np.linalg.norm(arrows[:, arrows.shape[1] // 2 :], axis=1)
    return float(slopes.mean() * _scale(trainer))


def _scale(trainer: Trainer) -> float:
    """The spread of the reals: their mean standard deviation, or a twentieth of the view where all are one point."""
    real, _ = trainer.shown[0]
    view = overlays.spans(overlays.bounds(trainer.game.source))[0]
    return max(float(torch.std(real, 0).mean()), (view[1] - view[0]) / 20)


def _stands(bad: list[bool]) -> bool:
    stands, streak = False, 0
    for now in bad:
        streak = streak + 1 if now != stands else 0
        if streak >= STREAK:
            stands, streak = not stands, 0
    return stands
