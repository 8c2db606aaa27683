"""Guided lessons: cards for the page, and one claim each that is checked on the playground's own engine.

A lesson is a file of `lessons/`; what its cards do are the learner's own commands (load, set, play …).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gannet.core.random import Draw
from gannet.engine.run import Run
from gannet.lab import alarms, overlays, phase
from gannet.lab.look import FAKES, Look
from gannet.lab.measures import Measures
from gannet.lab.playground import Playground
from gannet.lab.share import VERSION, State

FOLDER = Path(__file__).parent / "lessons"
ORDER = (
    "what-a-gan-is", "vanishing-gradients", "mode-collapse", "strong-discriminator", "wasserstein", "r1-dirac",
    "n-critic", "infogan",
)  # fmt: skip
Layer = Literal["real", "fake", "heat", "arrows", "manifold", "trajectories", "optimal", "r1", "field"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Part):
    en: str
    zh: str


class Setting(Part):
    path: str
    value: str | int | float


class Begin(Part):
    """What a game begins as: what differs from the preset, its seed, and changes with their steps."""

    experiment: dict[str, Any] = {}
    seed: int = 0
    changes: list[dict[str, Any]] = []

    def state(self, seed: int | None = None) -> dict[str, Any]:
        """As the command `load` takes it; with another seed, if one is given."""
        seed = self.seed if seed is None else seed
        plain = {"version": VERSION, "experiment": self.experiment, "seed": seed, "changes": self.changes}
        return State.from_json(plain).to_json()


class Try(Part):
    """What the learner is asked to do; `when` is how the page sees that it was done (static/lesson_done.js)."""

    text: Text
    when: dict[str, str | int | float]


class Ask(Part):
    question: Text
    answer: Text


class Card(Part):
    """One card: what it does (in this order: `load`, `set`, `turns`, `play`), what it shows, what it asks."""

    text: Text
    load: Begin | None = None
    set: list[Setting] = []
    turns: dict[Literal["discriminator", "generator"], int] = {}
    play: bool | None = None
    show: list[Layer] | None = None
    mark: list[str] = []
    widget: Literal["phase", "codes"] | None = None
    task: Try | None = Field(default=None, alias="try")
    ask: Ask | None = None


class Trial(Begin):
    """A game that a claim speaks of, played for `steps`."""

    steps: int = Field(ge=0, le=1000)


class Bound(Part):
    """`measure` of the run `run` is at `least` or at `most` a number or, with `of`, so many times that of run `of`."""

    run: str
    measure: str
    least: float | None = None
    most: float | None = None
    of: str | None = None


class Claim(Part):
    """What a lesson says, in words and as bounds. `remedy` is the run without which it must not hold."""

    text: Text
    runs: dict[str, Trial]
    remedy: str
    without: str
    holds: list[Bound]

    def failures(self, values: dict[str, dict[str, float]]) -> list[str]:
        """The bounds that the measures `{run: {measure: value}}` break, in words; none where the claim holds."""
        broken = []
        for bound in self.holds:
            value = values[bound.run][bound.measure]
            unit = 1.0 if bound.of is None else values[bound.of][bound.measure]
            if bound.least is not None and not value >= bound.least * unit:
                broken.append(f"{bound.measure} of {bound.run} is {value:.4g}, not at least {bound.least * unit:.4g}")
            if bound.most is not None and not value <= bound.most * unit:
                broken.append(f"{bound.measure} of {bound.run} is {value:.4g}, not at most {bound.most * unit:.4g}")
        return broken

    def measured(self, name: str, seed: int, folder: Path) -> dict[str, float]:
        """What this claim measures of the run called `name`, played with `seed` in a run directory of `folder`."""
        wanted = sorted({b.measure for b in self.holds if name in (b.run, b.of)})
        trial = self.runs[name]
        playground = Playground(Run.at(folder / f"{name}-{seed}"), State.from_json(trial.state(seed)))
        beginning = {m: MEASURES[m](playground) for m in wanted if m in RELATIVE}
        while playground.step < trial.steps:
            playground.advance()
        return {m: MEASURES[m](playground) / beginning.get(m, 1.0) for m in wanted}


class Lesson(Part):
    id: str
    title: Text
    summary: Text
    cards: list[Card] = Field(min_length=3, max_length=7)
    claim: Claim

    def page(self) -> dict[str, Any]:
        """What the page is told: everything but how the claim is tested."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"claim"})
        for shown, card in zip(plain["cards"], self.cards, strict=True):
            if card.load is not None:
                shown["load"] = card.load.state()
        return {**plain, "claim": self.claim.text.model_dump()}


