"""The experiment: everything a run is, as text. A preset, then overrides; every value remembers where it came from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from gannet.core import registry
from gannet.core.errors import Problems, UsageError, nearest, unknown
from gannet.core.schedule import check_extent
from gannet.core.spec import Spec, from_yaml, parse, parse_value, render

MAX_YAML = 200_000


def _as_spec(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
    return value


def _as_parts(value: Any) -> Any:
    """A list of specs becomes a mapping by name, so that `regularizers.r1.weight=10` has a place to point to."""
    if value is None:
        return {}
    if isinstance(value, Spec | str):
        value = [value]
    if not isinstance(value, list):
        return value
    parts: dict[str, Any] = {}
    for item in value:
        spec = _as_spec(item)
        if not isinstance(spec, Spec):
            raise ValueError(f"{render(item)} is not a part such as r1(weight=10)")
        name, number = spec.name, 2
        while name in parts:
            name, number = f"{spec.name}-{number}", number + 1
        parts[name] = spec
    return parts


PartSpec = Annotated[Spec, BeforeValidator(_as_spec), PlainSerializer(str)]
Parts = Annotated[dict[str, PartSpec], BeforeValidator(_as_parts)]


def _as_extent(value: str | int) -> str | int:
    try:
        check_extent(value)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return value


Extent = Annotated[str | int, AfterValidator(_as_extent)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Stop(Section):
    """When training ends: the first that is reached. Without `samples`, `minutes` are turned into samples after a
    short measurement, with a hard cap on the clock at 1.5 times. `target` and `patience` look at the primary score."""

    samples: int | None = Field(None, ge=0, le=10**13)
    minutes: float | None = Field(None, gt=0, le=1e6)
    target: float | None = None
    patience: int | None = Field(None, ge=1)


class Ema(Section):
    """Moving average of the weights that are sampled, by half-life in samples; `ramp` shortens it early on to that
    share of the samples seen so far. `halflife: none` turns it off."""

    halflife: float | None = Field(2000.0, gt=0)
    ramp: float | None = Field(0.05, gt=0)


class Turns(Section):
    """How one player moves: `repeats` turns a step, from `start` until `until` (shares of the run or samples)."""

    repeats: int | None = Field(None, ge=1, le=1000)
    start: Extent = 0
    until: Extent = "100%"


class Evaluate(Section):
    """Scores taken in training, on `n` samples every `every`; `metrics: []` turns them off."""

    every: Extent = "10%"
    metrics: list[PartSpec] | None = None
    n: int | None = Field(None, ge=2)


class Keep(Section):
    """What is written and how often: sample grids, checkpoints (also after every `minutes`), log lines."""

    samples: Extent = "10%"
    checkpoints: Extent = "10%"
    minutes: float = Field(5.0, gt=0)
    log: Extent = "0.5%"
    newest: int = Field(2, ge=1)


class Experiment(Section):
    """One run, completely described."""

    preset: str = ""
    task: PartSpec = Spec("synthesis")
    data: PartSpec = Spec("digits")
    generator: PartSpec = Spec("dcgan")
    discriminator: PartSpec = Spec("dcgan")
    objective: PartSpec = Spec("nonsaturating")
    regularizers: Parts = {}
    constraints: Parts = {}
    augment: Parts = {}
    optim: Parts = {}
    players: dict[str, Turns] = {}
    clip: dict[str, float] = {}
    batch: int = Field(64, ge=1, le=1_000_000)
    accumulate: int = Field(1, ge=1, le=100_000)
    share: Literal["nothing", "fakes", "scores"] = "fakes"
    ema: Ema = Ema()
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    channels_last: bool = False
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
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def data_shorthand(text: str) -> Spec:
    """`data=./faces` is a folder, `data=x.npz` an array; anything else is spec text."""
    looks_like_path = text.startswith(("./", "../", "/", "~")) or text.endswith("/")
    if re.search(r"\.(npy|npz)$", text) and "(" not in text:
        return Spec("array", (), {"path": text})
    if (looks_like_path or text.lower().endswith(".zip")) and "(" not in text:
        return Spec("folder", (), {"path": text})
    return parse(text, "data")


# ------------------------------------------------------------------------------------------------ reading presets


class _Loader(yaml.SafeLoader):
    """YAML in which `2e-4` is a number and `no` is text, without anchors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UsageError(f"line {self.peek_event().start_mark.line + 1}: YAML aliases are not read here.")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in pairs
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"), list("-+0123456789.")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:none|None)$"), list("nN"))


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """A mapping from YAML text; `UsageError` with the place for anything else."""
    if len(text) > MAX_YAML:
        raise UsageError(f"{where}: {len(text):,} characters; an experiment has at most {MAX_YAML:,}.")
    try:
        tree = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{where}{line}: not readable as YAML: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{where}: expected `key: value` lines.")
    return tree


