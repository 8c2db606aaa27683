"""Scores a generator against a source: one pass of features for all metrics, and for every number its protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gannet.core import random
from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.parts import Extractor, Metric
from gannet.core.registry import EXTRACTORS, METRICS, SOURCES
from gannet.core.spec import Spec, parse
from gannet.core.types import Source

SAMPLES = 2000
"""Samples a side unless `n` says otherwise: seconds on a CPU, steady to a few percent."""
CHUNK = 250
"""Samples generated, and judged by the extractor, at once."""

Generate = Callable[[int, int], Tensor]
"""`generate(count, start)` gives the samples numbered `start … start + count − 1`, `[count, *shape]`."""


class TooFewRows(UsageError):
    """So few samples that no metric chosen by the kind of data can be taken."""


class Evaluator:
    """Measures generated samples against rows of `split` of `source`, `n` a side, always the same rows for one `seed`.

    `extractor` and `metrics` are names or specs; left out, they are chosen by the kind of data: points are compared as
    they are, the embedded digits in the features of their classifier, other images in random convolution features.
    The first metric is the `primary` one. Use `split="train"` to choose among checkpoints, `"test"` to report.

    The key of a score names the metric and, for distances in features, the extractor: `fd[digits-classifier]`.
    `protocol` adds hash, sizes, count, reference and seed: two numbers compare only if these agree.

    Of metrics that were left out, only those are chosen that `n` samples suffice for. Raises `UsageError` for a metric
    asked for that the source, the extractor or `n` cannot serve and for an `n` the source cannot fill; `TooFewRows`
    when there is none to choose.
    """

    def __init__(
        self,
        source: Source,
        split: str = "test",
        extractor: Spec | str | None = None,
        metrics: Sequence[Spec | str] | None = None,
        n: int | None = None,
        seed: int = 0,
    ):
        self.source, self.split, self.seed = source, split, seed
        self.rows = source.split(split)
        # The floor needs n other reals: the training rows beside a test reference, else further rows of the same split.
        apart = len(source.split("train")) if split == "test" else len(self.rows) // 2
        self.n = max(1, min(SAMPLES, len(self.rows), apart)) if n is None else n
        if not 1 <= self.n <= len(self.rows):
            raise UsageError(
                f"n={self.n}; {source_name(source)}:{split} has {len(self.rows)} rows to compare with. "
                f"Use n from 1 to {len(self.rows)}."
            )
        extractor = extractor or default_extractor(source)
        self.extractor: Extractor = EXTRACTORS.build(extractor, source.spec.shape, where="extractor")
        specs = [parse(m, "metrics") if isinstance(m, str) else m for m in metrics or default_metrics(source)]
        built = [(spec, self._build(spec)) for spec in specs]
        short = [(spec, metric) for spec, metric in built if metric.needs_rows > self.n]
        if short and metrics:
            spec, metric = short[0]
            raise UsageError(
                f"metrics: {spec} needs {metric.needs_rows} samples a side or more, n={self.n}. "
                f"Use n={metric.needs_rows} or more, or leave {spec.name} out."
            )
        if len(short) == len(built):
            least = min(metric.needs_rows for _, metric in built)
            raise TooFewRows(f"n={self.n} samples a side are too few for any metric; the first is taken of {least}.")
        built = [pair for pair in built if pair not in short]
        self.metrics: dict[str, Metric] = {self._key(spec, metric): metric for spec, metric in built}
        reference = f"n={self.n}|{source_name(source)}@{source.fingerprint()[:8]}:{split},seed={seed}"
        self.protocol: dict[str, str] = {
            self._key(spec, metric): f"{self._method(spec, metric)},{reference}]" for spec, metric in built
        }

    @property
    def primary(self) -> str:
        """Key of the score that decides which checkpoint is best, and that a target stop reads."""
        return next(iter(self.metrics))

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Direction of `primary`."""
        return self.metrics[self.primary].better

    def score(self, generate: Generate) -> dict[str, float]:
        """Every metric of `n` samples, generated in order in chunks.

        Values are measured as they would be saved: clamped to the range of the source's field. Raises `DivergedError`
        for samples that are not finite, `DataError` for a wrong shape or a metric that has no finite value.
        """
        chunks = []
        for start in range(0, self.n, CHUNK):
            count = min(CHUNK, self.n - start)
            with torch.no_grad():
                x = generate(count, start).detach().float().cpu()
            chunks.append(self._checked(x, count, start))
        return self._measure(torch.cat(chunks))

    def labels(self) -> Tensor | None:
        """Classes of the reference rows in their order, `[n]`; `None` where the source has none. Samples generated for
        them have the reference's own mix of classes, which is then no part of their distance."""
        return self._reference[1]

    def floor(self) -> dict[str, float]:
        """Every metric of `n` other reals: what a perfect generator would be given. No row is on both sides.

        Raises `DataError` if the source has too few rows left for the same `n`.
        """
        if self.split == "test":
            others, place = self.source.split("train"), self._order("train")
        else:
            others, place = self.rows, self._order(self.split)[self.n :]
        if len(place) < self.n:
            raise DataError(
                f"a floor at n={self.n} needs as many rows that are not in the reference, {len(place)} are left. "
                f"Use n={max(1, len(place) if self.split == 'test' else len(self.rows) // 2)} or fewer."
            )
        return self._measure(others.take(place[: self.n])["x"].float())

    def _measure(self, x: Tensor) -> dict[str, float]:
        fake, (real, _) = self._arrays(x), self._reference
        scores = {}
        for key, metric in self.metrics.items():
            scores[key] = float(metric(fake[metric.reads], real[metric.reads]))
            if not math.isfinite(scores[key]):
                raise DataError(f"{self.protocol[key]} has no finite value on these {self.n} samples.")
        return scores

    @cached_property
    def _reference(self) -> tuple[dict[str, np.ndarray], Tensor | None]:
        """What the metrics read of the reference rows, and their labels."""
        batch = self.rows.take(self._order(self.split)[: self.n])
        return self._arrays(batch["x"].float()), batch["y"] if self.source.spec.classes else None

    def _order(self, split: str) -> Tensor:
        return torch.randperm(len(self.source.split(split)), generator=random.generator(self.seed, "evaluator", split))

    def _arrays(self, x: Tensor) -> dict[str, np.ndarray]:
        """What the metrics read of samples `[n, *shape]`, each `[n, d]`, no more than is wanted."""
        makers: dict[str, Callable[[Tensor], Tensor | None]] = {
            "samples": lambda part: part.flatten(1),
            "features": self.extractor.features,
            "probabilities": self.extractor.probabilities,
        }
        wanted = {metric.reads for metric in self.metrics.values()}
        with torch.no_grad():
            return {name: np.concatenate([_array(makers[name](part)) for part in x.split(CHUNK)]) for name in wanted}

    def _checked(self, x: Tensor, count: int, start: int) -> Tensor:
        field = self.source.spec.x
        if tuple(x.shape) != (count, *field.shape):
            raise DataError(f"asked for {[count, *field.shape]} samples, the generator gave {list(x.shape)}.")
        bad = (~x.flatten(1).isfinite().all(1)).nonzero().flatten()
        if len(bad):
            raise DivergedError(
                f"{len(bad)} of {count} generated samples are not finite, the first is number {start + int(bad[0])}; "
                f"no metric was taken."
            )
        return x if field.range is None else x.clamp(*field.range)

    def _build(self, spec: Spec) -> Metric:
        part = METRICS.get(spec.name, "metrics")
        metric = METRICS.build(spec, *([self.source] if getattr(part, "wants_source", False) else []), where="metrics")
        if (
            metric.reads == "probabilities"
            and self.extractor.probabilities(torch.zeros(1, *self.source.spec.shape)) is None
        ):
            raise UsageError(
                f"metrics: {spec.name} reads class probabilities, {self.extractor.name} has no classes. "
                f"Use an extractor with classes, or leave {spec.name} out."
            )
        return metric

    def _key(self, spec: Spec, metric: Metric) -> str:
        symbol = getattr(metric, "symbol", None)
        return f"{Spec(symbol, spec.positional, spec.args)}[{self.extractor.name}]" if symbol else str(spec)

    def _method(self, spec: Spec, metric: Metric) -> str:
        """The protocol's first half: the metric with every option, and what it reads."""
        shown = Spec(getattr(metric, "symbol", spec.name), (), METRICS.resolve(spec))
        return f"{shown}[{'samples' if metric.reads == 'samples' else self.extractor.protocol}"


def _array(rows: Tensor | None) -> np.ndarray:
    assert rows is not None, "an extractor without classes was refused when the evaluator was built"
    return rows.double().numpy()


def source_name(source: Source) -> str:
    """The name `source` is registered under, its class's name if it is not."""
    names = (name for name in SOURCES.names() if SOURCES.get(name) is type(source))
    return next(names, type(source).__name__)


def default_extractor(source: Source) -> str:
    """Points: themselves. The embedded 8×8 digits: their classifier. Other images: random convolutions."""
    if source.spec.kind != "image":
        return "pixels"
    return "digits-classifier" if source_name(source) == "digits" and source.spec.shape == (1, 8, 8) else "random-conv"


def default_metrics(source: Source) -> list[str]:
    """Primary first. Images: distances in features, precision, recall. Points: transport, precision, recall, modes."""
    if source.spec.kind == "image":
        return ["frechet", "kernel", "precision", "recall", "density", "coverage"]
    counted = getattr(source, "centres", None) is not None
    return ["sliced-wasserstein", "precision", "recall"] + ["modes-covered", "high-quality", "reverse-kl"] * counted
