"""From minutes to samples: the plan that schedules, scores and pictures are hung on."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from gannet.core import world
from gannet.engine.distributed import mean_over_processes
from gannet.engine.scores import SHARE

if TYPE_CHECKING:
    from gannet.engine.trainer import Trainer


class Budget:
    """Turns `stop.minutes` into samples after a short measurement, and corrects them as the run goes on.

    The pace of the first seconds is not kept: controllers take augmentation in and out, a processor grows warm, someone
    else comes and goes. So at every tenth of the run until `SETTLED` its length is planned anew, from the time that is
    left and the pace since the last plan with all that was due in between. The rest, in which learning rates end, keeps
    its plan.
    """

    WARM = 3  # steps before the clock is believed: allocators and caches fill
    WINDOW, PART = 16, 4  # steps a pace is taken from: so many, and at least this part of those measured
    RESERVE = 0.95  # log lines, grids and checkpoints take the rest
    SETTLED = 0.75  # share of the run after which nothing is planned anew
    NOTABLE = 0.02  # a plan that would change by less is kept

    def __init__(self, trainer: Trainer):
        self.trainer, self.last, self.steps = trainer, 0.0, 0
        self.took: list[float] = []  # seconds of each step
        self.moved: list[int] = []  # samples of each step
        self.scoring = 0.0  # seconds that a score takes
        self.since: tuple[int, float] | None = None  # samples and time of the last plan
        self.reached = 0  # samples after the last step

    def measure(self) -> bool:
        """Called after every step. Makes the plan as soon as it can; whether it took a score for that."""
        trainer, stop = self.trainer, self.trainer.experiment.stop
        if trainer.planned is not None or stop.minutes is None:
            return False
        # Steps of this process, not of the run: it may have been broken off and resumed within the measurement.
        self.steps += 1
        now = time.monotonic()
        since, self.last = now - self.last, now
        if self.steps <= self.WARM:
            return False
        self.took.append(since)
        self.moved.append(trainer.clock.samples - trainer.before)
        # Several processes must plan at the same step, so they measure a fixed number of them.
        long = sum(self.took) >= min(4.0, 0.04 * 60 * stop.minutes)
        if not (long if world.size() == 1 else self.steps >= self.WARM + 20):
            return False
        # One mean of all clocks, so that every process makes the same plan.
        each, scoring, spent = _agreed(self._each(), self._scoring(), trainer.seconds)
        rate = 1 / each
        scoring *= world.size()  # only the first process scores, and the others wait
        self.scoring = scoring
        left = max(0.0, 60 * stop.minutes - spent - scoring)
        every = trainer.experiment.evaluate.every
        if every == "auto":
            left -= min(SHARE * left, 10 * scoring)
        elif isinstance(every, str):
            left -= min(left / 2, scoring * 100 / float(every[:-1]))
        else:
            each += scoring / every
        self._plan(self.RESERVE * left / each)
        self.since = trainer.clock.samples, time.monotonic()
        trainer._record("note", text=f"{rate:,.0f} samples/s: {stop.minutes:g} minutes are {trainer.planned:,} samples")
        return trainer.scores.scorer is not None

    def correct(self) -> None:
        """Called when all that a step made due is done, by the plan so far. Plans anew at every tenth of the run."""
        trainer, stop = self.trainer, self.trainer.experiment.stop
        samples, planned = trainer.clock.samples, trainer.planned
        # Not where samples were asked for, nor where a run was extended, whose schedules keep their extent.
        if stop.minutes is None or stop.samples is not None or planned is None or planned != trainer.clock.total:
            return
        now = time.monotonic()
        # Resumed, or back at a snapshot: the time that steps took which count no more says nothing of the pace.
        if self.since is None or samples <= self.reached:
            self.since = samples, now
        self.reached = samples
        moved = samples - self.since[0]
        # What was seen since the run was resumed may be too little to go by.
        if samples > self.SETTLED * planned or moved < planned / 20 or not trainer.crossed("10%"):
            return
        each, spent = _agreed((now - self.since[1]) / moved, trainer.seconds)
        more = max(0.0, 60 * stop.minutes - spent - self.scoring) / max(1e-9, each)
        if abs(samples + more - planned) > self.NOTABLE * planned:
            self._plan(more)
            text = f"{1 / max(1e-9, each):,.0f} samples/s: {stop.minutes:g} minutes are {trainer.planned:,} samples"
            trainer._record("note", text=text)
        self.since = samples, now

    def _plan(self, more: float) -> None:
        """Let the run end after so many `more` samples."""
        trainer, batch = self.trainer, self.trainer.experiment.batch
        trainer.planned = trainer.clock.samples + max(1, round(more / batch)) * batch
        trainer.clock = replace(trainer.clock, total=trainer.planned)
        trainer.console.total(trainer.planned)

    def _each(self) -> float:
        """Seconds a sample takes, in the fastest window of steps in a row: a machine that was busy for a moment must
        not shorten the whole run. A window is long enough to hold the steps with a lazy penalty, and where steps are
        short it holds a quarter of them: the best sixteen of a thousand would promise a pace that no run keeps."""
        size = min(len(self.took), max(self.WINDOW, len(self.took) // self.PART))
        took, moved = [0.0, *accumulate(self.took)], [0, *accumulate(self.moved)]
        starts = range(len(self.took) - size + 1)
        return max(1e-9, min((took[i + size] - took[i]) / (moved[i + size] - moved[i]) for i in starts))

    def _scoring(self) -> float:
        """Seconds that one score takes, found by taking one."""
        if self.trainer.scores.scorer is None:
            return 0.0
        begun = time.monotonic()
        self.trainer._score()
        return time.monotonic() - begun


def _agreed(*measured: float) -> list[float]:
    """The means over all processes, so that every one of them makes the same plan."""
    values = torch.tensor(measured, dtype=torch.float64)
    return mean_over_processes({"measured": values})["measured"].tolist()
