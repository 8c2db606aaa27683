"""The auto-pilot's plan: from the look of the data and the time there is to an experiment.

    data      kind, size, channels, count, copies, labels and their balance
    machine   samples a second of the smallest networks that may be chosen, and of wider ones while they may be chosen
    budget    stop.minutes or stop.samples

Everything it chooses is a value of the experiment with the origin "auto-pilot", written to experiment.yaml, so that a
resumed run is not planned again. What a person has set is left alone. The controllers take over from there.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gannet.core import registry, world
from gannet.core.overrides import Resolved, amend
from gannet.core.types import DataSpec, Source
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer
from gannet.networks import sizes

NAME = "auto"
ORIGIN = "auto-pilot"
MEASURING = 0.05
"""The most of the budget that measuring may take."""
LOOK = 2000
"""Rows that are looked at for copies, spread and the balance of labels."""

WIDTHS = (16, 32, 64, 128)
ENOUGH = 1_000_000
"""Samples a budget must hold before wider networks are worth their time: at the default rates a network of any width
is still getting better after fewer."""
FEW = 100_000
"""Below this many samples even the usual width is too slow for the budget."""
WORTH = 1.3
"""How many times faster the narrower network must be there."""
APART = 10
"""Steps between two log lines at least: of fewer a line says little, and a line may cost as much as two."""
UNAUGMENTED = {"augment": "[]", "controllers.steer-augmentation": "none"}
STEPS, SMALLEST = 1700, 8
"""Steps below which smaller batches, and so more of them, are worth that a sample costs more; and the smallest."""
LITTLE = 1000
"""Different rows below which there are few."""
FAMILIAR = 10
"""Passes over the data before a discriminator can know it by heart."""


@dataclass(frozen=True)
class Look:
    """What the data are, as far as the plan depends on it."""

    data: DataSpec
    rows: int
    distinct: float
    """Share of the rows looked at that are not copies of another."""
    power: float
    """Mean over coordinates of their variance: the square of the unit that gradients are divided by."""
    rarest: int
    """Rows of the rarest class; 0 without labels."""
    partly_labelled: bool = False
    """Whether only some rows have a label."""

    @property
    def numbers(self) -> int:
        return math.prod(self.data.shape)


@dataclass
class Plan:
    """What was chosen and why: a line and its values by path of the experiment each; `seconds` it took; `reasons`, the
    lines with what a person has set otherwise."""

    choices: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def choose(self, why: str, values: Mapping[str, Any]) -> None:
        self.choices.append((why, values))

    @property
    def values(self) -> dict[str, Any]:
        return {path: value for _, values in self.choices for path, value in values.items()}

    def settle(self, planned: Resolved) -> None:
        """Write the reasons, of the experiment as it is `planned`: what has another origin there is a person's."""
        for why, values in self.choices:
            kept = [path for path in values if planned.origin(path) != ORIGIN]
            self.reasons.append(f"{why}; kept as you set it: {', '.join(kept)}" if kept else why)


def look(source: Source) -> Look:
    """Read up to `LOOK` rows of the training split."""
    split = source.split("train")
    # Evenly through the whole split: folders are often sorted by class.
    chosen = torch.linspace(0, len(split) - 1, min(LOOK, len(split))).round().long()
    batch = split.take(chosen)
    x = batch["x"].flatten(1)
    copies = {hashlib.sha256(row.numpy().tobytes()).digest() for row in x}
    rarest = 0
    if source.spec.classes and "y" in batch:
        counts = torch.bincount(batch["y"][batch["y"] >= 0], minlength=source.spec.classes)
        rarest = int(counts.min()) * len(split) // len(x)
    power = float(x.double().var(0, correction=0).mean())
    return Look(source.spec, len(split), len(copies) / len(x), max(power, 1e-12), rarest, source.partly_labelled)


def plan(resolved: Resolved, source: Source | None = None, measure: bool = True) -> tuple[Resolved, Plan]:
    """The experiment as the auto-pilot would run it on `source`, and what it chose. Without `measure`, and
    among several processes, the machine is not asked, and the usual widths are taken."""
    began = time.monotonic()
    if source is None:
        source = registry.SOURCES.build(resolved.experiment.data, where="data")
    seen, chosen = look(source), Plan()
    chosen.choose(_described(seen), {})
    if len(seen.data.shape) == 3:
        _plan_images(seen, chosen)
        if resolved.experiment.generator.name == "dcgan":
            _plan_depth(seen, chosen)
    else:
        _plan_vectors(seen, chosen)
    if resolved.experiment.task.name == "synthesis":  # any other task is a person's word, and says what labels are for
        _plan_labels(seen, chosen)
    planned = amend(resolved, chosen.values, ORIGIN)
    samples = _plan_size(planned, source, seen, chosen, began, measure and world.size() == 1)
    planned = amend(planned, chosen.values, ORIGIN)
    _plan_length(planned, seen, chosen, samples)
    planned = amend(planned, chosen.values, ORIGIN)
    chosen.settle(planned)
    chosen.seconds = time.monotonic() - began
    return planned, chosen


