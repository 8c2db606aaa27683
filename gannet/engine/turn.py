"""One player's turn: what is generated, how it is judged, what it costs, and the step that follows.

The order is the house's contract: freeze the others, advance spectral norms, then for each micro-batch generate, judge,
sum the losses and go backward; then average gradients over processes, clip, step, constrain, advance the
regularizers' state. Nothing here knows what a GAN is beyond players, comparisons and verdicts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from gannet.core import world
from gannet.core.errors import UsageError
from gannet.core.parts import Advancing, Objective, Regularizer, RoundRegularizer, WeightRegularizer, couples_batch
from gannet.core.random import Draw, Stacked, installed
from gannet.core.round import Round, Side
from gannet.core.types import Batch, Clock, Comparison, Generated, Inputs, Player, Verdict, sum_entries
from gannet.engine.assembly import Game
from gannet.engine.compiling import differentiate_twice, eagerly
from gannet.engine.controllers import Pilot
from gannet.engine.distributed import average_gradients, mean_over_processes
from gannet.engine.feed import Feed
from gannet.engine.pool import Pool
from gannet.engine.profiling import span


class NonFinite(Exception):
    """A loss or gradient stopped being a number: which term, in which tensor."""

    def __init__(self, player: str, term: str, tensor: str):
        self.player, self.term, self.tensor = player, term, tensor
        super().__init__(f"{player}'s turn: {term} is not finite (first in {tensor})")


@dataclass
class Report:
    """What a turn left to log: mean terms, gradient norm, and the rounds of its last micro-batch."""

    terms: dict[str, float] = field(default_factory=dict)
    adversarial: float = 0.0
    grad_norm: float = 0.0
    rounds: list[Round] = field(default_factory=list)
    stop_votes: int = 0


@dataclass
class Shared:
    """What one player's turn leaves to the next: the batch, the fakes with their graph, the verdicts on reals."""

    batch: Batch
    generated: Generated
    positions: range
    turn: int
    stream: str
    reals: list[Verdict] = field(default_factory=list)


