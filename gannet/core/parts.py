"""What every exchangeable part of a method promises: objectives, the three kinds of restraint, augmentations, metrics.

Users set a part through the keyword-only arguments of its constructor, which stores them and does nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.round import Round
from gannet.core.schedule import Schedule, not_negative


class Objective(ABC):
    """The adversarial loss of both players, to be minimised. Pure and unreduced.

    `real` and `fake` are score tensors of one shape `[B, …]`, higher = more real; both methods return a tensor of that
    shape. When `wants_real` is false the generator's turn does not judge reals and passes `real=None`.
    """

    wants_real: bool = False
    pairs_rows: bool = False
    """Row i of `real` is compared with row i of `fake`: both sides must have the same length and conditions."""

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
    """A term read from the parameters of the moving networks."""

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
    """What the discriminator sees its inputs through: `[B, C, H, W]` to the same shape, differentiable twice.

    With `sync`, real and fake rows of one index get the same transformation.
    """

    sync: bool = False

    @abstractmethod
    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        """Transform every row with its own numbers from `draw`."""


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


def couples_batch(module: nn.Module) -> bool:
    """Whether any layer lets one sample influence another's output (batch norm, minibatch statistics, packing)."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) or getattr(m, "couples_batch", False) for m in module.modules()
    )
