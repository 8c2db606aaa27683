"""The experiment: everything a run is, as text."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from gannet.core.errors import UsageError, unknown
from gannet.core.registry import SOURCES
from gannet.core.schedule import check_extent, in_samples
from gannet.core.spec import Spec, parse
from gannet.core.types import Clock


def as_spec(value: Any) -> Spec:
    """A part from its text. Raises `ValueError` for what is none."""
    if isinstance(value, Spec):
        return value
    if not isinstance(value, str):
        raise ValueError("it must be a part")
    try:
        return parse(value)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None


def as_list(value: Any) -> Any:
    """A lone part as a list of one."""
    return [value] if isinstance(value, Spec | str) else value


def as_parts(value: Any) -> Any:
    """A list of specs becomes a mapping by name, so that `regularizers.r1.weight=10` has a place to point to."""
    if value is None:
        return {}
    value = as_list(value)
    if not isinstance(value, list):
        return value
    parts: dict[str, Any] = {}
    for item in value:
        spec = as_spec(item)
        name, number = spec.name, 2
        while name in parts:
            name, number = f"{spec.name}-{number}", number + 1
        parts[name] = spec
    return parts


PartSpec = Annotated[Spec, BeforeValidator(as_spec), PlainSerializer(str)]
Parts = Annotated[dict[str, PartSpec], BeforeValidator(as_parts)]


def _as_extent(value: str | int) -> str | int:
    try:
        check_extent(value)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return value


def _as_interval(value: str | int) -> str | int:
    if in_samples(value, Clock(total=1)) == 0:
        raise ValueError("an interval must be above 0; 100% is once")
    return value


Extent = Annotated[str | int, AfterValidator(_as_extent)]
Interval = Annotated[Extent, AfterValidator(_as_interval)]


def _as_pace(value: str | int) -> str | int:
    return value if value == "auto" else _as_interval(_as_extent(value))


def _as_halflives(value: Any) -> float | list[float] | None:
    if value is None:
        return None
    try:
        several = [float(each) for each in (value if isinstance(value, list) else [value])]
    except (TypeError, ValueError):
        raise ValueError("it must be a number of samples, or several in a list as in [500, 5000]") from None
    if not all(0 < each < math.inf for each in several):
        raise ValueError("none turns the average off; a half-life must be a number of samples above 0")
    if not several or len(set(several)) < len(several):
        raise ValueError("a list names one half-life or more, each once, as in [500, 5000]")
    return several if isinstance(value, list) else several[0]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Stop(Section):
    """When training ends: the first that is reached. Without `samples`, `minutes` are turned into samples after a
    short measurement, with a hard cap on the clock at 1.5 times; beside `samples` they are a cap themselves. An end
    that is asked for replaces the preset's own. `target` and `patience` look at the primary score."""

    samples: int | None = Field(None, ge=0, le=10**13)
    minutes: float | None = Field(None, gt=0, le=1e6)
    target: float | None = None
    patience: int | None = Field(None, ge=1)


class Ema(Section):
    """Moving average of the weights that are sampled, by half-life in samples; `ramp` shortens it early on to that
    share of the samples seen so far. `halflife: none` turns it off. Of several, as in `[500, 5000]`, every score takes
    the best; until the first score, and without any, it is the first."""

    halflife: Annotated[float | list[float] | None, BeforeValidator(_as_halflives)] = 2000.0
    ramp: float | None = Field(0.05, gt=0)


class Turns(Section):
    """How one player moves: `repeats` turns a step, from `start` until `until` (shares of the run or samples), all but
    the parameters whose names begin with one of `frozen`."""

    repeats: int | None = Field(None, ge=1, le=1000)
    start: Extent = 0
    until: Extent = "100%"
    frozen: list[str] = []


class Evaluate(Section):
    """Scores taken in training, on `n` samples every `every`; `metrics: []` turns them off. `auto` is every 10 %, or
    less often where scores would take more than a twentieth of the time. Metrics, and the extractor in whose features
    they are taken, are chosen by the data where they are left out."""

    every: Annotated[str | int, AfterValidator(_as_pace)] = "auto"
    metrics: Annotated[list[PartSpec] | None, BeforeValidator(as_list)] = None
    extractor: PartSpec | None = None
    n: int | None = Field(None, ge=2)


