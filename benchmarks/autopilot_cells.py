"""The cells of the auto-pilot's benchmark: the data and the methods, what a cell's file holds, and what ails a run.

A run is healthy if

- no collapse alarm stands at its end;
- its samples are not nearer to the training rows than new ones would be. With near(X) the median distance of X to its
  nearest training rows over that to its nearest held-out rows, in the features the data are measured in,
  near(samples) / near(other held-out rows) is at least 0.8 (the metric `nearest-ratio`, held against what it gives for
  reals, so that more training rows than held-out ones can be shown);
- its last checkpoint is within 10 %, or one standard deviation over sampling seeds, of its best one on test rows.

Whether a run is healthy is worked out from its numbers whenever it is asked, and stored nowhere: another limit needs no
other training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from gannet import bench_cell
from gannet.bench_cell import Measured, Name
from gannet.core.experiment import Section

DATA = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-threes": "mnist(labels=[3])",
    "mnist-200": "mnist(limit=200)",
    "cifar-grey": "cifar10-jpg(grey=true)",
    "cifar-colour": "cifar10-jpg",
    "points": "points(name=ring-8)",
    "shapes": "shapes",
    "spoken-digits": "spoken-digits",
}
JUDGES = {"shapes": "classifier"}
"""Extractor in whose features data are judged, in training and after it, where it is not the one chosen by the kind of
data. Random convolutions, which shapes would get, say little of them (docs/autopilot.md)."""
PLANE = {"generator": "mlp(width=128, layers=3, latent=2)", "discriminator": "mlp(width=128, layers=3)"}
METHODS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "auto": (("auto", {}), ("auto", {})),
    "quick": (("quick", {}), ("points", {})),
    "dcgan": (("dcgan", {}), ("gan", PLANE)),
}
"""Preset and overrides of a method: on images, and on points, where convolutions have nothing to do."""
STEERED = "auto"
FIXED = ("quick", "dcgan")
LEAST_NEAR, WITHIN = 0.8, 0.1
"""How near, beside reals, samples may be to training rows; how far below its best, as a share of it, a run may end."""


class Cell(Section):
    """One training: a method on some data for so many minutes or samples, from one seed; `without` names a controller
    of the auto-pilot that is switched off."""

    data: Name
    method: Name
    minutes: float | None = Field(None, gt=0)
    samples: int | None = Field(None, gt=0)
    seed: int = Field(ge=0, lt=2**63)
    without: str = Field("", pattern=r"^[a-z-]*$")

    @model_validator(mode="after")
    def _has_one_end(self) -> Self:
        if (self.minutes is None) == (self.samples is None):
            raise ValueError("a cell has minutes or samples, one of them")
        return self

    @property
    def label(self) -> str:
        return f"{self.method}-without-{self.without}" if self.without else self.method

    @property
    def name(self) -> str:
        length = f"{self.samples}samples" if self.minutes is None else f"{self.minutes:g}min"
        return f"{self.data}-{self.label}-{length}-seed{self.seed}"


class Key(Section):
    """What a cell's numbers depend on beside its name; `experiment` is the hash of what is asked for, before any
    plan; `controllers` has the options of those that are asked for, which are nowhere else when they are defaults;
    `plan` is the hash of what the plan makes of it without asking the machine, "" where nothing is planned, and
    `networks` that of the shapes of all weights then."""

    experiment: str
    networks: str
    controllers: dict[str, dict[str, str | float | None]]
    protocol: str
    gannet: str
    plan: str = ""


class Move(Section):
    """A decision of a controller, at so many samples."""

    samples: int
    controller: str
    actuator: str
    factor: FiniteFloat
    text: str


class Result(Section):
    """What a training that came to its end left. `last` and `best` are means over sampling seeds against test rows,
    `sd` the standard deviation of `best` over them, `floor` what as many reals are given where there are as many;
    `near` is that of the module's docstring; `standing` names the alarms that stood at the end."""

    better: Literal["lower", "higher"]
    last: FiniteFloat
    best: FiniteFloat
    sd: FiniteFloat
    floor: FiniteFloat | None
    near: FiniteFloat
    standing: list[str]
    samples: int
    plan: list[str]
    moves: list[Move]

    @property
    def ails(self) -> list[str]:
        """What is wrong with the run: nothing of a healthy one."""
        worse = (self.last - self.best) * (1 if self.better == "lower" else -1)
        wrong = {
            "collapsed": "collapse" in self.standing,
            "learnt by heart": self.near < LEAST_NEAR,
            "past its best": worse > max(WITHIN * abs(self.best), self.sd),
        }
        return [name for name, is_so in wrong.items() if is_so]


class Record(Measured):
    """A cell that was measured; one whose controller is in no plan for these data is `absent`, and in no table."""

    cell: Cell
    key: Key
    result: Result | None

    @property
    def ails(self) -> list[str]:
        return self.result.ails if self.result else [self.outcome]


def read_all(folder: Path) -> list[Record]:
    """Every record of a folder. Raises `DataError`, naming the file, for what is none."""
    return list(bench_cell.read_all(folder, Record).values())