@cache
def lessons() -> tuple[Lesson, ...]:
    """Every lesson, in the order in which they are best read."""
    texts = [(FOLDER / f"{name}.yaml").read_text(encoding="utf-8") for name in ORDER]
    return tuple(Lesson.model_validate(yaml.safe_load(text)) for text in texts)


@cache
def pages() -> list[dict[str, Any]]:
    """All lessons for the page."""
    return [lesson.page() for lesson in lessons()]


# --------------------------------------------------------------------------------------------------------- measures


def _scored(name: str) -> Callable[[Playground], float]:
    def measure(p: Playground) -> float:
        fakes = p.trainer.generate(FAKES, 0).double().numpy()
        return Measures(p.trainer.game.source, FAKES).values(fakes)[name]

    return measure


def _look(p: Playground) -> tuple[Look, Tensor]:
    source = p.trainer.game.source
    reals, fakes = source.split("train").take(torch.arange(300))["x"], p.trainer.generate(300, 0)
    return Look(p.trainer, overlays.bounds(source), reals, fakes), torch.cat([reals, fakes])


def spread(p: Playground) -> float:
    """Mean standard deviation of the fakes over that of the reals."""
    look, _ = _look(p)
    return float(look.fakes.std(0).mean() / look.reals.std(0).mean())


def slope(p: Playground) -> float:
    """Mean |∇D| over reals and fakes."""
    look, points = _look(p)
    return float(overlays.gradient_norm(look.judge, points).mean())


def ahead(p: Playground) -> float:
    """P(D(real) > D(fake)), mean over the last 50 steps."""
    column = p.columns().index("p_real_above_fake")
    return float(np.mean([row[column] for row in p.rows[-50:]]))


def pull(p: Playground) -> float:
    """What the generator's loss would fall by if every fake moved a spread of the data, in nats."""
    look, _ = _look(p)
    p.trainer.shown = [(look.reals, look.fakes)]
    return alarms.pull(p.trainer)


def distance(p: Playground) -> float:
    """√(θ² + ψ²) of the Dirac-GAN: how far the game is from its rest."""
    return math.hypot(*phase.place(p.trainer.game).values())


def told(p: Playground) -> float:
    """The share of a code's information that can be read from the mode nearest to its fakes: 0 … 1, the mutual
    information of code and mode over log of the number of codes."""
    task: Any = p.trainer.game.task
    z = task.latents(Draw(p.trainer.experiment.seed, "told", 0, range(FAKES)))
    size = task.codes.categories[0]
    with torch.no_grad():
        x = p.trainer.game.networks["generator"](z)
    source: Any = p.trainer.game.source
    mode = torch.cdist(x.double(), torch.from_numpy(source.centres)).argmin(1)
    joint = np.zeros((size, len(source.centres)))
    np.add.at(joint, (z[:, :size].argmax(1).numpy(), mode.numpy()), 1 / FAKES)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum() / np.log(size))


MEASURES: dict[str, Callable[[Playground], float]] = {
    "modes": _scored("modes"),
    "high_quality": _scored("high_quality"),
    "sliced": _scored("sliced"),
    "sliced_share": _scored("sliced"),
    "spread": spread,
    "slope": slope,
    "ahead": ahead,
    "pull": pull,
    "distance_share": distance,
    "told": told,
}
"""What a claim may measure."""
RELATIVE = ("sliced_share", "distance_share")
"""Those that are divided by what they were at the first step."""