class Table:
    """The game with what moves in it: optimisers, cursors, turn counts, replay pools and regularizers' state."""

    def __init__(self, game: Game):
        self.game, experiment = game, game.experiment
        self.seed, self.rate = experiment.seed, 1.0
        self.feed = Feed(game.source, "train", experiment.seed, game.device, game.dtype, experiment.channels_last)
        # Walking through modules costs as much as a small layer, so it is done once.
        moving = {n: game.moving(n) for n in game.players}
        self.names = {n: list(found) for n, found in moving.items()}
        self.parameters = {n: list(found.values()) for n, found in moving.items()}
        free = {id(p) for found in self.parameters.values() for p in found}
        for parameter in game.networks.parameters():
            parameter.requires_grad = id(parameter) in free
        self.weights = {n: [p for p in module.parameters() if id(p) in free] for n, module in game.networks.items()}
        self.sides = {n: game.side(n) for n in game.players}
        self.movers = {n: [game.networks[r] for r in player.roles] for n, player in game.players.items()}
        self.pilot = Pilot(game.controllers, game.objective.equilibrium())
        self.advancing = {
            n: [m for m in module.modules() if isinstance(m, Advancing)] for n, module in game.networks.items()
        }
        self.optimisers = {n: game.recipes[n].build(self.parameters[n]) for n in game.players}
        self.turns = dict.fromkeys(game.players, 0)
        self.cursors = dict.fromkeys(game.players, 0)
        self.pools: dict[str, Pool] = {}
        self.coupled = {n: couples_batch(game.networks[n]) for n in game.discriminators}
        self.shared: Shared | None = None

    # ------------------------------------------------------------------------------------------------- one turn

    def turn(
        self, name: str, player: Player, clock: Clock, share_with: Player | None, stop_vote: bool = False
    ) -> Report:
        """Move `player` once. With `share_with`, leave the fakes for that player, with their graph."""
        experiment = self.game.experiment
        clock = Clock(clock.samples, clock.total, clock.step, self.turns[name])
        due = self._due(self.sides[name], clock)
        for role in player.roles:
            for module in self.advancing[role]:
                module.advance()
        for parameter in self.parameters[name]:
            parameter.grad = None
        inherited, self.shared = self.shared, None
        report = Report()
        means: dict[str, Tensor] = {}
        for micro in range(experiment.accumulate):
            batch, generated, draw, positions = self._generate(name, player, clock, micro, share_with, inherited)
            self._free_only(player.roles)
            mine = generated.detach() if share_with else generated
            with eagerly(experiment.compile and bool(differentiate_twice(due))):
                rounds = self._rounds(name, player, batch, mine, draw, clock, due, inherited)
                terms, adversarial = self._losses(name, player, batch, mine, rounds, clock, due)
            total = sum_entries(list(terms.values()))
            self._check(name, terms, total)
            with span("gannet/backward"):
                total.backward(torch.full_like(total, 1 / experiment.accumulate))
            for key, value in terms.items():
                report.terms[key] = report.terms.get(key, 0.0) + float(value.detach()) / experiment.accumulate
            report.adversarial += adversarial / experiment.accumulate
            for key, value in self._statistics(due, rounds).items():
                means[key] = means.get(key, torch.zeros_like(value)) + value / experiment.accumulate
            report.rounds = rounds
            if share_with is not None:
                reals = [r.verdicts["real"].detach() for r in rounds]
                self.shared = Shared(batch, generated, positions, self.turns[name], name, reals)
        report.stop_votes = self._move(name, clock, report, stop_vote)
        self._after(due, mean_over_processes(means))
        self.turns[name] += 1
        if inherited is None:
            self.cursors[name] += experiment.batch
        return report

    def _due(self, side: str, clock: Clock) -> dict[str, Regularizer]:
        """The regularizers of this turn: on the side that moves, every k-th of its turns."""
        return {n: r for n, r in self.game.regularizers.items() if r.side == side and clock.turn % r.every == 0}

    def _free_only(self, roles: tuple[str, ...]) -> None:
        """Only these roles require gradients, so nothing is spent on the weights of the others."""
        for name, weights in self.weights.items():
            for weight in weights:
                weight.requires_grad = name in roles

    # --------------------------------------------------------------------------------- generating and judging

    def _generate(
        self, name: str, player: Player, clock: Clock, micro: int, share_with: Player | None, inherited: Shared | None
    ) -> tuple[Batch, Generated, Draw, range]:
        game, experiment = self.game, self.game.experiment
        if inherited is not None:
            draw = Draw(
                self.seed,
                f"{name}/after {inherited.stream}",
                inherited.turn,
                inherited.positions,
                game.device,
                game.dtype,
            )
            return inherited.batch, inherited.generated, draw, inherited.positions
        rows = experiment.batch // (world.size() * experiment.accumulate)
        start = self.cursors[name] + (micro * world.size() + world.rank()) * rows
        positions = range(start, start + rows)
        draw = Draw(self.seed, name, clock.turn, positions, game.device, game.dtype)
        with span("gannet/data"):
            batch = self.feed.take(name, positions)
        moving = (*player.roles, *share_with.roles) if share_with else player.roles
        self._free_only(moving)
        with span("gannet/generate"), installed(draw.child("layers")), self._precision(True):
            generated = game.task.generate(batch, draw.child("generate"))
        return batch, self._whole(generated), draw, positions

    def _whole(self, generated: Generated) -> Generated:
        """What autocast made, in the game's own precision, as penalties and unaided discriminators need their points.
        The latent stays the very tensor the samples came from: paths are differentiated with respect to it."""
        made = {f.name: getattr(generated, f.name) for f in fields(generated) if f.name != "latent"}
        floats = {n: t for n, t in made.items() if isinstance(t, Tensor) and t.is_floating_point()}
        return replace(generated, **{n: t.to(self.game.dtype) for n, t in floats.items()})

    def _precision(self, low: bool) -> contextlib.AbstractContextManager[None]:
        if low and self.game.experiment.precision == "bf16":
            return torch.autocast(self.game.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _rounds(
        self,
        name: str,
        player: Player,
        batch: Batch,
        generated: Generated,
        draw: Draw,
        clock: Clock,
        due: dict[str, Regularizer],
        inherited: Shared | None,
    ) -> list[Round]:
        needs = {need for regularizer in due.values() for need in regularizer.needs}
        # A penalty differentiates the discriminator twice; its points and scores stay in full precision.
        low = not any(r.per_sample for r in due.values())
        rounds = []
        for number, comparison in enumerate(self.game.task.comparisons(batch, generated)):
            self._check_rows(comparison, due)
            moves = comparison.discriminator in player.roles
            module = self.game.networks[comparison.discriminator]
            looks = draw.child(f"comparison {number}")
            judge = self._judge(module, looks, low, clock)
            real, fake = comparison.real.detach(), comparison.fake
            verdicts: dict[str, Verdict] = {}
            with span("gannet/judge"):
                if moves:
                    fake = self._pooled(comparison, fake.detach(), draw, number)
                    if "gradient:real" in needs:
                        real = Inputs(real.x.detach().requires_grad_(), real.y, real.given)
                    if "gradient:fake" in needs:
                        fake = Inputs(fake.x.detach().requires_grad_(), fake.y, fake.given)
                    sides = {
                        "real": real,
                        "fake": fake,
                        **{f"negative {i}": n for i, n in enumerate(comparison.negatives)},
                    }
                    verdicts = self._verdicts(judge, sides, self.coupled[comparison.discriminator])
                else:
                    ahead = self._ahead(comparison, real, looks, low, clock)
                    judge = judge if ahead is module else self._judge(ahead, looks, low, clock)
                    verdicts["fake"] = judge(fake, "fake")
                    reusable = inherited is not None and "features" not in needs and ahead is module
                    if self.game.experiment.share == "scores" and reusable:
                        verdicts["real"] = inherited.reals[number]  # type: ignore[union-attr]
                    elif self.game.objective.wants_real or needs & {"real", "features"}:
                        with torch.no_grad():
                            verdicts["real"] = judge(real, "real")
            rounds.append(
                Round(
                    comparison,
                    real,
                    fake,
                    verdicts,
                    judge,
                    module,
                    draw.child(f"round {number}"),
                    clock,
                    name,
                    generated,
                )
            )
        return rounds

    def _check_rows(self, comparison: Comparison, due: dict[str, Regularizer]) -> None:
        """Refuse parts that set row i of the fakes against row i of the reals where their conditions differ."""
        real, fake, objective = comparison.real, comparison.fake, self.game.objective
        instead = {f"regularizers.{n}": f"regularizers.{n}=r1" for n, r in due.items() if r.interpolates}
        if objective.pairs_rows:
            instead["the objective"] = "objective.pairing=average"
        if not instead or (len(real) == len(fake) and _same(real.y, fake.y) and _same(real.given, fake.given)):
            return
        raise UsageError(
            f"{' and '.join(instead)}: each fake is set against the real of its row, and in what "
            f"{comparison.discriminator} judges the two differ in number or condition. Use "
            f"{' and '.join(instead.values())}, or a task that gives every fake the label and condition of its real."
        )

    def _ahead(
        self, comparison: Comparison, real: Inputs, looks: Draw, low: bool, clock: Clock
    ) -> Callable[..., Verdict]:
        """Who judges the generator: the discriminator itself, or its opponent some moves ahead."""
        name = comparison.discriminator
        module, objective = self.game.networks[name], self.game.objective.at(clock)

        def loss(judged: Callable[..., Verdict]) -> Tensor:
            sides = {"real": real, "fake": comparison.fake}
            verdicts = self._verdicts(self._judge(judged, looks, low, clock), sides, self.coupled[name])
            return _adversarial(objective, verdicts, True)

        return self.game.opponent.ahead(module, loss, self._trains(name))

    def _trains(self, role: str) -> torch.optim.Optimizer:
        """The optimiser of the player that moves the network in this role."""
        return next(self.optimisers[n] for n, player in self.game.players.items() if role in player.roles)

    def _judge(self, module: Callable[..., Verdict], draw: Draw, low: bool, clock: Clock):
        """The discriminator as rounds see it: through the augmentation, its scores in full precision."""
        game = self.game
        amounts = {
            kind: augmentation.amount(clock) * self.pilot.factor("augmentation")
            for kind, augmentation in game.augmentations.items()
        }

        def judge(inputs: Inputs, side: Side | tuple[str, ...] = "real") -> Verdict:
            """Verdict on `inputs`, rows of one side or (with a tuple) of several stacked sides."""
            sides = (side,) if isinstance(side, str) else side
            rows = draw.first(len(inputs) // len(sides))
            x = inputs.x
            for kind, augmentation in game.augmentations.items():
                own = [rows.child(kind if augmentation.sync else f"{kind}/{part}") for part in sides]
                x = augmentation(x, Stacked(own), amounts[kind])
            with installed(Stacked([rows.child(f"layers/{part}") for part in sides])), self._precision(low):
                verdict = module(x, inputs.y, inputs.given)
            return verdict.map(lambda t: t.to(game.dtype)) if low and game.experiment.precision == "bf16" else verdict

        return judge

    def _verdicts(self, judge, sides: dict[str, Inputs], coupled: bool) -> dict[str, Verdict]:
        """Every side judged: in one forward, unless layers couple the batch, when mixing sides would change them."""
        if coupled:
            return {side: judge(inputs, side) for side, inputs in sides.items()}
        stacked = judge(Inputs.cat(list(sides.values())), tuple(sides))
        return dict(zip(sides, stacked.split([len(i) for i in sides.values()]), strict=True))

    def _pooled(self, comparison: Comparison, fake: Inputs, draw: Draw, number: int) -> Inputs:
        if comparison.pool is None:
            return fake
        pool = self.pools.setdefault(comparison.pool, Pool())
        # Every process keeps the same pool, so it sees all rows and takes back its own.
        with torch.no_grad():
            everyone = world.gather_rows(fake.x)
        rows, rank = len(fake), world.rank()
        start = draw.indices[0] - rank * rows
        whole = Draw(self.seed, f"pool {number}", draw.key[2], range(start, start + len(everyone)))
        shown = pool.exchange(everyone, whole)
        return Inputs(shown[rank * rows : (rank + 1) * rows], fake.y, fake.given)

    # --------------------------------------------------------------------------------------------------- losses

    def _losses(
        self,
        name: str,
        player: Player,
        batch: Batch,
        generated: Generated,
        rounds: list[Round],
        clock: Clock,
        due: dict[str, Regularizer],
    ) -> tuple[dict[str, Tensor], float]:
        """Named means of this micro-batch, and the unweighted adversarial loss alone."""
        terms: dict[str, Tensor] = {}
        adversarial = []
        objective = self.game.objective.at(clock)
        with span("gannet/objective"):
            for round in rounds:
                loss = _adversarial(objective, round.verdicts, round.comparison.discriminator in player.roles)
                adversarial.append(float(loss.detach()))
                key = "adversarial" if len(rounds) == 1 else f"adversarial/{round.comparison.discriminator}"
                terms[key] = loss * round.comparison.weight
            for key, value in self.game.task.terms(name, batch, generated, rounds).items():
                terms[key] = value.mean()
        with span("gannet/regularize"):
            for key, regularizer in due.items():
                weight = regularizer.weight(clock) * regularizer.every
                if regularizer.restrains:
                    weight *= self.pilot.factor("penalty", "rollback")
                if isinstance(regularizer, RoundRegularizer):
                    values = [regularizer(round).mean() for round in rounds]
                    terms[key] = weight * sum_entries(values)
                elif isinstance(regularizer, WeightRegularizer):
                    terms[key] = weight * regularizer(self.movers[name])
        return terms, sum(adversarial) / max(1, len(adversarial))

    def _check(self, name: str, terms: dict[str, Tensor], total: Tensor) -> None:
        if world.size() == 1 and not math.isfinite(float(total.detach())):
            bad = next((k for k, v in terms.items() if not math.isfinite(float(v.detach()))), "sum of terms")
            raise NonFinite(name, bad, "loss")

    def _statistics(self, due: dict[str, Regularizer], rounds: list[Round]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        for name, regularizer in due.items():
            if isinstance(regularizer, RoundRegularizer):
                for round in rounds:
                    for key, value in regularizer.statistics(round).items():
                        found.setdefault(f"{name}/{key}", []).append(value.detach())
        return {key: torch.stack(values).mean(0) for key, values in found.items()}

    def _after(self, due: dict[str, Regularizer], means: dict[str, Tensor]) -> None:
        for name, regularizer in due.items():
            own = {key.partition("/")[2]: value for key, value in means.items() if key.startswith(name + "/")}
            if own:
                regularizer.after_turn(own)

    # ----------------------------------------------------------------------------------------------------- step

    def _move(self, name: str, clock: Clock, report: Report, stop_vote: bool) -> int:
        """Average, check, clip, step, constrain. Returns how many processes want to stop."""
        game, parameters = self.game, self.parameters[name]
        with span("gannet/optimise"):
            votes = average_gradients(parameters, stop_vote)
            grads = [p.grad for p in parameters if p.grad is not None]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))) if grads else torch.zeros(())
            report.grad_norm = float(norm)
            if not math.isfinite(report.grad_norm):
                # All may be finite and only the sum of their squares beyond the largest float.
                bad = next(
                    (
                        n
                        for n, p in zip(self.names[name], parameters, strict=True)
                        if p.grad is not None and not p.grad.isfinite().all()
                    ),
                    "the norm of all gradients",
                )
                term = next((k for k, v in report.terms.items() if not math.isfinite(v)), "the gradient")
                raise NonFinite(name, term, bad)
            limit = game.experiment.clip.get(name)
            if limit is not None and report.grad_norm > limit:
                torch._foreach_mul_(grads, limit / report.grad_norm)
            optimiser, recipe = self.optimisers[name], game.recipes[name]
            movers, side = self.movers[name], self.sides[name]
            steered = self.pilot.factor("discriminator.lr") if side == "discriminator" else 1.0
            optimiser.param_groups[0]["lr"] = recipe.lr(clock) * recipe.factor * self.rate * steered
            optimiser.step()
            for constraint in game.constraints.values():
                if constraint.side == side:
                    constraint.apply(movers)
            with torch.no_grad():
                for regularizer in game.regularizers.values():
                    if isinstance(regularizer, WeightRegularizer) and regularizer.side == side:
                        regularizer.after_step(movers)
        return votes


def _adversarial(objective: Objective, verdicts: dict[str, Verdict], moves: bool) -> Tensor:
    """The objective on every score entry: mean over its other axes, summed over entries, mean over the batch."""
    losses = []
    for verdict in (v for side, v in verdicts.items() if side != "real"):
        entries = []
        for number, fake in enumerate(verdict.score):
            if moves:
                entry = objective.discriminator(verdicts["real"].score[number], fake)
            else:
                real = verdicts["real"].score[number] if "real" in verdicts else None
                entry = objective.generator(real, fake)
            entries.append(entry.flatten(1).mean(1) if entry.dim() > 1 else entry)
        losses.append(sum_entries(entries).mean())
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two conditions agree; the same tensor, as every shipped task gives, costs nothing to compare."""
    return a is b or (a is not None and b is not None and torch.equal(a, b))