# ------------------------------------------------------------------------------------------------------ the choices


def _described(seen: Look) -> str:
    shape = "×".join(map(str, seen.data.shape))
    labels = f", {seen.data.classes} classes, the rarest about {seen.rarest:,} rows" if seen.data.classes else ""
    copies = "" if seen.distinct == 1 else f", {100 * (1 - seen.distinct):.0f} % copies"
    return f"data: {seen.rows:,} samples {shape}{labels}{copies}"


def penalty(seen: Look) -> float:
    """Where the weight of R1 and R2 starts.

    It is 1 for a 32×32 image, as measured, and grows with the number of pixels: over a larger input the same change of
    the whole image is spread thinner, |∇D|² falls, and the discriminator wins. Channels do not count: pictures in
    colour were no better with more of it, and shapes worse. For points it grows with their variance, as a gradient has
    units of 1/x. The controller corrects it by powers of 2 and 8.
    """
    if len(seen.data.shape) == 3:
        _, height, width = seen.data.shape
        return min(100.0, max(0.3, (height * width / 1024) ** 1.5))
    return 0.2 * seen.power


def _plan_images(seen: Look, chosen: Plan) -> None:
    weight = penalty(seen)
    schedule = f'cosine({weight:.3g}, {weight / 10:.3g}, over="50%")'
    chosen.choose(
        f"penalty: starts at {weight:.3g} for {'×'.join(map(str, seen.data.shape[1:]))} pixels",
        {"regularizers.r1.weight": schedule, "regularizers.r2.weight": schedule},
    )


def _plan_depth(seen: Look, chosen: Plan) -> None:
    """No convolution that only widens what is seen at once, as there is one after 28 → 14 → 7: of few rows it serves to
    learn them by heart."""
    _, height, width = seen.data.shape
    grid = sizes.plan((height, width))
    # After one halving it is the second layer that there is, and after three there is none.
    if min(grid.start) > sizes.SMALLEST and grid.stages == 2 and seen.rows * seen.distinct < LITTLE:
        chosen.choose(
            f"depth 0: {seen.rows * seen.distinct:,.0f} different samples are soon known by heart",
            {"generator.depth": 0, "discriminator.depth": 0},
        )


def _plan_vectors(seen: Look, chosen: Plan) -> None:
    weight = penalty(seen)
    # In the plane the modes stay too narrow while it is high; with more coordinates an early low is no better, and some
    # runs end past their best.
    over = "50%" if seen.numbers <= 2 else "100%"
    schedule = f'cosine({weight:.3g}, {weight / 100:.3g}, over="{over}")'
    latent = max(2, min(64, seen.numbers))
    chosen.choose(
        f"networks: fully connected, for {seen.numbers:,} numbers a sample; penalty {weight:.3g} for a variance of "
        f"{seen.power:.3g}",
        {
            "generator": f"mlp(width=128, layers=3, latent={latent})",
            "discriminator": "mlp(width=128, layers=3)",
            **{f"regularizers.{name}.weight": schedule for name in ("r1", "r2")},
            **{f"regularizers.{name}.every": 1 for name in ("r1", "r2")},
            "batch": 256,
            **UNAUGMENTED,
        },
    )
    # As short as it is in the preset for points: an eighth of a long run was no better.
    chosen.choose("moving average: half-life 50,000 samples", {"ema.halflife": 50_000})


def _plan_labels(seen: Look, chosen: Plan) -> None:
    if seen.partly_labelled:
        chosen.choose(
            "labels: only some rows have one, so they are not used (task=semi-supervised uses those there are)",
            {"task.labels": "ignore"},
        )
    elif seen.data.classes and seen.rarest < 2:
        chosen.choose(
            "labels: some class has hardly a row, so they are not used (task.labels=use insists)",
            {"task.labels": "ignore"},
        )


