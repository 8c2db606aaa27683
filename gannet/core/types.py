"""The contracts between the rooms: what a batch, a verdict, a comparison, a player and a task are.

Keys of a `Batch`, the only string-keyed bag in the house:

| key       | what                                   | shape and type                           |
|-----------|----------------------------------------|------------------------------------------|
| `x`       | the target: what a generator must make | `[B, *shape]` float in the field's range |
| `y`       | class label of `x`                     | `[B]` int64 in `0 … classes-1`           |
| `given`   | the condition, or the second domain    | `[B, *shape]` float                      |
| `mask`    | 1 where `x` is known                   | `[B, 1, H, W]` float                     |
| `lengths` | number of valid steps of a sequence    | `[B]` int64                              |
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gannet.core.random import Draw
    from gannet.core.round import Round

Batch = dict[str, Tensor]


# --------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Field:
    """One tensor of a source.

    `shape` excludes the batch axis: `(C, H, W)` for images, `(D,)` for points. `range` is the interval its values
    live in, `None` when unbounded. `order` is "x" when row i belongs to row i of `x` (paired), "own" when the field
    is a second, unpaired domain drawn in its own order. `units` is there for points `[D]` that a source standardised:
    mean and deviation of every column, so that mean + deviation·x is the number as it was given.
    """

    shape: tuple[int, ...]
    kind: str = "image"
    range: tuple[float, float] | None = (-1.0, 1.0)
    order: str = "x"
    # Not among what a data set's digests are made of, as its rows say the same.
    units: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def restored(self, x: Tensor) -> Tensor:
        """Samples `x` `[…, *shape]` in the units of what was given; `x` itself where nothing was standardised."""
        return self._converted(x, lambda x, mean, deviation: mean + deviation * x)

    def standardised(self, x: Tensor) -> Tensor:
        """Numbers `x` `[…, *shape]` as they were given, in the units that samples have; undoes `restored`."""
        return self._converted(x, lambda x, mean, deviation: (x - mean) / deviation)

    def _converted(self, x: Tensor, by: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        if not self.units:
            return x
        # In fp64: 7 digits of a date in seconds are an hour.
        mean, deviation = torch.tensor(self.units, dtype=torch.float64, device=x.device).unbind(1)
        return by(x.double(), mean, deviation).to(x.dtype)


@dataclass(frozen=True)
class DataSpec:
    """What a source holds: named fields, and the number (and names) of classes, 0 when there are no labels."""

    fields: Mapping[str, Field]
    classes: int = 0
    names: tuple[str, ...] = ()

    @property
    def x(self) -> Field:
        return self.fields["x"]

    @property
    def given(self) -> Field | None:
        return self.fields.get("given")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample of `x`, without the batch axis."""
        return self.x.shape

    @property
    def kind(self) -> str:
        return self.x.kind

    def seen_as(self, x: str = "x", given: str | None = "given", labels: bool = True) -> DataSpec:
        """The same source with other fields in the parts of `x` and `given`: how one role of a task sees it."""
        fields = {"x": self.fields[x]}
        if given is not None and given in self.fields:
            fields["given"] = self.fields[given]
        return DataSpec(fields, self.classes if labels else 0, self.names if labels else ())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that `from_json` reads back."""
        fields = {name: dataclasses.asdict(part) for name, part in self.fields.items()}
        for plain in fields.values():
            if not plain["units"]:  # as it was before there were any
                del plain["units"]
        return {"fields": fields, "classes": self.classes, "names": list(self.names)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> DataSpec:
        fields = {
            name: Field(
                tuple(f["shape"]),
                f["kind"],
                f["range"] and tuple(f["range"]),
                f["order"],
                tuple((mean, deviation) for mean, deviation in f.get("units", ())),
            )
            for name, f in value["fields"].items()
        }
        return DataSpec(fields, value["classes"], tuple(value["names"]))


class Split(Protocol):
    """A part (train, test) of a source."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Batch:
        """Rows by index (`[B]` int64, any order, repeats allowed) as a batch on the CPU, floats in their range."""
        ...


class Source(ABC):
    """A data set: `spec` says what it holds, `split("train")` and `split("test")` give it."""

    spec: DataSpec
    partly_labelled: bool = False
    """Whether some training rows have y = −1, a class that is not known."""
    whole: Source | None = None
    """The source it holds a part or a view of, where it is no set of its own."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """The named part. Every source has "train" and "test"; the test rows are never trained on."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when the data changes: two runs compare only if these agree."""


# -------------------------------------------------------------------------------------------- one side of a game


@dataclass(frozen=True)
class Inputs:
    """One side of a comparison: what the discriminator is called with. `x` is `[B, …]`, `y` `[B]`, `given` `[B, …]`."""

    x: Tensor
    y: Tensor | None = None
    given: Tensor | None = None

    def detach(self) -> Inputs:
        return Inputs(*(None if t is None else t.detach() for t in (self.x, self.y, self.given)))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.x)

    @staticmethod
    def cat(sides: list[Inputs]) -> Inputs:
        """Stack sides along the batch axis; all must carry the same parts."""

        def stack(parts: list[Tensor | None]) -> Tensor | None:
            return None if parts[0] is None else torch.cat([p for p in parts if p is not None])

        x = torch.cat([side.x for side in sides])
        return Inputs(x, stack([side.y for side in sides]), stack([side.given for side in sides]))


