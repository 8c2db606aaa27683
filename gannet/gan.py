"""The GAN of the Python API: arrays in, arrays out, the same run directory underneath."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gannet.core.errors import UsageError
from gannet.core.overrides import Resolved, resolve
from gannet.core.spec import Spec
from gannet.core.types import Source
from gannet.data.array import ArraySource
from gannet.engine import checkpoint
from gannet.engine.console import Console, Silent
from gannet.engine.run import Run, write_text_atomic
from gannet.engine.trainer import Outcome
from gannet.model import Model, load
from gannet.training import resume, start

IN_MEMORY = "(given in Python)"
"""What an experiment says of arrays that have no file; only the program that holds them can go on training."""


class GAN:
    """Train a preset on arrays and sample from it: `GAN("quick", data=images).fit(minutes=2).sample(64)`.

    `data` is a source spec ("mnist"), a path, an array `[N, H, W]`, `[N, H, W, C]`, `[N, C, H, W]` or `[N, D]`, or a
    pair (array, labels). `generator=` and `discriminator=` take one's own modules: the generator has an attribute
    `latent` and maps z `[B, latent]` to samples; the discriminator maps samples to scores `[B]` or a `Verdict`. Where
    the data have labels, both take y `[B]` next. Other keywords are overrides, dots written as double underscores:
    `optim__generator__lr=1e-3`.
    """

    def __init__(
        self,
        preset: str = "quick",
        *,
        data: Any = None,
        generator: nn.Module | str | None = None,
        discriminator: nn.Module | str | None = None,
        run: str | Path | None = None,
        **overrides: Any,
    ):
        self.preset, self.where = preset, run
        self.overrides = {k.replace("__", "."): v for k, v in overrides.items()}
        self.modules: dict[str, nn.Module] = {}
        for role, given in (("generator", generator), ("discriminator", discriminator)):
            if isinstance(given, nn.Module):
                self.modules[role] = given
            elif given is not None:
                self.overrides[role] = given
        self.source = _held(data)
        if self.source is None and data is not None:
            self.overrides["data"] = str(data)
        self.run: Run | None = None
        self.outcome: Outcome | None = None
        self._model: Model | None = None

    def fit(self, minutes: float | None = None, samples: int | None = None, quiet: bool = True) -> GAN:
        """Train, or go on training for that much more. Returns itself. Raises `UsageError` where nothing is left to do
        and nothing more was asked for."""
        console = Silent() if quiet else Console()
        if self.run is not None:
            self._check_more(minutes is not None or samples is not None)
            self._model = None
            done = checkpoint.latest(self.run.checkpoints).state["samples"]
            more = {"stop.samples": done + samples} if samples is not None else {}
            if minutes is not None:
                more["stop.minutes"] = minutes
            self.run, self.outcome = resume(self.run.path, more, (), console, self.source, self.modules)
            return self
        # Samples replace the preset's own minutes, they do not join them.
        stop: dict[str, Any] = {"stop.minutes": minutes} if minutes is not None or samples is not None else {}
        if samples is not None:
            stop["stop.samples"] = samples
        resolved = resolve(self.preset, {**self.overrides, **stop}, origin="Python")
        if self.source is not None:
            named = Spec("array", (), {"path": IN_MEMORY})
            resolved = Resolved(resolved.experiment.model_copy(update={"data": named}), resolved.origins)
        self.run, self.outcome = start(resolved, self.where, {}, console, self.source, self.modules)
        return self

    def _check_more(self, asked: bool) -> None:
        """Refuse to go on with a run that has nothing left to do, or whose arrays are not at hand."""
        assert self.run is not None
        if not asked and not (self.outcome and self.outcome.reason == "signal"):
            raise UsageError(
                f"{self.run.path} is trained. To go on, say for how much more: fit(minutes=2) or fit(samples=100_000)."
            )
        data = resolve(str(self.run.experiment)).experiment.data
        if self.source is None and data.args.get("path") == IN_MEMORY:
            raise UsageError(
                f"{self.run.path} was trained on an array that no file holds. To go on, give it again: "
                f"GAN.load({str(self.run.path)!r}, data=array)."
            )

    @property
    def model(self) -> Model:
        """The trained generator. Raises `UsageError` before `fit`."""
        if self._model is None:
            if self.run is None:
                raise UsageError("this GAN has not been trained. Call fit(minutes=2) first, or GAN.load(path).")
            self._model = load(self.run.path, modules=self.modules or None)
        return self._model

    def sample(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> np.ndarray:
        """`n` samples: uint8 `[n, H, W, C]` for images, else float32 `[n, D]`. One seed, one result, to the byte."""
        return self.model.sample(n, seed, label, truncation)

    def save(self, path: str | Path) -> Path:
        """Copy what sampling and resuming need to `path`, a new directory that `GAN.load` and every command read."""
        model = self.model
        target = Run.at(Path(path))
        for text in (model.run.experiment, model.run.environment):
            write_text_atomic(target.path / text.name, text.read_text(encoding="utf-8"))
        stored = checkpoint.latest(model.run.checkpoints)
        values = {**stored.state, "log_position": 0}
        checkpoint.commit(target.checkpoints, stored.name.partition("-")[0], stored.tensors, values)
        return target.path

    @classmethod
    def load(
        cls,
        path: str | Path,
        generator: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        data: Any = None,
    ) -> GAN:
        """A GAN saved or trained in `path`. Modules of one's own must be given again, since only their weights are
        stored, and so must arrays to train on. Raises `UsageError` for `data` that is text: files are found again."""
        gan = cls("quick", generator=generator, discriminator=discriminator, data=data)
        if gan.source is None and data is not None:
            raise UsageError(
                f"GAN.load(…, data={str(data)!r}): the run says where its files are. Give arrays, or leave data out."
            )
        gan.run = Run.open(Path(path))
        gan._model = load(path, modules=gan.modules or None)
        return gan


def _held(data: Any) -> Source | None:
    """The source of arrays held in Python; `None` for text and paths, which name data elsewhere."""
    if data is None or isinstance(data, str | Path | Spec):
        return None
    parts = data if isinstance(data, tuple) else (data,)
    return ArraySource.from_arrays(*(np.asarray(part) for part in parts))