class Keep(Section):
    """What is written and how often: sample grids, checkpoints (also after every `minutes`), log lines."""

    samples: Interval = "10%"
    checkpoints: Interval = "10%"
    minutes: float = Field(5.0, gt=0)
    log: Interval = "0.5%"
    newest: int = Field(2, ge=1)


SECTIONS: dict[str, type[Section]] = {"stop": Stop, "ema": Ema, "evaluate": Evaluate, "keep": Keep}


class Experiment(Section):
    """One run, completely described."""

    preset: str = ""
    task: PartSpec = Spec("synthesis")
    data: PartSpec = Spec("digits")
    generator: PartSpec = Spec("dcgan")
    discriminator: PartSpec = Spec("dcgan")
    encoder: PartSpec = Spec("dcgan")
    objective: PartSpec = Spec("nonsaturating")
    regularizers: Parts = {}
    constraints: Parts = {}
    augment: Parts = {}
    opponent: PartSpec = Spec("present")
    controllers: Parts = {}
    optim: Parts = {}
    players: dict[str, Turns] = {}
    clip: dict[str, float] = {}
    batch: int = Field(64, ge=1, le=1_000_000)
    accumulate: int = Field(1, ge=1, le=100_000)
    share: Literal["nothing", "fakes", "scores"] = "fakes"
    ema: Ema = Ema()
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    device: str = "auto"
    threads: int | None = Field(None, ge=1, le=1024)
    seed: int = Field(0, ge=0, lt=2**63)
    start_from: str = ""
    stop: Stop = Stop()
    evaluate: Evaluate = Evaluate()
    keep: Keep = Keep()
    log: Literal["files", "tensorboard"] = "files"
    profile: bool = False

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("data"), str):
            value = {**value, "data": data_shorthand(value["data"])}
        return value

    def canonical(self) -> dict[str, Any]:
        """Plain JSON-able values, specs as text."""
        return self.model_dump(mode="json")

    def hash(self) -> str:
        """Sixteen hexadecimal digits of everything that determines the numbers (not the logging, device or stop)."""
        plain = {
            k: v
            for k, v in self.canonical().items()
            if k not in ("log", "profile", "device", "stop", "keep", "threads")
        }
        if self.evaluate.extractor is None:  # it came later, and changes nothing where nobody sets it
            del plain["evaluate"]["extractor"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


PACKED = "gannet-shards"
"""What the index of packed data calls its format."""


def data_shorthand(text: str) -> Spec:
    """`data=./faces` is a folder, or shards where it holds packed data; `data=x.npz` is an array, `data=x.csv` points,
    `data=x.tar` tars; a source's name or spec text is that source. Any other name is a path if something is there, as
    `my photos`. Raises `UsageError` for what is nothing of these."""
    path = os.path.expanduser(text)
    if text in SOURCES.names() or (not os.path.exists(path) and ("(" in text or not text.strip())):
        return parse(text, "data")
    if re.search(r"\.(npy|npz)$", text):
        return Spec("array", (), {"path": text})
    for ending, source in ((".csv", "csv"), (".tar", "tars")):
        if text.lower().endswith(ending):
            return Spec(source, (), {"path": text})
    if os.path.exists(path) or "/" in text or text.lower().endswith(".zip"):
        # Written in one way, so that packed data know their source again.
        text = text if text.startswith((".", "/", "~")) or os.path.isabs(text) else f"./{text}"
        return Spec("shards" if is_packed(Path(path)) else "folder", (), {"path": text})
    allowed = unknown("data source", text, SOURCES.names(), "data")
    raise UsageError(f"{allowed} Or a path: there is no {text} in {Path.cwd()}.")


def is_packed(path: Path) -> bool:
    """Whether `path` is a directory that `gannet data pack` made, or began to make."""
    for name in ("index.json", "packing.json"):
        with contextlib.suppress(OSError), open(path / name, "rb") as stream:
            if f'"{PACKED}"'.encode() in stream.read(200):
                return True
    return False