PRESETS = Path(__file__).parent.parent / "presets"


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_text(name: str) -> str:
    """The YAML of a shipped preset, or of an experiment file when `name` ends in .yaml."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or name in preset_names():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the experiment {name!r}: {error}") from None
    raise UsageError(unknown("preset", name, preset_names()))


# ---------------------------------------------------------------------------------------------------- overriding


class Resolved:
    """An experiment with the origin of every value: `origins["optim.generator.lr"] == "command line"`."""

    def __init__(self, experiment: Experiment, origins: dict[str, str]):
        self.experiment = experiment
        self.origins = origins

    def origin(self, path: str) -> str:
        """Where the value at `path` (or the nearest enclosing one) was set."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return "default"

    def to_yaml(self) -> str:
        """Re-runnable text, one top-level key a line group, each with its origin as a comment."""
        lines = []
        for key, value in self.experiment.canonical().items():
            dumped = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=200).rstrip().split("\n")
            nested = [o for p, o in self.origins.items() if p.startswith(key + ".") and o != self.origin(key)]
            comment = ", ".join(dict.fromkeys([self.origin(key), *nested]))
            lines += [f"{dumped[0]}  # {comment}", *dumped[1:]]
        return "\n".join(lines) + "\n"


def resolve(preset: str, overrides: Mapping[str, Any] | list[str] = (), origin: str = "command line") -> Resolved:  # type: ignore[assignment]
    """The experiment named `preset` (or in a YAML file) with `key=value` overrides.

    All problems are found in one pass and raised together as `Problems`.
    """
    label = f"preset {preset}" if not preset.endswith((".yaml", ".yml")) else preset
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for key, value in read_yaml(preset_text(preset), label).items():
        _assign(tree, str(key), value, label, origins, problems)
    if "preset" not in tree:
        tree["preset"] = Path(preset).stem
    for key, value in split_overrides(overrides, problems):
        key = "start_from" if key == "from" else key
        _assign(tree, key, value, origin, origins, problems)
    return validate(tree, origins, problems)


def split_overrides(overrides: Mapping[str, Any] | list[str], problems: list[str]) -> list[tuple[str, Any]]:
    """`["batch=32", …]` or `{"batch": 32}` as pairs; a word without "=" is a problem."""
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and key:
            pairs.append((key.strip(), value.strip()))
        else:
            problems.append(f"'{word}' is not an override. Write key=value, as in batch=32.")
    return pairs


def _assign(
    tree: dict[str, Any], path: str, value: Any, origin: str, origins: dict[str, str], problems: list[str]
) -> None:
    """Set `path` in the tree, descending through sections, part mappings and the arguments of specs."""
    try:
        _set(tree, path.split("."), _read(path, value, origin), path, origin)
    except UsageError as error:
        problems.append(str(error))
        return
    for old in [p for p in origins if p.startswith(path + ".")]:
        del origins[old]
    if isinstance(value, dict):
        origins.update({f"{path}.{k}": origin for k in value})
    else:
        origins[path] = origin


def _read(path: str, value: Any, origin: str) -> Any:
    if path == "data" and isinstance(value, str):
        return data_shorthand(value)
    if not isinstance(value, str):
        return from_yaml(value, path)
    if re.fullmatch(r"-?\d+,\d+", value):
        raise UsageError(f"{path}: '{value}' is not a number ({origin}). Use a dot: {path}={value.replace(',', '.')}")
    if re.fullmatch(r"\d+(\.\d+)?%", value):
        return value
    if path.split(".")[-1] in ("path", "device", "preset", "start_from") and "(" not in value:
        return value.strip("\"'")
    try:
        read = parse_value(value, path)
    except UsageError as error:
        raise UsageError(f"{error} ({origin})") from None
    is_part = path.split(".")[0] in PART_KEYS
    return str(read) if isinstance(read, Spec) and not is_part else read


def _set(node: Any, keys: list[str], value: Any, path: str, origin: str) -> None:
    head, rest = keys[0], keys[1:]
    top = len(keys) == len(path.split("."))
    if top and head.lower() in MEANT:
        raise UsageError(f"unknown key '{path}' ({origin}). Did you mean: {MEANT[head.lower()]}?")
    if top and head not in Experiment.model_fields:
        names = list(Experiment.model_fields)
        close = nearest(head, [*names, *Stop.model_fields, *Ema.model_fields])
        found = [
            n if n in names else next(f"{s}.{n}" for s, m in _SECTIONS.items() if n in m.model_fields) for n in close
        ]
        defaults = Experiment().canonical()
        shown = [
            f"{n} (={render(defaults[n])})" if n in defaults and not isinstance(defaults[n], dict) else n for n in found
        ]
        hint = f" Did you mean: {', '.join(shown)}?" if shown else f" Allowed: {', '.join(names)}."
        raise UsageError(f"unknown key '{path}' ({origin}).{hint}")
    if not rest:
        if isinstance(value, list) and head in ("regularizers", "constraints", "augment"):
            value = _as_parts(value)
        node[head] = (
            _as_parts(value)
            if isinstance(value, Spec) and head in ("regularizers", "constraints", "augment")
            else value
        )
        return
    child = node.get(head)
    if child is None and top and head in _DEFAULT_SPECS:
        child = _DEFAULT_SPECS[head]
    if top and head == "optim" and len(rest) > 1:  # a player without an optimiser of its own has the default one
        child = {rest[0]: Spec("adam"), **(child or {})}
    if isinstance(child, str):
        child = _as_spec(child)
    if isinstance(child, Spec):
        node[head] = _set_argument(child, rest, value, path, origin)
        return
    if child is None:
        child = {}
    if not isinstance(child, dict):
        raise UsageError(f"{path}: {head} has no parts to set ({origin}).")
    if len(rest) > 1 and head in ("regularizers", "constraints", "augment") and rest[0] not in child:
        present = ", ".join(child) or "none"
        raise UsageError(
            f"{path}: there is no {head.removesuffix('s')} '{rest[0]}' in this experiment ({origin}). "
            f"Present: {present}. Add one with {head}.{rest[0]}={rest[0]}(…)."
        )
    child = dict(child)
    node[head] = child
    _set(child, rest, value, path, origin)


