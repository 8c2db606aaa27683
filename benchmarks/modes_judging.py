"""How samples become the mode benchmark's scores: by the centres of the points, by a classifier of the stacked digits.

The protocol says in words how that is done, and is a part of every cell's key. Whoever changes what is done here
changes the words too, or old numbers pass for new ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from modes_methods import BENCHES
from torch import Tensor

from gannet.core.errors import DivergedError
from gannet.core.registry import METRICS, SOURCES
from gannet.core.spec import parse
from gannet.core.types import Source
from gannet.data.points import SHAPES
from gannet.metrics.classifiers import MnistClassifier
from gannet.metrics.evaluator import CHUNK, Generate
from gannet.metrics.stacked import class_counts, divergence_of_counts, modes_hit


def protocol(data: str) -> str:
    """How a generator's numbers are taken."""
    bench = BENCHES[data]
    if bench.plane:
        sigma = SHAPES[data].sigma
        return (
            f"{bench.samples} samples; a mode is found by one within 3σ of its centre, σ={sigma:g}, which is of high "
            f"quality; reverse KL of the nearest modes to equal shares"
        )
    return (
        f"{bench.samples} samples; {judge().protocol} of each channel; a mode is a class with one sample; KL to the "
        f"labels of the training images"
    )


@functools.cache
def source_of(data: str) -> Source:
    return SOURCES.build(BENCHES[data].source, where="data")


@functools.cache
def judge() -> MnistClassifier:
    return MnistClassifier((3, 28, 28))


def reals(data: str) -> Generate:
    """Real samples that are not those the generator or the reference saw: test points, or other stacks of the training
    digits, whose classes are as frequent as those it learned."""
    if BENCHES[data].plane:
        split = source_of(data).split("test")
    else:
        split = SOURCES.build(parse(BENCHES[data].source).with_arg("seed", 1), where="data").split("train")
    return lambda count, start: split.take(torch.arange(start, start + count))["x"]


def taken(data: str, generate: Generate) -> dict[str, float]:
    """Every score of the protocol's number of samples."""
    n = BENCHES[data].samples
    chunks = (generate(min(CHUNK, n - start), start) for start in range(0, n, CHUNK))
    return of_points(data, chunks) if BENCHES[data].plane else of_digits(data, chunks)


def of_points(data: str, chunks: Iterable[Tensor]) -> dict[str, float]:
    source: Any = source_of(data)
    x = torch.cat([chunk.double() for chunk in chunks]).numpy()
    names = {"modes": "modes-covered", "high_quality": "high-quality", "reverse_kl": "reverse-kl"}
    # Each centre once: the reference of the reverse KL is equal shares, without an error of sampling.
    return {key: METRICS.build(name, source)(x, source.centres) for key, name in names.items()}


def of_digits(data: str, chunks: Iterable[Tensor]) -> dict[str, float]:
    """Digits of larger canvases are judged in their middle 28×28."""
    counts = np.zeros(BENCHES[data].modes, dtype=np.int64)
    for x in chunks:
        if not bool(x.isfinite().all()):
            raise DivergedError("generated samples are not finite; nothing was counted.")
        counts += class_counts(judge().probabilities(x.clamp(-1, 1)).numpy())
    return {"modes": modes_hit(counts), "kl": divergence_of_counts(counts, labels(data))}


@functools.cache
def labels(data: str) -> np.ndarray:
    """How many training images there are of every class, `[1000]`."""
    split = source_of(data).split("train")
    parts = (split.take(part)["y"] for part in torch.arange(len(split)).split(1000))
    return torch.cat(list(parts)).bincount(minlength=BENCHES[data].modes).numpy()
