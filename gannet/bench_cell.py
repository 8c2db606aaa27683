"""Cells of tables of measurements: what was trained, under which conditions, how it ended, as JSON. Those of the
results page are here; a benchmark derives its own from `Measured`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from gannet.core.errors import DataError
from gannet.core.experiment import Section

MAX_BYTES = 100_000
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=80)]


class Cell(Section):
    """One training: a preset on a data source, for so many seconds, from one seed."""

    data: Name
    preset: Name
    seconds: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**63)

    @property
    def name(self) -> str:
        return f"{self.data}-{self.preset}-{self.seconds}s-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.preset} on {self.data}, {self.seconds} s, seed {self.seed}"


class Key(Section):
    """What a cell's numbers depend on beside its name: a cell of another key is stale.

    `experiment` is the hash of the preset, resolved and planned, without seed and end, `networks` that of the shapes of
    all weights, `data` the fingerprint of the source, `protocol` says of every score how it was taken.
    """

    experiment: str
    networks: str
    data: str
    gannet: str
    protocol: dict[str, str]


class Scores(Section):
    """What one generator was given, a number a metric of the evaluator, the Fréchet distance in features first."""

    distance: FiniteFloat
    precision: FiniteFloat
    recall: FiniteFloat


class Result(Section):
    """What a training that came to its end left. `best` was chosen by scores against training rows, at `best_at`
    samples; `standing` names the alarms that stood at the end."""

    metric: str
    last: Scores
    best: Scores
    floor: Scores
    samples: int
    best_at: int
    seconds: FiniteFloat
    images_per_second: FiniteFloat
    parameters: dict[str, int]
    alarms: list[str]
    standing: list[str]


class Measured(Section):
    """A cell that was measured: finished with a result, diverged, or failed with its reason in `words`."""

    cell: Any
    key: Any
    outcome: Literal["finished", "diverged", "failed", "absent"]
    words: str
    result: Any

    @model_validator(mode="after")
    def _has_a_result_or_none(self) -> Self:
        if (self.result is not None) != (self.outcome == "finished"):
            raise ValueError("a finished cell has a result, and no other has")
        return self


class Record(Measured):
    """A cell of the results page; one that diverged has the exit code 5. `wall` is in seconds, start and end of the
    process included."""

    cell: Cell
    key: Key
    machine: str
    outcome: Literal["finished", "diverged", "failed"]
    exit: int
    wall: FiniteFloat
    result: Result | None

    @model_validator(mode="after")
    def _names_its_protocol(self) -> Self:
        if self.result is not None and self.result.metric not in self.key.protocol:
            raise ValueError(f"there is no protocol of {self.result.metric}")
        return self


R = TypeVar("R", bound=Measured)


def text(record: Measured) -> str:
    """The JSON of a record."""
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path, kind: type[R]) -> R:
    """The record in a file. Raises `DataError`, naming the file, for what is none or belongs under another name."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ValueError(f"{len(raw):,} bytes; a cell has at most {MAX_BYTES:,}")
        record = kind.model_validate(json.loads(raw, parse_constant=_refused))
        if record.cell.name != path.stem:
            raise ValueError(f"it holds the cell {record.cell.name}")
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}") from None
    except json.JSONDecodeError as error:
        raise _damaged(path, f"it holds no JSON ({error})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from None
    return record


def read_all(folder: Path, kind: type[R]) -> dict[str, R]:
    """Every record of a folder by its cell's name."""
    return {path.stem: read(path, kind) for path in sorted(folder.glob("*.json"))}


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is no cell: {what}. Remove the file, and it will be measured again.")


def mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation over seeds (n − 1 in its denominator), which one value does not have."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
