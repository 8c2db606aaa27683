"""Terms beside the adversarial loss that are not gradient penalties of the discriminator.

Formulas leave out the factor weight · every, which the engine applies. D is the per-sample score.
"""

# ruff: noqa: B008 — schedules and specs are immutable, so they may be defaults.

from __future__ import annotations

import math
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gannet.core.errors import UsageError
from gannet.core.parts import Need, RoundRegularizer, WeightRegularizer
from gannet.core.registry import AUGMENTATIONS, REGULARIZERS
from gannet.core.round import Round, Side
from gannet.core.schedule import Constant, Schedule
from gannet.core.spec import Spec
from gannet.core.types import Inputs, sum_entries
from gannet.core.world import gather_rows
from gannet.losses.constraints import Player, filters, weights
from gannet.losses.gradient_penalty import safe_sqrt


@REGULARIZERS.register("lecam")
class LeCam(RoundRegularizer):
    """relu(D(real) − a_fake)² + relu(a_real − D(fake))², `[B]`; Tseng et al. 2021, weight 0.3.

    a_real and a_fake are moving means of the scores over past turns, with rate max(1 − decay, 1/turns) so that they
    start as plain means. The term is 0 for the first `warmup` turns.
    """

    turns: Tensor
    real: Tensor
    fake: Tensor

    def __init__(self, *, weight: Schedule = Constant(0.3), decay: float = 0.99, warmup: int = 1000, every: int = 1):
        super().__init__(weight, every)
        if not 0 <= decay < 1:
            raise UsageError(f"decay={decay:g} is out of range. Allowed: 0 up to but not including 1, usually 0.99.")
        if warmup < 1:
            raise UsageError(f"warmup={warmup} is out of range. The anchors need a turn to exist: 1 or more.")
        self.decay = decay
        self.warmup = warmup
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def forward(self, round: Round) -> Tensor:
        real, fake = _scores(round)
        term = relu(real - self.fake).square() + relu(self.real - fake).square()
        return torch.where(self.turns >= self.warmup, term, 0.0)

    def statistics(self, round: Round) -> dict[str, Tensor]:
        real, fake = _scores(round)
        return {"real": real.detach().mean(), "fake": fake.detach().mean()}

    def after_turn(self, means: dict[str, Tensor]) -> None:
        self.turns += 1
        rate = (1.0 / self.turns).clamp_min(1 - self.decay)
        for name in ("real", "fake"):
            anchor = getattr(self, name)
            anchor.add_(rate * (means[name].to(anchor) - anchor))


@REGULARIZERS.register("consistency")
class Consistency(RoundRegularizer):
    """(D(x) − D(T(x)))² on reals, or on both sides added up, `[B]`; Zhang et al. 2020 (real), Zhao et al. 2021 (both).

    T is any registered augmentation, drawn anew for every sample; D(x) is the round's own verdict. A score of several
    positions or entries is compared position by position: the mean over positions, the sum over entries.
    """

    def __init__(
        self,
        *,
        weight: Schedule = Constant(10.0),
        where: Literal["real", "both"] = "real",
        augment: Spec = Spec("diffaugment"),
        every: int = 1,
    ):
        super().__init__(weight, every)
        self.sides: tuple[Side, ...] = ("real",) if where == "real" else ("real", "fake")
        self.augment = AUGMENTATIONS.build(augment, where="consistency.augment")

    def forward(self, round: Round) -> Tensor:
        return sum_entries([self._distance(round, side) for side in self.sides])

    def _distance(self, round: Round, side: Side) -> Tensor:
        inputs = round.inputs(side).detach()
        draw = round.draw.child(f"consistency/{side}")
        changed = self.augment(inputs.x, draw, self.augment.amount(round.clock))
        judged = round.judge(Inputs(changed, inputs.y, inputs.given), side)
        entries = zip(round.verdict(side).score, judged.score, strict=True)
        return sum_entries([(a - b).square().reshape(len(a), -1).mean(1) for a, b in entries])


@REGULARIZERS.register("centering")
class Centering(RoundRegularizer):
    """(D(real) + D(fake))², `[B]`: holds the mean score at 0, which relativistic pairings leave free; weight 0.01."""

    def __init__(self, *, weight: Schedule = Constant(0.01), every: int = 1):
        super().__init__(weight, every)

    def forward(self, round: Round) -> Tensor:
        real, fake = _scores(round)
        return (real + fake).square()


@REGULARIZERS.register("feature-matching")
class FeatureMatching(RoundRegularizer):
    """Σ over layers of |E f(real) − E f(fake)|², 0-dim; Salimans et al. 2016.

    Means are over the batch, the squared norm is over every other axis. A `UsageError` if D reports no features.
    """

    side = "generator"
    needs: frozenset[Need] = frozenset({"real", "features"})

    def __init__(self, *, weight: Schedule = Constant(1.0), every: int = 1):
        super().__init__(weight, every)

    def forward(self, round: Round) -> Tensor:
        real, fake = round.verdict("real").features, round.verdict("fake").features
        if not real:
            raise UsageError(
                "feature-matching compares inner activations, but this discriminator reports none in Verdict.features. "
                "Choose one that does, or leave feature-matching out."
            )
        return sum_entries(
            [(gather_rows(a).mean(0) - gather_rows(b).mean(0)).square().sum() for a, b in zip(real, fake, strict=True)]
        )


