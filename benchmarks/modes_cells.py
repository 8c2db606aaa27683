"""The cells of the mode benchmark: what names one, what its file holds, and whether its numbers are still those of now.

A file says under which key it was measured. What the key would be now is worked out from the recipe and the protocol of
now, so no list has to be kept of what must be measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from modes_judging import protocol
from modes_methods import BENCHES, QUIET, Recipe
from pydantic import Field, FiniteFloat, model_validator

from gannet import bench_cell
from gannet.bench_cell import Measured, Name
from gannet.core.errors import DataError, UsageError, unknown
from gannet.core.experiment import Section
from gannet.core.overrides import resolve
from gannet.engine.assembly import structure

DRAWN = 1000
"""Points of the first seed that a cell keeps for the picture."""


class Cell(Section):
    """One training: a method on a distribution, until so many steps or minutes, from one seed."""

    data: Name
    method: Name
    budget: str = Field(pattern=r"^\d+(\.\d+)?-(steps|minutes)$")
    seed: int = Field(ge=0, lt=2**63)

    @property
    def name(self) -> str:
        return f"{self.data}-{self.method}-{self.budget}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.method} on {self.data}, {self.budget.replace('-', ' ')}, seed {self.seed}"


class Key(Section):
    """What a cell's numbers depend on beside its name: a cell of another key is stale. `experiment` is the hash of the
    resolved recipe, without seed and end, `networks` that of the shapes of all weights."""

    experiment: str
    networks: str
    protocol: str
    gannet: str


class Result(Section):
    """What a training that came to its end left. `weights` says which were sampled, the raw ones or their moving
    average (`ema`); `floor` is what as many real samples are given; `points` are drawn in the picture."""

    weights: Literal["ema", "raw"]
    scores: dict[str, FiniteFloat]
    floor: dict[str, FiniteFloat]
    samples: int
    seconds: FiniteFloat
    parameters: dict[str, int]
    points: list[tuple[FiniteFloat, FiniteFloat]]


class Record(Measured):
    cell: Cell
    key: Key
    machine: str
    outcome: Literal["finished", "diverged", "failed"]
    result: Result | None

    @model_validator(mode="after")
    def _has_every_score(self) -> Record:
        if self.cell.data not in BENCHES:
            raise ValueError(f"there is no distribution {self.cell.data}")
        wanted = {score.key for score in BENCHES[self.cell.data].scores}
        if self.result is not None and not wanted == set(self.result.scores) == set(self.result.floor):
            raise ValueError(f"scores {sorted(self.result.scores)} are not {sorted(wanted)}")
        return self


def read(path: Path) -> Record:
    """The record in a file. Raises `DataError`, naming the file, for what is none or belongs under another name."""
    return bench_cell.read(path, Record)


def known(folder: Path) -> dict[str, Record]:
    """Every record of a folder by its cell's name."""
    return bench_cell.read_all(folder, Record)


def recipe(cell: Cell) -> Recipe:
    """The preset and every override of one training. Raises `UsageError` for a method that the data does not have."""
    preset, changed = method_of(cell)
    overrides = {**QUIET, "data": BENCHES[cell.data].source, **changed, "seed": cell.seed}
    amount, unit = cell.budget.split("-")
    if unit == "minutes":
        return preset, {**overrides, "stop.minutes": float(amount)}
    batch = resolve(preset, overrides).experiment.batch
    return preset, {**overrides, "stop.samples": round(float(amount)) * batch}


def method_of(cell: Cell) -> Recipe:
    methods = BENCHES[cell.data].methods
    if cell.method not in methods:
        raise UsageError(unknown(f"method on {cell.data}", cell.method, methods))
    return methods[cell.method]


def key(cell: Cell) -> Key:
    """What the cell's numbers would depend on now."""
    preset, overrides = recipe(cell)
    experiment = resolve(preset, {**overrides, "seed": 0}).experiment
    networks = structure(experiment)
    return Key(experiment=experiment.hash(), networks=networks, protocol=protocol(cell.data), gannet=version("gannet"))


State = Literal["finished", "diverged", "failed", "stale", "not run"]


def state(cell: Cell, records: Mapping[str, Record]) -> State:
    """How a cell stands. Raises `DataError` for one of a method that is gone."""
    record = records.get(cell.name)
    if record is None:
        return "not run"
    try:
        return record.outcome if record.key == key(cell) else "stale"
    except UsageError as error:
        raise DataError(f"{cell.name}.json is no cell of now: {error} Remove the file.") from None
