"""Whether a run is well: what the rounds say, averaged between log lines, and the alarms that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gannet.core.round import Round

WINDOW = 6  # log lines in a row before an alarm stands or falls
COLLAPSED = 0.5  # spread of fakes over reals below which modes are being lost
AHEAD = (0.985, 0.1)  # P(real > fake) above and loss over its value at equilibrium below: hardly anything left to learn
# A generator makes nothing but one grey picture at first, which is no collapse: for this share of the run, and as many
# steps at least, since a run of some hundred is young all its life.
ARMED, YOUNG = 0.15, 300


def young(share: float, step: int) -> bool:
    """Whether it is too early, at `share` of the run and this step of it, for a low spread to be news."""
    return share < ARMED or step < YOUNG


def p_above(real: Tensor, fake: Tensor) -> float:
    """P(D(real) > D(fake)) over all pairs of two `[B]` score vectors, ties half: ½ = cannot tell, 1 = always."""
    real, (fake, _) = real.contiguous(), fake.sort()
    below, upto = torch.searchsorted(fake, real), torch.searchsorted(fake, real, right=True)
    return float((below + upto).sum()) / (2 * len(real) * len(fake))


def spread(real: Tensor, fake: Tensor) -> float:
    """Mean standard deviation over the batch, fakes over reals: 1 = as varied, 0 = one picture for all."""
    scale = float(real.flatten(1).std(0).mean())
    return float(fake.flatten(1).std(0).mean()) / scale if scale > 0 else 1.0


def over_equilibrium(record: Mapping[str, Any], equilibrium: float) -> float | None:
    """The discriminator's loss of a log line over its value at equilibrium: 1 = it cannot tell, 0 = nothing left to
    learn; `None` where that value is 0, as for Wasserstein's. Unlike P(real > fake), which is near 1 with any margin,
    however small, it says how far the discriminator is ahead."""
    if equilibrium <= 0 or "loss_above_equilibrium" not in record:
        return None
    return 1 + float(record["loss_above_equilibrium"]) / equilibrium


class Health:
    """Running means since the last log line and the standing alarms; all of it in `state`, so that a resumed run logs
    the same lines. `equilibrium`: the discriminator's loss where it cannot tell."""

    def __init__(self, equilibrium: float) -> None:
        self.equilibrium = equilibrium
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.streaks: dict[str, int] = {}
        self.standing: list[str] = []
        self.spread = 1.0  # of the last log line

    def add(self, **values: float) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    @torch.no_grad()
    def read(self, rounds: list[Round]) -> None:
        """Take P(real > fake) from the rounds of a discriminator's turn."""
        for round in rounds:
            real, fake = (round.verdicts[side].per_sample() for side in ("real", "fake"))
            self.add(p_real_above_fake=p_above(real, fake), sign_real=float(real.sign().mean()))

    def flush(self) -> dict[str, float]:
        """The means since the last flush."""
        means = {key: total / self.counts[key] for key, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def alarms(self, record: dict[str, Any], early: bool = False) -> list[str]:
        """New alarms after this log line; one stands until its signal has been good `WINDOW` times. A line that
        comes too `early` raises none, of either kind: a discriminator is ahead while its generator knows nothing."""
        self.spread = record.get("spread", self.spread)
        if early:
            return []
        above = record.get("p_real_above_fake", 0.5)
        # A Wasserstein critic, whose loss at equilibrium is 0, should be ahead, and never counts as too far.
        over = 1.0 if (found := over_equilibrium(record, self.equilibrium)) is None else found
        signals = {
            "collapse": (
                record.get("spread", 1.0) < COLLAPSED,
                f"mode collapse: fakes vary {record.get('spread', 1.0):.2f} times as much as reals. "
                "Try a stronger penalty (regularizers.r1.weight), pairing=paired, or a lower optim.generator.lr.",
            ),
            "discriminator ahead": (
                above > AHEAD[0] and over < AHEAD[1],
                f"the discriminator is far ahead: P(real > fake) {above:.3f}, its loss {over:.2f} of the value at "
                "equilibrium. Raise the penalty weight (×10) or lower optim.discriminator.lr.",
            ),
        }
        new = []
        for name, (bad, text) in signals.items():
            streak = self.streaks.get(name, 0)
            streak = max(1, streak + 1) if bad else min(-1, streak - 1)
            self.streaks[name] = max(-WINDOW, min(WINDOW, streak))
            if streak >= WINDOW and name not in self.standing:
                self.standing.append(name)
                new.append(text)
            elif streak <= -WINDOW and name in self.standing:
                self.standing.remove(name)
        return new

    @property
    def state(self) -> dict[str, Any]:
        kept = ("sums", "counts", "streaks", "standing", "spread")
        return {name: getattr(self, name) for name in kept}

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self.sums, self.counts = dict(value["sums"]), dict(value["counts"])
        self.streaks, self.standing = dict(value["streaks"]), list(value["standing"])
        self.spread = value["spread"]
