"""Scores a generator against a source: one pass of features for all metrics, and for every number its protocol."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gannet.core import random
from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.core.spec import Spec, parse
from gannet.core.types import Source
from gannet.metrics import naming
from gannet.metrics.defaults import build_extractor, default_extractor, default_metrics, most_rows
from gannet.metrics.intervals import Spread, spread
from gannet.metrics.reference import Reference, load_reference, save_reference

SAMPLES = 2000
"""Samples a side unless `n` says otherwise: seconds on a CPU, steady to a few percent."""
REPORTED = 5000
"""The same for a report, which is made once."""
TRAIN = 20_000
"""Most training rows shown to metrics of memorisation."""
CHUNK = 250
"""Samples generated, and judged by the extractor, at once."""
STEP = 1e-4
"""The small step ε of a path through the latents, as a share of the path (Karras et al. 2019, arXiv 1812.04948)."""

Generate = Callable[[int, int], Tensor]
"""`generate(count, start)` gives the samples numbered `start … start + count − 1`, `[count, *shape]`."""
Walk = Callable[[int, int, float], tuple[Tensor, Tensor]]
"""`walk(count, start, step)` gives two samples for each number, from latents `step` of a path apart."""
Arrays = dict[str, np.ndarray]
"""What metrics read of one set of samples: features, probabilities, samples, steps, each `[n, d]`."""


class TooFewRows(UsageError):
    """So few samples that no metric chosen by the kind of data can be taken."""


class Evaluator:
    """Measures generated samples against rows of `split` of `source`, `n` a side, always the same rows for one `seed`.

    `extractor` and `metrics` are names or specs; left out, they are chosen by the data: an extractor that suits the
    source by its name, else random convolution features for images and the samples themselves for points. The first
    metric is the `primary` one. Use `split="train"` to choose among checkpoints, `"test"` to report.

    The key of a score names the metric and, for distances in features, the extractor: `fd[digits-classifier]`.
    `protocol` adds hash, sizes, count, reference and seed: two numbers compare only if these agree.

    A `report` is taken of more samples, of paths through the latents if asked, and of no Fréchet distance whose
    covariances would lack rank. Metrics of memorisation are shown up to 20,000 training rows, and so need a held-out
    split as the reference.

    Of metrics that were left out, only those are chosen that `n` samples suffice for; `left_out` says what the others
    need. Raises `UsageError` for a metric asked for that the source, the extractor or `n` cannot serve and for an `n`
    the source cannot fill; `TooFewRows` when there is none to choose. `tell` hears of every chunk of samples judged.

    `kept` is a `.safetensors` file for the features of the reference: written when it is not there, else read and not
    computed again, and refused if it was taken by another protocol.
    """

    def __init__(
        self,
        source: Source,
        split: str = "test",
        extractor: Spec | str | None = None,
        metrics: Sequence[Spec | str] | None = None,
        n: int | None = None,
        seed: int = 0,
        report: bool = False,
        kept: str | Path | None = None,
        tell: Callable[[int], object] = lambda rows: None,
    ):
        self.source, self.split, self.seed, self.report, self.tell = source, split, seed, report, tell
        self.kept = None if kept is None else Path(kept).expanduser()
        self.rows = source.split(split)
        self.n = max(1, min(REPORTED if report else SAMPLES, most_rows(source, split))) if n is None else n
        if not 1 <= self.n <= len(self.rows):
            raise UsageError(
                f"n={self.n}; {naming.source_name(source)}:{split} has {len(self.rows)} rows to compare with. "
                f"Use n from 1 to {len(self.rows)}."
            )
        self.extractor = build_extractor(extractor or default_extractor(source), source)
        specs = [parse(m, "metrics") if isinstance(m, str) else m for m in metrics or default_metrics(source)]
        built = [(spec, self._build(spec)) for spec in specs]
        short = [(spec, metric) for spec, metric in built if self._needs(metric) > self.n]
        if short and metrics:
            raise UsageError(self._too_few(*short[0]))
        if len(short) == len(built):
            least = min(self._needs(metric) for _, metric in built)
            raise TooFewRows(f"n={self.n} samples a side are too few for any metric; the first is taken of {least}.")
        built = [pair for pair in built if pair not in short]
        self.left_out: dict[str, int] = {self._key(*pair): self._needs(pair[1]) for pair in short}
        self.metrics: dict[str, Metric] = {self._key(*pair): pair[1] for pair in built}
        self.protocol: dict[str, str] = {
            self._key(*pair): f"{naming.method(*pair, self.extractor)},{self._against(pair[1])}]" for pair in built
        }

    @property
    def primary(self) -> str:
        """Key of the score that decides which checkpoint is best, and that a target stop reads."""
        return next(iter(self.metrics))

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Direction of `primary`."""
        return self.metrics[self.primary].better

    # ------------------------------------------------------------------------------------------------- measuring

    def score(self, generate: Generate) -> dict[str, float]:
        """Every metric of `n` samples, generated in order in chunks: `measure` of what `read` finds."""
        return self.measure(self.read(generate))

    def read(self, generate: Generate, walk: Walk | None = None) -> Arrays:
        """What the metrics read of `n` samples, generated and judged in chunks.

        Values are taken as they would be saved: clamped to the range of the source's field. Raises `DivergedError`
        for samples that are not finite, `DataError` for a wrong shape or features that are not finite, `UsageError`
        where a metric needs a `walk` and there is none.
        """
        found = self._arrays(self._checked(generate(*at), *at) for at in self._chunks())
        if any(metric.reads == "steps" for metric in self.metrics.values()):
            if walk is None:
                key = next(key for key, metric in self.metrics.items() if metric.reads == "steps")
                raise UsageError(
                    f"metrics: {key} is taken along paths through the latents of a generator, and these samples come "
                    f"without one. Give a run, or leave {key} out."
                )
            found["steps"] = np.concatenate([self._steps(walk, *at) for at in self._chunks()])
        return found

    def samples(self, generate: Generate) -> Tensor:
        """The `n` samples themselves as they are judged, `[n, *shape]`."""
        return torch.cat([self._checked(generate(*at), *at) for at in self._chunks()])

    def reals(self, name: Literal["features", "samples", "probabilities"]) -> np.ndarray:
        """What the extractor says of the reference rows, or the rows themselves, `[n, d]`."""
        known = self._reference[0]
        if name in known:
            return known[name]
        rows = self._taken(self.rows, self._order(self.split)[: self.n])
        return self._arrays(rows, {name})[name]

    def measure(self, fakes: Arrays) -> dict[str, float]:
        """Every metric of what was read of some fakes. Raises `DataError` for one that has no finite value."""
        return {key: self._value(key, *self._sides(metric, fakes)) for key, metric in self.metrics.items()}

    def spreads(self, fakes: Arrays, tell: Callable[[int], object] = lambda draws: None) -> dict[str, Spread]:
        """How much every metric would vary with the samples on both sides, as `intervals.spread` says, which tells of
        its draws. A metric that has no value on some draw has no spread."""
        found = {}
        for key, metric in self.metrics.items():
            with contextlib.suppress(DataError):
                found[key] = spread(metric, self._sides(metric, fakes), seed=self.seed, tell=tell)
        return found

    def labels(self) -> Tensor | None:
        """Classes of the reference rows in their order, `[n]`; `None` where the source has none. Samples generated for
        them have the reference's own mix of classes, which is then no part of their distance."""
        return self._reference[1]

    def floor(self) -> dict[str, float]:
        """Every metric of `n` other reals: what a perfect generator would be given. No row is on both sides.

        Metrics of memorisation are then shown the training rows that are left, and those that read paths have no floor.
        Raises `DataError` if the source has too few rows left for the same `n`.
        """
        if self.split == "test":
            others = {name: rows[: self.n] for name, rows in self._training.items()}
            train = {name: rows[self.n :] for name, rows in self._training.items()}
            left = len(self.source.split("train"))
        else:
            place = self._order(self.split)[self.n : 2 * self.n]
            others, train, left = self._arrays(self._taken(self.rows, place)), {}, len(self.rows) - self.n
        if left < self.n:
            raise DataError(
                f"a floor at n={self.n} needs as many rows that are not in the reference, {left} are left. "
                f"Use n={max(1, left if self.split == 'test' else len(self.rows) // 2)} or fewer."
            )
        found = {}
        for key, metric in self.metrics.items():
            if metric.reads == "steps" or (wants_train(metric) and len(train[metric.reads]) < self.n):
                continue
            found[key] = self._value(key, *self._sides(metric, others, train))
        return found

    def _value(self, key: str, *sides: np.ndarray) -> float:
        value = float(self.metrics[key](*sides))
        if not math.isfinite(value):
            raise DataError(f"{self.protocol[key]} has no finite value on these {self.n} samples.")
        return value

    def _sides(self, metric: Metric, fakes: Arrays, train: Arrays | None = None) -> tuple[np.ndarray, ...]:
        """What `metric` is called with: fakes, reals and, where it wants them, training rows."""
        fake = fakes[metric.reads]
        if metric.reads == "steps":
            return fake, fake[:0]
        real = self._reference[0][metric.reads]
        if not wants_train(metric):
            return fake, real
        return fake, real, (train or self._training)[metric.reads]

    # --------------------------------------------------------------------------------------------------- reading

    @cached_property
    def _reference(self) -> tuple[Arrays, Tensor | None]:
        """What the metrics read of the reference rows, and their labels."""
        labels: list[Tensor] = []
        chunks = self._taken(self.rows, self._order(self.split)[: self.n], labels)
        if self.kept is None or "features" not in self._reads:
            found = self._arrays(chunks)
        else:
            protocol = f"{self.extractor.protocol},{self._rows_of_reference()}"
            if self.kept.exists():
                features = load_reference(self.kept, protocol).features
                if features is None:
                    raise UsageError(f"{self.kept} holds no features, only their moments. Save the reference again.")
                found = {**self._arrays(chunks, self._reads - {"features"}), "features": features}
            else:
                found = self._arrays(chunks)
                save_reference(self.kept, Reference.of(found["features"]), protocol)
        return found, torch.cat(labels) if labels else None

    @cached_property
    def _training(self) -> Arrays:
        """The same of training rows, as many as any metric or the floor is shown."""
        return self._arrays(self._taken(self.source.split("train"), self._order("train")[: self._trained]))

    @property
    def _trained(self) -> int:
        shown = TRAIN if any(wants_train(metric) for metric in self.metrics.values()) else 0
        return min(len(self.source.split("train")), max(shown, self.n))

    def _order(self, split: str) -> Tensor:
        return torch.randperm(len(self.source.split(split)), generator=random.generator(self.seed, "evaluator", split))

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """Count and first number of every chunk of `n` samples."""
        return ((min(CHUNK, self.n - start), start) for start in range(0, self.n, CHUNK))

    def _taken(self, rows, place: Tensor, labels: list[Tensor] | None = None) -> Iterator[Tensor]:
        for part in place.split(CHUNK):
            batch = rows.take(part)
            if labels is not None and self.source.spec.classes:
                labels.append(batch["y"])
            yield batch["x"].float()

    @property
    def _reads(self) -> set[str]:
        """What the metrics read of a set of samples."""
        return {str(metric.reads) for metric in self.metrics.values()} - {"steps"}

    def _arrays(self, chunks: Iterable[Tensor], reads: set[str] | None = None) -> Arrays:
        """What the metrics read of samples `[b, *shape]` that come in chunks, each `[n, d]`, no more than is wanted."""
        makers: dict[str, Callable[[Tensor], Tensor | None]] = {
            "samples": lambda part: part.flatten(1),
            "features": self.extractor.features,
            "probabilities": self.extractor.probabilities,
        }
        wanted = self._reads if reads is None else reads
        found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        with torch.no_grad():
            for part in chunks:
                for name in wanted:
                    found[name].append(self._array(makers[name](part), name))
                self.tell(len(part))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _array(self, rows: Tensor | None, name: str) -> np.ndarray:
        assert rows is not None, "an extractor without classes was refused when the evaluator was built"
        if not bool(rows.isfinite().all()):
            raise DataError(
                f"{name} that are not finite, taken by {self.extractor.name} of samples that are; no metric was taken."
                if name != "samples"
                else "reference samples that are not finite; no metric was taken."
            )
        return rows.double().numpy()

    def _steps(self, walk: Walk, count: int, start: int) -> np.ndarray:
        """Change of the features over a small step, a share of the path: `[count, d]`."""
        with torch.no_grad():
            here, there = (self.extractor.features(self._checked(x, count, start)) for x in walk(count, start, STEP))
        self.tell(2 * count)
        return self._array((there - here) / STEP, "steps")

    def _checked(self, x: Tensor, count: int, start: int) -> Tensor:
        x, field = x.detach().float().cpu(), self.source.spec.x
        if tuple(x.shape) != (count, *field.shape):
            raise DataError(f"asked for {[count, *field.shape]} samples, the generator gave {list(x.shape)}.")
        bad = (~x.flatten(1).isfinite().all(1)).nonzero().flatten()
        if len(bad):
            raise DivergedError(
                f"{len(bad)} of {count} generated samples are not finite, the first is number {start + int(bad[0])}; "
                f"no metric was taken."
            )
        return x if field.range is None else x.clamp(*field.range)

    # --------------------------------------------------------------------------------------------------- metrics

    def _build(self, spec: Spec) -> Metric:
        part = METRICS.get(spec.name, "metrics")
        metric = METRICS.build(spec, *([self.source] if getattr(part, "wants_source", False) else []), where="metrics")
        blank = torch.zeros(1, *self.source.spec.shape)
        if metric.reads == "probabilities" and self.extractor.probabilities(blank) is None:
            raise UsageError(
                f"metrics: {spec.name} reads class probabilities, {self.extractor.name} has no classes. "
                f"Use an extractor with classes, or leave {spec.name} out."
            )
        if wants_train(metric) and self.split == "train":
            raise UsageError(
                f"metrics: {spec.name} tells training rows from held-out ones, and the reference is the training "
                f"split. Compare with the test split, or leave {spec.name} out."
            )
        if metric.reads == "steps" and not self.report:
            raise UsageError(
                f"metrics: {spec.name} is taken along paths through the latents of a finished run: "
                f"gannet evaluate RUN --metrics {spec.name}. Leave it out here."
            )
        return metric

    def _key(self, spec: Spec, metric: Metric) -> str:
        return naming.key(spec, metric, self.extractor)

    def _needs(self, metric: Metric) -> int:
        """The fewest samples a side for this metric here."""
        thin = getattr(metric, "report_rows", None) if self.report else None
        return max(metric.needs_rows, thin(self._dimension) if thin else 0)

    def _too_few(self, spec: Spec, metric: Metric) -> str:
        needs = self._needs(metric)
        if needs > metric.needs_rows:
            return (
                f"metrics: {spec} in the {self._dimension} features of {self.extractor.name} is reported of {needs} "
                f"samples a side or more, n={self.n}: with fewer, most of the value is bias. Use n={needs} or more, "
                f"or kernel, which has no bias at any n."
            )
        return (
            f"metrics: {spec} needs {needs} samples a side or more, n={self.n}. "
            f"Use n={needs} or more, or leave {spec.name} out."
        )

    @cached_property
    def _dimension(self) -> int:
        with torch.no_grad():
            return int(self.extractor.features(torch.zeros(1, *self.source.spec.shape)).shape[1])

    def _against(self, metric: Metric) -> str:
        """The second: how many samples, and what they are compared with."""
        if metric.reads == "steps":
            return f"n={self.n},step={STEP:g}"
        return self._rows_of_reference() + (f",train={self._trained}" if wants_train(metric) else "")

    def _rows_of_reference(self) -> str:
        name = f"{naming.source_name(self.source)}@{self.source.fingerprint()[:8]}:{self.split}"
        return f"n={self.n}|{name},seed={self.seed}"


def wants_train(metric: Metric) -> bool:
    return getattr(metric, "wants_train", False)