def _plan_size(
    planned: Resolved, source: Source, seen: Look, chosen: Plan, began: float, measure: bool
) -> float | None:
    """Choose widths by what the machine can do in the budget, and the batch; the samples the run will see, where that
    can be told."""
    stop = planned.experiment.stop
    images = len(seen.data.shape) == 3 and planned.experiment.generator.name == "dcgan"
    if stop.minutes is None:
        if images and stop.samples and world.size() == 1:  # several processes share a batch
            _plan_batch(planned, chosen, stop.samples)
        return float(stop.samples or 0)
    if not measure:
        return None
    seconds = 60 * stop.minutes
    allowed = began + MEASURING * seconds
    width = int(planned.experiment.generator.args.get("width", 32)) if images else 0
    # Where a person has set both widths there is nothing to compare.
    free = images and amend(planned, _widths(2 * width), ORIGIN).experiment != planned.experiment
    rates = {width: _rate(planned, source, min(2.0, MEASURING * seconds / 3))}
    # Every doubling costs about three times as much, so a wider network is measured only where it can be worth it.
    while free and width < WIDTHS[-1] and rates[width] * seconds / 3 > ENOUGH and time.monotonic() < allowed:
        wider = amend(planned, _widths(2 * width), ORIGIN)
        rates[2 * width] = _rate(wider, source, max(0.5, min(2.0, (allowed - time.monotonic()) / 2)))
        if rates[2 * width] * seconds < ENOUGH:
            break
        width *= 2
    if free and rates[width] * seconds < FEW and width == 32:
        rates[16] = _rate(amend(planned, _widths(16), ORIGIN), source, min(1.0, MEASURING * seconds / 3))
        # On small images a narrower network saves nothing, and is only weaker.
        width = 16 if rates[16] > WORTH * rates[32] else 32
    samples = rates[width] * seconds
    if images:
        told = ", ".join(f"{w}: {r:,.0f}/s" for w, r in rates.items())
        chosen.choose(
            f"width {width}: about {samples:,.0f} samples in {stop.minutes:g} minutes ({told})", _widths(width)
        )
        smaller = _plan_batch(amend(planned, _widths(width), ORIGIN), chosen, samples)
        if smaller is not None and time.monotonic() < allowed:
            samples = seconds * _rate(smaller, source, min(1.0, MEASURING * seconds / 3))
    return samples


def _plan_batch(planned: Resolved, chosen: Plan, samples: float) -> Resolved | None:
    """Halve the batch while there would be few steps of it; the experiment with a smaller one."""
    before = batch = planned.experiment.batch
    while batch > SMALLEST and samples / batch < STEPS:
        batch //= 2
    smaller = amend(planned, {"batch": batch}, ORIGIN)
    if smaller.experiment.batch == before:  # enough steps, or a person's word
        return None
    why = f"batch {batch}: of {before} there would be about {samples / before:,.0f} steps, too few"
    chosen.choose(why, {"batch": batch})
    return smaller


def _widths(width: int) -> dict[str, Any]:
    return {"generator.width": width, "discriminator.width": width}


def _plan_length(planned: Resolved, seen: Look, chosen: Plan, samples: float | None) -> None:
    """What depends on how many samples the run will see: the average's memory, and whether the data can be learned by
    heart."""
    distinct = max(1.0, seen.rows * seen.distinct)
    images = len(seen.data.shape) == 3
    if samples and images:
        long = min(500_000, max(1000, round(samples / 8, -3)))
        short = min(50_000, max(100, round(samples / 80, -2)))
        if planned.experiment.evaluate.metrics == []:  # nothing will say which is better
            chosen.choose(f"moving average: half-life {long:,.0f} samples", {"ema.halflife": long})
        else:
            chosen.choose(
                f"moving average: half-life {long:,.0f} or {short:,.0f} samples, whichever scores better at the time",
                {"ema.halflife": [long, short]},
            )
    if samples:
        steps = samples / planned.experiment.batch
        percent = min(10, math.ceil(100 * APART / steps))
        if steps < 200 * APART:  # otherwise they come at every half percent
            chosen.choose(f"log lines: every {percent} % of about {steps:,.0f} steps", {"keep.log": f"{percent}%"})
    if not images:
        return
    passes = math.inf if samples is None else samples / distinct
    if passes < FAMILIAR:
        chosen.choose(
            f"no augmentation: {passes:.1f} passes over the data are too few to learn it by heart",
            UNAUGMENTED,
        )
        return
    start = 0.0 if distinct >= 5000 else 0.2 if distinct >= LITTLE else 0.4
    chosen.choose(
        f"augmentation: starts at {100 * start:.0f} % for {distinct:,.0f} different samples, then follows the "
        "discriminator's gap",
        {"controllers.steer-augmentation.start": start},
    )


# ---------------------------------------------------------------------------------------------------- the machine


def _rate(resolved: Resolved, source: Source, seconds: float) -> float:
    """Samples a second of this experiment's steps, without a run directory, scores or log lines."""
    never = 10**15
    quiet = resolved.experiment.keep.model_copy(update={"log": never, "samples": never, "checkpoints": never})
    stop = resolved.experiment.stop.model_copy(update={"samples": never, "minutes": None})
    experiment = resolved.experiment.model_copy(update={"keep": quiet, "stop": stop, "profile": False})
    trainer = Trainer(assemble(experiment, source))
    every = max([r.every for r in trainer.game.regularizers.values()], default=1)
    trainer._step(False)  # the first fills caches and allocators
    steps, began = 0, time.monotonic()
    while steps % every or steps == 0 or time.monotonic() - began < seconds:
        trainer._step(False)
        steps += 1
        if time.monotonic() - began > 1.5 * seconds:  # not to the next lazy penalty, where steps are long
            break
    return steps * experiment.batch / (time.monotonic() - began)


def wanted(resolved: Resolved) -> bool:
    """Whether this is the auto-pilot's preset, not yet planned. The experiment.yaml of an earlier run, which names that
    preset too, has been: none of its values come from the preset itself."""
    origins = set(resolved.origins.values())
    return f"preset {NAME}" in origins and ORIGIN not in origins
