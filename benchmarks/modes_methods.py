"""What the mode benchmark trains, all as data: the methods, the distributions, the papers' numbers beside ours.

A cell's key is made of these, so another number here makes the cells that are trained with it stale, and no others;
what is published may be corrected without that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Overrides = Mapping[str, Any]
Recipe = tuple[str, Overrides]
"""A preset, and what is changed in it."""

QUIET: Overrides = {"evaluate.metrics": [], "keep.samples": "100%", "keep.checkpoints": "100%"}
RAW: Overrides = {"ema.halflife": None}
"""The papers sample the weights themselves, not their moving average."""


def adams(generator: float, discriminator: float, betas: list[float]) -> Overrides:
    rates = {"generator": generator, "discriminator": discriminator}
    return {f"optim.{name}": f"adam(lr={lr}, betas={betas})" for name, lr in rates.items()}


# The networks of PacGAN's published code, but for its initial weights.
PLANE: Overrides = {
    "generator": "mlp(width=400, layers=4, latent=2, norm=batch)",
    "discriminator": "mlp(width=200, layers=3, activation=maxout)",
    "batch": 100,
    **adams(1e-4, 1e-4, [0.8, 0.999]),
    **RAW,
}
# A batch is so many packs there, so the rows grow with the pack.
ON_POINTS: dict[str, Recipe] = {
    "gan": ("gan", PLANE),
    "pacgan2": ("gan", {**PLANE, "task": "synthesis(pack=2)", "batch": 200}),
    "pacgan4": ("gan", {**PLANE, "task": "synthesis(pack=4)", "batch": 400}),
    # What is published of these two comes from other, smaller networks. The presets have such.
    "unrolled": ("unrolled", RAW),
    "veegan": ("veegan-points", RAW),
    "points": ("points", {}),
}

UNTOLD: Overrides = {"task": "synthesis(labels=ignore)"}
IMAGES: Overrides = {**UNTOLD, "generator.latent": 100, "batch": 64, **adams(2e-4, 2e-4, [0.5, 0.999]), **RAW}
ON_IMAGES: dict[str, Recipe] = {
    "dcgan": ("dcgan", IMAGES),
    "pacgan2": ("dcgan", {**IMAGES, "task": "synthesis(labels=ignore, pack=2)", "batch": 128}),
    "quick": ("quick", UNTOLD),
    "auto": ("auto", UNTOLD),
}


def small(width: int) -> dict[str, Recipe]:
    """Methods with a discriminator of 1, 2, 4 times `width` channels, where the generator has 64, 32, 16."""
    generator = "dcgan(width=16, latent=256)"
    plain = {
        **UNTOLD,
        "generator": generator,
        "discriminator": f"dcgan(width={width}, norm=batch)",
        "batch": 128,
        **adams(1e-4, 2e-4, [0.5, 0.99]),
        **RAW,
    }
    return {
        "dcgan": ("dcgan", plain),
        "pacgan2": ("dcgan", {**plain, "task": "synthesis(labels=ignore, pack=2)", "batch": 256}),
        "unrolled10": ("dcgan", {**plain, "opponent": "unrolled(steps=10, lr=2e-4, betas=[0.5, 0.99])"}),
        "quick": ("quick", {**UNTOLD, "generator": generator, "discriminator": f"dcgan(width={width})"}),
    }


@dataclasses.dataclass(frozen=True)
class Score:
    """A column: its key in a cell, its head, the factor and places it is shown with, and which end is the worst."""

    key: str
    head: str
    places: int
    worst: Callable[[Iterable[float]], float]
    factor: float = 1


ON_PLANE = (
    Score("modes", "modes of {modes}", 1, min),
    Score("high_quality", "high quality, %", 1, min, 100),
    Score("reverse_kl", "reverse KL", 3, max),
)
OF_CLASSES = (Score("modes", "modes of {modes}", 1, min), Score("kl", "KL", 3, max))


@dataclasses.dataclass(frozen=True)
class Bench:
    """One distribution: its source, the samples that are judged, the papers' steps, the methods, what is published."""

    source: str
    modes: int
    samples: int
    papers: int
    methods: dict[str, Recipe]
    scores: tuple[Score, ...]
    published: dict[str, tuple[str, ...]]

    @property
    def plane(self) -> bool:
        return self.scores is ON_PLANE


# Published: PacGAN, tables 1 to 3; unrolled and VEEGAN on points from VEEGAN, table 1.
BENCHES: dict[str, Bench] = {
    "ring-8": Bench(
        "points(name=ring-8, n=100000)", 8, 2500, 400_000, ON_POINTS, ON_PLANE,
        {"gan": ("6.3", "98.2", "0.45"), "pacgan2": ("7.9", "95.6", "0.07"), "pacgan4": ("7.8", "", ""),
         "unrolled": ("7.6", "35.6", ""), "veegan": ("8", "52.9", "")},
    ),
    "grid-25": Bench(
        "points(name=grid-25, n=100000)", 25, 2500, 400_000, ON_POINTS, ON_PLANE,
        {"gan": ("17.3", "94.8", "0.70"), "pacgan2": ("23.8", "91.3", "0.13"), "pacgan4": ("24.8", "93.6", "0.04"),
         "unrolled": ("23.6", "16", ""), "veegan": ("24.6", "40", "")},
    ),
    "stacked-mnist": Bench(
        "stacked-mnist", 1000, 26_000, 100_000, ON_IMAGES, OF_CLASSES,
        {"dcgan": ("78.9 to 99", "3.40 to 4.50"), "pacgan2": ("1000", "0.06")},
    ),
    "stacked-mnist-quarter": Bench(
        "stacked-mnist(size=32)", 1000, 25_600, 500_000, small(2), OF_CLASSES,
        {"dcgan": ("30.6 to 78.5", "5.2 to 6.0"), "unrolled10": ("327", "4.66"), "pacgan2": ("484", "2.61")},
    ),
    "stacked-mnist-half": Bench(
        "stacked-mnist(size=32)", 1000, 25_600, 500_000, small(4), OF_CLASSES,
        {"dcgan": ("628", "2.58"), "unrolled10": ("817", "1.43"), "pacgan2": ("841", "1.00")},
    ),
}  # fmt: skip
