"""What every exchangeable part of a method promises: objectives, the three kinds of restraint, augmentations, metrics.

Users set a part through the keyword-only arguments of its constructor, which stores them and does nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.random import Draw, Stacked
from gannet.core.round import Round
from gannet.core.schedule import Schedule, not_negative
from gannet.core.types import Batch, Clock, Verdict


class Objective(ABC):
    """The adversarial loss of both players, to be minimised. Pure and unreduced.

    `real` and `fake` are score tensors of one shape `[B, …]`, higher = more real; both methods return a tensor of that
    shape. When `wants_real` is false the generator's turn does not judge reals and passes `real=None`.
    """

    wants_real: bool = False
    pairs_rows: bool = False
    """Row i of `real` is compared with row i of `fake`: both sides must have the same length and conditions."""

    def at(self, clock: Clock) -> Objective:
        """The objective as it stands at `clock`, its schedules read; itself where it has none."""
        return self

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_D of every entry."""

    @abstractmethod
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """L_G of every entry."""

    @abstractmethod
    def equilibrium(self) -> float:
        """min over c of L_D(c, c): the discriminator's loss when it cannot tell the sides apart."""


Need = Literal["real", "gradient:real", "gradient:fake", "features", "latent"]


class Regularizer(nn.Module):
    """A term added to one player's loss: `weight · every · forward`, on every `every`-th turn of that player.

    `forward` never changes state. State (running means, anchors) lives in buffers and advances in `after_turn`, once a
    turn, from the mean over micro-batches and processes of `statistics`.
    """

    side: Literal["discriminator", "generator"] = "discriminator"
    needs: frozenset[Need] = frozenset()
    """What the engine must prepare: reals judged in the generator's turn, inputs that require gradients, features."""
    per_sample: bool = False
    """The term is meaningful only if no layer of the discriminator couples the batch (batch norm)."""
    restrains: bool = False
    """It holds the discriminator back: controllers of the penalty multiply its weight."""
    interpolates: bool = False
    """Points between real and fake rows are judged, so both sides of a row must share their condition."""

    def __init__(self, weight: Schedule | float = 1.0, every: int = 1):
        super().__init__()
        if every < 1:
            raise UsageError(f"every={every}: a term is due on every k-th turn, k at least 1.")
        self.weight = not_negative(weight, "weight")
        self.every = every

    def statistics(self, round: Round) -> dict[str, Tensor]:
        """Numbers of this micro-batch whose means drive `after_turn`; empty when there is no state."""
        return {}

    def after_turn(self, means: dict[str, Tensor]) -> None:
        """Advance the state from the turn's mean statistics."""


class RoundRegularizer(Regularizer, ABC):
    """A term read from a Round."""

    @abstractmethod
    def forward(self, round: Round) -> Tensor:
        """The unweighted term, `[B]` or 0-dim."""


class WeightRegularizer(Regularizer, ABC):
    """A term read from the parameters of the moving networks.

    One that remembers weights makes its buffers in `watch` and moves them in `after_step`.
    """

    def watch(self, modules: list[nn.Module]) -> None:
        """Called once, before training, with the networks of its side."""

    def after_step(self, modules: list[nn.Module]) -> None:
        """Called after every step of its side's optimiser, without a graph."""

    @abstractmethod
    def forward(self, modules: list[nn.Module]) -> Tensor:
        """The unweighted term, 0-dim."""


class Constraint(ABC):
    """A projection applied to a player's networks after each of its steps."""

    side: Literal["discriminator", "generator"] = "discriminator"

    @abstractmethod
    def apply(self, modules: Iterable[nn.Module]) -> None:
        """Change the parameters in place, without a graph."""


class Augmentation(nn.Module, ABC):
    """What the discriminator sees its inputs through: `[B, …]` to the same shape, differentiable twice.

    `amount` is its strength, a schedule that the engine reads and controllers may multiply: the standard deviation of
    noise, the share of samples that are changed. With `sync`, real and fake rows of one index are changed alike.
    """

    images_only: ClassVar[bool] = True

    def __init__(self, amount: Schedule | float = 1.0, sync: bool = False):
        super().__init__()
        self.amount: Schedule = not_negative(amount, "amount")
        self.sync = sync

    @abstractmethod
    def forward(self, x: Tensor, draw: Draw | Stacked, amount: float = 1.0) -> Tensor:
        """Change every row with its own numbers from `draw`; at amount 0 nothing changes."""


