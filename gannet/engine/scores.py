"""What a run knows of its scores: the last, the best, how many since were no better, and what that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gannet.core.errors import DivergedError
from gannet.core.experiment import Experiment
from gannet.engine.turn import NonFinite

Generate = Callable[[int, int], Tensor]

SHARE = 0.05
"""The most of a run's time that scores may take where nobody said how often they are wanted."""


class Scorer(Protocol):
    """What the engine needs of an evaluator."""

    @property
    def primary(self) -> str: ...
    @property
    def better(self) -> str: ...
    def labels(self) -> Tensor | None: ...
    def score(self, generate: Generate) -> dict[str, float]: ...


class SeenByOne(NonFinite):
    """Found in what only the first process does (scores, checkpoints), so the others cannot roll back with it."""


class Taken(NamedTuple):
    """A score: whether it was never better, the number of the best average, and what the primary metric says of
    each."""

    improved: bool
    number: int
    values: list[float]


class Scores:
    """The scores of one run; without a `scorer` there are none."""

    def __init__(self, scorer: Scorer | None, experiment: Experiment):
        self.scorer, self.stop, self.paced = scorer, experiment.stop, experiment.evaluate.every == "auto"
        self.last: dict[str, float] = {}
        self.best: dict[str, Any] | None = None
        self.stale = 0
        self.earliest = 0  # at how many samples another may be taken, where scores pace themselves

    def take(self, averages: Sequence[Generate], samples: int, seconds: float) -> Taken:
        """Score the run as it is after `samples` and `seconds`, by the best of its `averages`: whether it was never
        better, and which of them is."""
        assert self.scorer is not None
        begun = time.monotonic()
        try:
            found = [self.scorer.score(generate) for generate in averages]
        except DivergedError as error:
            raise SeenByOne("generator", str(error), "a sample") from None
        values = [scores[self.scorer.primary] for scores in found]
        costs = [self._cost(value) for value in values]
        number = costs.index(min(costs))
        self.last = found[number]
        if self.paced:
            took, pace = time.monotonic() - begun, samples / max(1e-9, seconds)
            self.earliest = samples + round(pace * took / SHARE)
        value = self.last[self.scorer.primary]
        # Of another metric, by which an older release scored: its value says nothing about this one.
        known = self.best if self.best and self.best["metric"] == self.scorer.primary else None
        improved = known is None or self._cost(value) < self._cost(known["value"])
        self.stale = 0 if improved else self.stale + 1
        if improved:
            self.best = {"metric": self.scorer.primary, "value": value, "samples": samples, "scores": self.last}
        return Taken(improved, number, values)

    def best_at(self, samples: int) -> bool:
        """Whether the best score was taken there."""
        return self.best is not None and self.best["samples"] == samples

    @property
    def ends(self) -> str:
        """Why the scores end the run: "target", "patience"; "" to go on."""
        target = self.stop.target
        # A resumed run may be scored by another metric than its last score was, or by none.
        value = self.last.get(self.scorer.primary) if self.scorer else None
        if target is not None and value is not None and self._cost(value) <= self._cost(target):
            return "target"
        return "patience" if self.stop.patience is not None and self.stale >= self.stop.patience else ""

    def _cost(self, value: float) -> float:
        """`value` of the primary metric, so that lower is better."""
        assert self.scorer is not None
        return value if self.scorer.better == "lower" else -value

    @property
    def state(self) -> dict[str, Any]:
        return {"scores": self.last, "best": self.best, "stale": self.stale, "next_score": self.earliest}

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self.last, self.best, self.stale = value["scores"], value["best"], value["stale"]
        self.earliest = value["next_score"]