def _set_argument(spec: Spec, keys: list[str], value: Any, path: str, origin: str) -> Spec:
    if len(keys) == 1:
        return spec.with_arg(keys[0], value)
    inner = spec.args.get(keys[0])
    if not isinstance(inner, Spec):
        raise UsageError(f"{path}: {spec.name}.{keys[0]} has no parts to set ({origin}).")
    return spec.with_arg(keys[0], _set_argument(inner, keys[1:], value, path, origin))


_SECTIONS: dict[str, type[Section]] = {"stop": Stop, "ema": Ema, "evaluate": Evaluate, "keep": Keep}
_DEFAULT_SPECS = {k: f.default for k, f in Experiment.model_fields.items() if isinstance(f.default, Spec)}
_PART_REGISTRIES: dict[str, tuple[registry.Registry[Any], ...]] = {
    "task": (registry.TASKS,),
    "data": (registry.SOURCES,),
    "generator": (registry.GENERATORS, registry.TRANSLATORS),
    "discriminator": (registry.DISCRIMINATORS,),
    "objective": (registry.OBJECTIVES,),
    "regularizers": (registry.REGULARIZERS,),
    "constraints": (registry.CONSTRAINTS,),
    "augment": (registry.AUGMENTATIONS,),
    "optim": (registry.OPTIMISERS,),
}
MEANT = {
    "epoch": "stop.samples", "epochs": "stop.samples", "steps": "stop.samples", "iterations": "stop.samples",
    "time": "stop.minutes", "batch_size": "batch", "batchsize": "batch", "bs": "batch", "latent": "generator.latent",
    "z_dim": "generator.latent", "lr": "optim.generator.lr", "learning_rate": "optim.generator.lr", "loss": "objective",
    "n_critic": "players.discriminator.repeats", "dataset": "data", "optimizer": "optim", "gpu": "device",
}  # fmt: skip
"""Where other tools' words live here."""
PART_KEYS = set(_PART_REGISTRIES)


def _registry_of(registries: tuple[registry.Registry[Any], ...], spec: Spec, where: str) -> registry.Registry[Any]:
    """The one of `registries` that knows the name of `spec`."""
    for candidate in registries:
        if spec.name in candidate.names():
            return candidate
    raise UsageError(unknown(registries[0].kind, spec.name, [n for r in registries for n in r.names()], where))


def validate(tree: dict[str, Any], origins: dict[str, str], problems: list[str]) -> Resolved:
    """Check types, names and arguments of the whole tree; raise every problem at once."""
    try:
        experiment = Experiment.model_validate(tree)
    except ValidationError as error:
        problems += [_explain(e, origins) for e in error.errors()]
        raise Problems(problems) from None
    for key, registries in _PART_REGISTRIES.items():
        value = getattr(experiment, key)
        named = {f"{key}.{n}": s for n, s in value.items()} if isinstance(value, dict) else {key: value}
        for path, spec in named.items():
            try:
                _registry_of(registries, spec, path).resolve(spec, path)
            except UsageError as error:
                problems.append(str(error))
    if problems:
        raise Problems(problems, "See every key with: gannet explain " + (experiment.preset or "PRESET"))
    return Resolved(experiment, origins)


def _explain(error: Any, origins: dict[str, str]) -> str:
    path = ".".join(str(p) for p in error["loc"])
    origin = next((o for p, o in origins.items() if p == path or path.startswith(p + ".")), "default")
    if error["type"] == "extra_forbidden":
        section = _SECTIONS.get(str(error["loc"][0]), Turns)
        close = nearest(str(error["loc"][-1]), section.model_fields)
        hint = f" Did you mean: {', '.join(close)}?" if close else ""
        return f"unknown key '{path}' ({origin}).{hint} Allowed: {', '.join(section.model_fields)}."
    received = render(error["input"]) if not isinstance(error["input"], dict) else "…"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{path}: received {received} ({origin}); {message}."