@REGULARIZERS.register("path-length")
class PathLength(RoundRegularizer):
    """(|J| − a)², `[B]`, with J = ∂⟨G(w), n⟩/∂w for n ~ N(0, I)/√(H·W); Karras et al. 2020 (StyleGAN2), weight 2.

    |J| is the norm over the axes of a latent `[B, D]`; of one latent a layer, `[B, L, D]`, the root of the mean over
    layers of the squared norm. a is the moving mean of |J|, which starts at 0 and moves by `rate` a turn.
    """

    side = "generator"
    needs: frozenset[Need] = frozenset({"latent"})
    mean: Tensor

    def __init__(self, *, weight: Schedule = Constant(2.0), rate: float = 0.01, every: int = 4):
        super().__init__(weight, every)
        if not 0 < rate <= 1:
            raise UsageError(f"rate={rate:g} is out of range. Allowed: above 0, at most 1, usually 0.01.")
        self.rate = rate
        self.register_buffer("mean", torch.zeros(()))
        # One differentiation serves the term and its statistics, which may be asked for after the graph is gone.
        self._lengths: WeakKeyDictionary[Round, Tensor] = WeakKeyDictionary()

    def forward(self, round: Round) -> Tensor:
        return (self._length(round) - self.mean).square()

    def statistics(self, round: Round) -> dict[str, Tensor]:
        return {"length": self._length(round).detach().mean()}

    def after_turn(self, means: dict[str, Tensor]) -> None:
        self.mean.lerp_(means["length"].to(self.mean), self.rate)

    def _length(self, round: Round) -> Tensor:
        if round not in self._lengths:
            self._lengths[round] = self._differentiated(round)
        return self._lengths[round]

    @torch.enable_grad()  # statistics are gathered without a graph
    def _differentiated(self, round: Round) -> Tensor:
        generated = round.generated
        if generated is None or generated.latent is None:
            raise UsageError(
                "path-length measures paths in the latent space, but this task reports no latent. "
                "Use it with a task that generates from noise, or leave path-length out."
            )
        x, latent = generated.x, generated.latent
        noise = round.draw.child("path-length").normal(*x.shape[1:]).to(x) / math.sqrt(math.prod(x.shape[2:]))
        (jacobian,) = torch.autograd.grad((x * noise).sum(), latent, create_graph=True)
        square = jacobian.square().sum(-1)
        return safe_sqrt(square.reshape(len(square), -1).mean(1))


@REGULARIZERS.register("orthogonal")
class Orthogonal(WeightRegularizer):
    """Σ over layers of |WWᵀ − I|², W of shape [outputs, fan-in], 0-dim; Brock et al. 2017.

    variant: "off-diagonal" leaves the norms of the filters free and penalises only their overlaps (Brock et al. 2019,
    BigGAN, weight 1e-4); "full" also pulls the norms to 1.
    """

    def __init__(
        self,
        *,
        weight: Schedule = Constant(1e-4),
        variant: Literal["off-diagonal", "full"] = "off-diagonal",
        side: Player = "generator",
        every: int = 1,
    ):
        super().__init__(weight, every)
        self.variant = variant
        self.side = side

    def forward(self, modules: list[nn.Module]) -> Tensor:
        return _summed([self._overlap(filters(layer, w).flatten(2).flatten(0, 1)) for layer, w in weights(modules)])

    def _overlap(self, matrix: Tensor) -> Tensor:
        gram = matrix @ matrix.T
        identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return ((gram - identity) if self.variant == "full" else gram * (1 - identity)).square().sum()


@REGULARIZERS.register("l1")
class L1(WeightRegularizer):
    """Σ |w| over the weights of every layer, biases excepted, 0-dim."""

    def __init__(self, *, weight: Schedule = Constant(1e-4), side: Player = "discriminator", every: int = 1):
        super().__init__(weight, every)
        self.side = side

    def forward(self, modules: list[nn.Module]) -> Tensor:
        return _summed([w.abs().sum() for _, w in weights(modules)])


@REGULARIZERS.register("l2")
class L2(WeightRegularizer):
    """½ Σ w² over the weights of every layer, biases excepted, 0-dim: its gradient is weight decay."""

    def __init__(self, *, weight: Schedule = Constant(1e-4), side: Player = "discriminator", every: int = 1):
        super().__init__(weight, every)
        self.side = side

    def forward(self, modules: list[nn.Module]) -> Tensor:
        return _summed([0.5 * w.square().sum() for _, w in weights(modules)])


def _scores(round: Round) -> tuple[Tensor, Tensor]:
    return round.verdict("real").per_sample(), round.verdict("fake").per_sample()


def _summed(terms: list[Tensor]) -> Tensor:
    return sum_entries(terms) if terms else torch.zeros(())