@dataclass(frozen=True)
class Verdict:
    """What a discriminator says of a batch.

    `score` is always a tuple, higher = more real; each entry is `[B, …]` (one per scale, patch map or head); an
    encoder, which was asked for none, leaves it empty. `heads` maps names (class, code, reconstruction, mask) to
    tensors; `features` are inner activations, shallow first.
    """

    score: tuple[Tensor, ...]
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    features: tuple[Tensor, ...] = ()

    def per_sample(self) -> Tensor:
        """One number a sample, `[B]`: mean over the other axes of each entry, summed over entries."""
        return sum_entries([entry.flatten(1).mean(1) if entry.dim() > 1 else entry for entry in self.score])

    def detach(self) -> Verdict:
        return self.map(lambda t: t.detach())

    def map(self, fn: Callable[[Tensor], Tensor]) -> Verdict:
        """Apply `fn` to every tensor."""
        return Verdict(
            tuple(fn(t) for t in self.score),
            {k: fn(t) for k, t in self.heads.items()},
            tuple(fn(t) for t in self.features),
        )

    def split(self, sizes: list[int]) -> list[Verdict]:
        """Undo `Inputs.cat`: one verdict for each group of rows."""
        ends = accumulate(sizes)
        return [self.map(lambda t, a=end - size, b=end: t[a:b]) for size, end in zip(sizes, ends, strict=True)]  # type: ignore[misc]


def sum_entries(entries: list[Tensor]) -> Tensor:
    total = entries[0]
    for entry in entries[1:]:
        total = total + entry
    return total


@dataclass(frozen=True)
class Generated:
    """Every latent and fake of one turn. A task may subclass it with more tensors; all `Tensor` fields are detached
    together. `latent` is the tensor image paths are measured in: `w` of a mapping network, else `z`."""

    x: Tensor
    latent: Tensor | None = None

    def detach(self) -> Generated:
        cut = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return replace(self, **{k: v.detach() if isinstance(v, Tensor) else v for k, v in cut.items()})


@dataclass(frozen=True)
class Comparison:
    """One adversarial comparison: role `discriminator` judges `real` against `fake`.

    `negatives` are further fakes for the discriminator's turn only (a mismatched caption); `weight` scales the
    adversarial loss; `pool` names a replay pool from which the discriminator's fakes are drawn.
    """

    discriminator: str
    real: Inputs
    fake: Inputs
    negatives: tuple[Inputs, ...] = ()
    weight: float = 1.0
    pool: str | None = None


# ------------------------------------------------------------------------------------------------------- players


@dataclass(frozen=True)
class Clock:
    """Where training is. `samples` counts reals consumed by the first player over all processes, `total` is the
    planned end (never unknown), `step` counts engine steps, `turn` counts the current player's own turns."""

    samples: int = 0
    total: int = 1
    step: int = 0
    turn: int = 0

    @property
    def share(self) -> float:
        """Progress in 0 … 1."""
        return min(1.0, self.samples / max(1, self.total))


def always(clock: Clock) -> bool:
    return True


@dataclass(frozen=True)
class Player:
    """Modules that move together. `roles` are the names of its networks; it takes `repeats` turns a step, when
    `when(clock)` says so."""

    roles: tuple[str, ...]
    repeats: int = 1
    when: Callable[[Clock], bool] = always


SCORE: Mapping[str, int] = {"score": 1}
"""What a discriminator answers with unless its task asks for more."""


@dataclass(frozen=True)
class Role:
    """One network of a task: `kind` is its registry (generator, discriminator, encoder, translator), `setting` the key
    of the experiment that configures it, `data` how it sees the source.

    `heads` says what a discriminator or encoder must answer, name → numbers a row: "score" comes back in
    `Verdict.score`, every other name in `Verdict.heads`. An encoder is the trunk of a discriminator without a score.
    """

    kind: str
    setting: str
    data: DataSpec
    heads: Mapping[str, int] = field(default_factory=lambda: SCORE)


class Task(nn.Module, ABC):
    """An application. Five methods; no device, optimiser, file or backward inside.

    A task is built with the source's `DataSpec` as first argument; the engine then sets `networks`, an
    `nn.ModuleDict` with one module a role. Tasks call them as `self.networks["generator"](…)`.
    """

    fields: ClassVar[tuple[str, ...]] = ("x",)
    """Fields a source must have for this task."""
    rows_together: int = 1
    """How many rows are judged as one sample; every batch must be divisible by it."""
    classes: int = 0
    """How many labels `sample` takes; 0 for none."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.data = data
        self.networks = nn.ModuleDict()

    @property
    @abstractmethod
    def roles(self) -> dict[str, Role]:
        """Name of every network and what fills it."""

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """Who moves, in order."""

    @abstractmethod
    def generate(self, batch: Batch, draw: Draw) -> Generated:
        """Every latent and every fake of this turn: a pure function of its arguments and the networks."""

    @abstractmethod
    def comparisons(self, batch: Batch, generated: Generated) -> list[Comparison]:
        """What is judged against what."""

    def terms(self, player: str, batch: Batch, generated: Generated, rounds: list[Round]) -> dict[str, Tensor]:
        """Further named losses of `player`, already weighted: `[B]` or 0-dim. None by default."""
        return {}

    def measure(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        """Named means over held-out rows that the log should show (an accuracy, a bound): 0-dim, without a graph."""
        return {}

    @abstractmethod
    def sample(
        self, draw: Draw, y: Tensor | None = None, given: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """One sample a row of `draw`, `[B, *shape]` in the range of `x`, from noise, labels `y` `[B]` or conditions."""

    def preview(self, batch: Batch, draw: Draw, y: Tensor | None = None) -> list[tuple[str, Tensor]]:
        """Named columns of the sample grid, each `[B, …]`: what a person should look at to judge this task."""
        return [("real", batch["x"]), ("generated", self.sample(draw, y, batch.get("given")))]
