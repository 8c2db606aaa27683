"""Controllers: each watches one signal of the log and moves one setting of a run, with a line that says why.

At most one of them moves at a log line, in this order: a return to a snapshot, the penalty, the augmentation, the
learning rate. Factors and the lines not yet acted on are part of a run's state, so a resumed run decides alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from gannet.core.errors import UsageError
from gannet.core.parts import Controller, Decision
from gannet.core.registry import CONTROLLERS
from gannet.engine.distributed import mean_over_processes
from gannet.engine.health import COLLAPSED, over_equilibrium, young

Lines = list[Mapping[str, Any]]

SIGNALS = (
    "p_real_above_fake",
    "p_train_above_heldout",
    "sign_real",
    "loss_over_equilibrium",
    "spread",
)
"""What controllers may read of a log line; each is averaged over processes, so that all decide alike."""
KEPT = 32
"""Lines that are remembered at most."""
RETURNING = 1.1
"""How many times higher a loss must be in the later lines than in the earlier ones to be on its way up."""
ORDER = ("rollback", "penalty", "augmentation", "discriminator.lr")


@CONTROLLERS.register("steer-penalty")
class SteerPenalty(Controller):
    """The penalty's weight, from how far the discriminator is ahead: its loss over the loss at equilibrium.

    Below `ahead` on average over `patience` log lines the weight is doubled, below `runaway` multiplied by 8, but not
    while the loss is on its way back up: a young generator is always behind, and most catch up by themselves. Nor is
    P(D(real) > D(fake)) asked here, which is near 1 with any margin, however small, and so with a healthy gradient.
    Where that share falls below `low`, though, the weight is halved, back to where it starts and no further: a
    discriminator that tells none apart may be smothered, but good samples are not told apart either, and letting go of
    them spoils them. The factor stays within 1 … `largest`. Objectives whose equilibrium is 0 (wasserstein) never
    raise it.
    """

    actuator = "penalty"

    def __init__(
        self,
        *,
        low: float = 0.54,
        ahead: float = 0.1,
        runaway: float = 0.03,
        patience: int = 6,
        largest: float = 10_000.0,
    ):
        if not 0.5 <= low < 1:
            raise UsageError(
                f"low={low:g} is out of range. It is a share of pairs that the discriminator orders rightly: ½ (all "
                "guessed) or more, below 1, as in 0.54."
            )
        if not 0 < runaway <= ahead < 1:
            raise UsageError(
                f"ahead={ahead:g}, runaway={runaway:g}: shares of the loss at equilibrium, 0 < runaway ≤ ahead < 1, as "
                "0.1 and 0.03."
            )
        if not largest >= 1:
            raise UsageError(f"largest={largest:g} is out of range. The weight is multiplied by 1 … largest.")
        self.low, self.ahead, self.runaway = low, ahead, runaway
        self.patience, self.largest = _at_least_one(patience), largest

    def decide(self, lines: Lines, factor: float) -> Decision | None:
        found = mean(lines, "loss_over_equilibrium", self.patience)
        if found is not None and found < self.ahead and factor < self.largest and not self._returns(lines):
            new = min(self.largest, factor * (8.0 if found < self.runaway else 2.0))
            said = f"the discriminator's loss is {found:.2f} of its value at equilibrium"
            return Decision(new, f"{said}{seen(lines, self.patience)}: penalty {moved(new / factor)}")
        share = mean(lines, "p_real_above_fake", self.patience)
        if share is not None and share < self.low and factor > 1:
            new = max(1.0, factor / 2)
            return Decision(
                new, f"P(real > fake) {share:.2f}{seen(lines, self.patience)}: penalty {moved(new / factor)}"
            )
        return None

    def _returns(self, lines: Lines) -> bool:
        """Whether the loss was higher in the second half of the last lines than in the first."""
        last = [line["loss_over_equilibrium"] for line in lines[-self.patience :]]
        half = len(last) // 2
        return half > 0 and sum(last[-half:]) > RETURNING * sum(last[:half])


@CONTROLLERS.register("steer-augmentation")
class SteerAugmentation(Controller):
    """The amount of augmentation, from signs that the discriminator learns its training rows by heart.

    signal "heldout": P(D(trained) > D(held out)), ½ when it has learned nothing of them by heart; "sign":
    E[sign D(real)], the r_t of Karras et al. 2020 (ADA), for which they give the target 0.6. Above `target` the amount
    grows by `step`, below `target` − `slack` it shrinks by half as much, but not while fakes vary less than half as
    much as reals: what is augmented lies closer together, and a generator finds from one mode to the next where it
    would not without. It stays within 0 … `largest`.
    """

    actuator = "augmentation"

    def __init__(
        self,
        *,
        signal: Literal["heldout", "sign"] = "heldout",
        target: float = 0.75,
        slack: float = 0.05,
        step: float = 0.1,
        start: float = 0.0,
        largest: float = 0.8,
        patience: int = 4,
    ):
        for name, value in (("target", target), ("step", step), ("start", start), ("largest", largest)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name}={value:g} is out of range. It is a share: 0 … 1.")
        self.signal = "p_train_above_heldout" if signal == "heldout" else "sign_real"
        self.target, self.slack, self.step, self.start = target, slack, step, start
        self.largest, self.patience = largest, _at_least_one(patience)

    def decide(self, lines: Lines, factor: float) -> Decision | None:
        found = mean(lines, self.signal, self.patience)
        if found is None:
            return None
        if found > self.target and factor < self.largest:
            new = min(self.largest, round(factor + self.step, 6))
        elif found < self.target - self.slack and factor > 0 and not self._narrow(lines):
            new = max(0.0, round(factor - self.step / 2, 6))  # 0 is to be met
        else:
            return None
        what = "P(trained > held out)" if self.signal == "p_train_above_heldout" else "E[sign D(real)]"
        return Decision(
            new, f"{what} {found:.2f}{seen(lines, self.patience)}: augmentation {100 * factor:.0f} → {100 * new:.0f} %"
        )

    def _narrow(self, lines: Lines) -> bool:
        spread = mean(lines, "spread", self.patience)
        return spread is not None and spread < COLLAPSED


@CONTROLLERS.register("steer-rate")
class SteerRate(Controller):
    """The discriminator's learning rate, from its loss against the value at equilibrium.

    Hazimeh & Ponomareva, "Mind the (optimality) Gap", AISTATS 2023: a loss far below the equilibrium's says that the
    discriminator outruns the generator. Below `low` times that value the rate is multiplied by 0.7, above `high` it
    returns towards 1 in the same steps; it stays at `smallest` or above. Objectives whose equilibrium is 0
    (wasserstein) leave it alone.
    """

    actuator = "discriminator.lr"

    def __init__(self, *, low: float = 0.25, high: float = 0.5, smallest: float = 0.2, patience: int = 6):
        if not 0 < low < high <= 1:
            raise UsageError(
                f"low={low:g}, high={high:g}: shares of the loss at equilibrium, 0 < low < high ≤ 1, as 0.25 and 0.5."
            )
        if not 0 < smallest <= 1:
            raise UsageError(f"smallest={smallest:g} is out of range. It is a share of the rate: above 0, at most 1.")
        self.low, self.high, self.smallest, self.patience = low, high, smallest, _at_least_one(patience)

    def decide(self, lines: Lines, factor: float) -> Decision | None:
        found = mean(lines, "loss_over_equilibrium", self.patience)
        if found is None:
            return None
        if found < self.low and factor > self.smallest:
            new = max(self.smallest, factor * 0.7)
        elif found > self.high and factor < 1:
            new = min(1.0, factor / 0.7)
        else:
            return None
        return Decision(
            new,
            f"the discriminator's loss is {found:.2f} of its value at equilibrium{seen(lines, self.patience)}: "
            f"its learning rate {moved(new / factor)}",
        )


@CONTROLLERS.register("rollback")
class Rollback(Controller):
    """Return to a snapshot from before a mode collapse, and go on with a stronger penalty.

    When fakes have varied less than `spread` times as much as reals on each of the last `patience` log lines, the run
    goes back to the newest of its snapshots that was still well, if there is one, and multiplies the penalty by 4;
    `times` at most.
    """

    actuator = "rollback"

    def __init__(self, *, spread: float = 0.5, patience: int = 6, times: int = 3):
        if not 0 < spread < 1:
            raise UsageError(
                f"spread={spread:g} is out of range. It is a share of the reals' spread: above 0, below 1."
            )
        self.spread, self.patience, self.times = spread, _at_least_one(patience), _at_least_one(times)

    def decide(self, lines: Lines, factor: float) -> Decision | None:
        last = [line["spread"] for line in lines[-self.patience :] if "spread" in line]
        if len(last) < self.patience or max(last) >= self.spread or factor >= 4**self.times:
            return None
        found = sum(last) / len(last)
        return Decision(
            factor * 4,
            f"fakes vary {found:.2f} times as much as reals{seen(lines, self.patience)}: penalty × 4",
            since=lines[-self.patience]["samples"],
        )


class Pilot:
    """The controllers of a run, in their order, with the factor of each actuator."""

    def __init__(self, controllers: Mapping[str, Controller], equilibrium: float):
        self.controllers = dict(sorted(controllers.items(), key=lambda item: ORDER.index(item[1].actuator)))
        self.equilibrium = equilibrium
        self.factors: dict[str, float] = {c.actuator: c.start for c in self.controllers.values()}
        self.lines: list[dict[str, float]] = []

    def factor(self, *actuators: str) -> float:
        """The product of the factors of `actuators`; 1 for one that nothing moves."""
        product = 1.0
        for actuator in actuators:
            product *= self.factors.get(actuator, 1.0)
        return product

    @property
    def reads_gap(self) -> bool:
        """Whether some controller wants training rows judged beside held-out ones at every log line."""
        return any(getattr(c, "signal", "") == "p_train_above_heldout" for c in self.controllers.values())

    def read(self, record: Mapping[str, Any], share: float) -> tuple[str, Decision] | None:
        """Take in a log line at `share` of the run; the name of the controller that moves now, and its move."""
        line = {k: float(record[k]) for k in SIGNALS if k in record}
        if (over := over_equilibrium(record, self.equilibrium)) is not None:
            line["loss_over_equilibrium"] = over
        means = mean_over_processes({k: torch.tensor(v, dtype=torch.float64) for k, v in line.items()})
        self.lines.append({"samples": float(record["samples"]), **{k: float(v) for k, v in means.items()}})
        del self.lines[:-KEPT]
        for name, controller in self.controllers.items():
            if controller.actuator == "rollback" and young(share, record["step"]):
                continue
            decision = controller.decide(list(self.lines), self.factors[controller.actuator])
            if decision is not None:
                self.factors[controller.actuator] = decision.factor
                self.lines = []
                return name, decision
        return None

    @property
    def state(self) -> dict[str, Any]:
        return {"factors": self.factors, "lines": self.lines}

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self.factors, self.lines = dict(value["factors"]), [dict(line) for line in value["lines"]]


def mean(lines: Lines, key: str, count: int) -> float | None:
    """The mean of `key` over the last `count` lines; `None` while there are fewer."""
    found = [line[key] for line in lines[-count:] if key in line]
    return sum(found) / count if len(found) == count else None


def seen(lines: Lines, count: int) -> str:
    """Over how many samples the last `count` lines reach: " for 20k samples"."""
    last = lines[-count:]
    if len(last) < 2:
        return ""
    each = (last[-1]["samples"] - last[0]["samples"]) / (len(last) - 1)
    samples = each * len(last)
    return f" for {samples / 1000:.0f}k samples" if samples >= 2000 else f" for {samples:.0f} samples"


def moved(times: float) -> str:
    return f"× {times:.3g}" if times >= 1 else f"÷ {1 / times:.3g}"


def _at_least_one(count: int) -> int:
    if count < 1:
        raise UsageError(f"{count} is too few: at least 1.")
    return count