class Opponent(ABC):
    """Which discriminator the generator's turn plays against: the one there is, or one some moves ahead.

    `loss(judge)` is the discriminator's adversarial loss of this turn's reals and fakes when `judge(x, y, given)`
    answers in its place, with a graph to the fakes; `optimiser` is the one that trains the discriminator, as it stands.
    `ahead` returns what the generator's fakes are judged by.
    `differentiates` says that the discriminator's own steps are differentiated, which no compiled network allows.
    """

    differentiates: bool = True

    @abstractmethod
    def ahead(
        self,
        module: nn.Module,
        loss: Callable[[Callable[..., Verdict]], Tensor],
        optimiser: torch.optim.Optimizer,
    ) -> Callable[..., Verdict]: ...


@dataclass(frozen=True)
class Decision:
    """What a controller does: the new `factor` of its actuator, and the line a person reads; `since` is at how many
    samples began what it saw."""

    factor: float
    text: str
    since: float = 0.0


class Controller(ABC):
    """One signal and one actuator. It reads the log lines since the last decision and may move its factor.

    | `actuator`         | the engine multiplies by its factor            |
    |--------------------|------------------------------------------------|
    | `penalty`          | the weight of every gradient penalty           |
    | `augmentation`     | the amount of every augmentation               |
    | `discriminator.lr` | the learning rate of players that discriminate |
    | `rollback`         | the penalty, after a return to a snapshot      |

    A controller keeps nothing between calls but its factor, so that a resumed run decides alike.
    """

    actuator: ClassVar[Literal["penalty", "augmentation", "discriminator.lr", "rollback"]]
    start: float = 1.0
    """The factor a run begins with."""

    @abstractmethod
    def decide(self, lines: list[Mapping[str, Any]], factor: float) -> Decision | None:
        """The move after `lines`, oldest first, taken since any controller last moved; `None` to leave all alone."""


class Referring(nn.Module, ABC):
    """A module that keeps a fixed reference batch of training rows (reference batch norm)."""

    @abstractmethod
    def refer(self, batch: Batch) -> None:
        """Called once, before training, with the first rows of the training order."""


class Advancing(nn.Module, ABC):
    """A module with state that moves once before each turn of its own player, never in a forward or in evaluation
    (spectral norm's power iteration)."""

    @abstractmethod
    def advance(self) -> None: ...


class Metric(ABC):
    """A number about generated samples: a pure function of arrays.

    | `reads`         | `fake` and `real`, `[n, d]` and `[m, d]`                                    |
    |-----------------|-----------------------------------------------------------------------------|
    | `features`      | the extractor's features                                                    |
    | `probabilities` | the extractor's class probabilities                                         |
    | `samples`       | the samples themselves, flattened                                           |
    | `steps`         | change of a fake's features over a small step ε of its latent, divided by ε |
    """

    reads: ClassVar[Literal["features", "probabilities", "samples", "steps"]]
    better: ClassVar[Literal["lower", "higher"]]
    unit: ClassVar[str] = ""
    wants_source: ClassVar[bool] = False
    """Whether the constructor takes the source first: its shape, its known modes."""
    wants_train: ClassVar[bool] = False
    """Whether it compares with training rows as well as held-out ones: it is then called with `train`, as many
    training rows as the extractor can be shown, third."""
    needs_rows: int = 1
    """The fewest samples a side it can be taken of; it may depend on the options."""

    @abstractmethod
    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        """The value for `fake` `[n, d]` against `real` `[m, d]`, computed in fp64."""


class Extractor(ABC):
    """Turns samples `[B, *shape]` in [−1, 1] into features `[B, d]` and, where there are classes, probabilities."""

    name: str
    suits: ClassVar[tuple[str, ...]] = ()
    """Names of the sources it is chosen for when nobody names an extractor."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor: ...

    def probabilities(self, x: Tensor) -> Tensor | None:
        """Class probabilities `[B, classes]`, `None` where the extractor has no classes."""
        return None

    @property
    @abstractmethod
    def protocol(self) -> str:
        """What a number taken in these features must carry: name, hash of the weights, resize."""


def couples_batch(module: nn.Module, weakly: bool = True) -> bool:
    """Whether any layer lets one sample influence another's output (batch norm, minibatch statistics, packing).

    Without `weakly`, layers do not count through which rows meet in one number alone (minibatch standard deviation): a
    penalty on one sample's gradient is then still, nearly, one sample's, and StyleGAN2 has both."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm)
        or (getattr(m, "couples_batch", False) and (weakly or not getattr(m, "couples_weakly", False)))
        for m in module.modules()
    )
