"""Trained models: a generator loaded from a run without its data, and samples of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gannet.core import registry
from gannet.core.errors import CheckpointError
from gannet.core.experiment import Experiment
from gannet.core.overrides import resolve
from gannet.core.types import DataSpec, Source, Task
from gannet.engine import checkpoint, state
from gannet.engine.assembly import build_task
from gannet.engine.pictures import save_samples, to_uint8
from gannet.engine.run import Run
from gannet.latent import looks, sampling
from gannet.latent.directions import Directions, Probe, attribute, principal
from gannet.latent.looks import Look
from gannet.latent.view import View


class Model:
    """A trained generator, loaded from a run without its data: the averaged weights of one checkpoint, which was
    written after `step` steps and `samples` samples."""

    def __init__(
        self, run: Run, task: Task, experiment: Experiment, data: DataSpec, name: str, step: int = 0, samples: int = 0
    ):
        self.run, self.task, self.experiment, self.data, self.checkpoint = run, task, experiment, data, name
        self.step, self.samples = step, samples

    def sample(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> np.ndarray:
        """`n` samples: uint8 `[n, H, W, C]` for images, else float32 `[n, D]`. One seed, one result, to the byte."""
        x = self.tensor(n, seed, label, truncation)
        return self.shown(x)

    def tensor(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Tensor:
        """`n` samples `[n, *shape]` as the networks make them: floats in the range of the data, and
        points standardised where the data were."""
        index = sampling.label_index(label, self.task, self.data)
        given = self.conditions() if "given" in self.task.fields else None
        return sampling.sample(self.task, n, seed, index, truncation, given, dtype=_dtype(self.experiment))

    # ------------------------------------------------------------------------------------------------- the latent

    @cached_property
    def view(self) -> View:
        """The generator, looked at. Raises `UsageError` for a model without latents."""
        return View(self.task, _dtype(self.experiment))

    def looks(self, values: Sequence[Any]) -> list[Look]:
        """The looks that plain JSON describes (`gannet.latent.looks`). Raises `UsageError`."""
        return [looks.look(value, lambda label: sampling.label_index(label, self.task, self.data)) for value in values]

    def show(self, values: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """One sample a look, as `sample` gives them: `show([{"point": {"seed": 7}, "directions": [[0, 2]]}])`."""
        return self.shown(self.view.images(self.looks(values)))

    def interpolate(
        self,
        seeds: Sequence[int | Mapping[str, Any]],
        frames: int = 60,
        label: int | str | None = None,
        truncation: float = 1.0,
        closed: bool = True,
    ) -> np.ndarray:
        """Frames along a smooth way through the first samples of `seeds` (or through looks), as `sample` gives them.

        Every frame's latent is as likely as any other. A closed way comes back to where it began, for an animation
        that has no seam. Raises `UsageError` for a model without latents and numbers out of range.
        """
        keys = [
            {"point": {"seed": s}, "class": label, "truncation": truncation} if isinstance(s, int) else s for s in seeds
        ]
        return self.shown(self.view.frames(self.looks(keys), frames, closed))

    def directions(self, count: int = 20, label: int | str | None = None) -> Directions:
        """The first principal directions, along which samples change most: of w where the latent is mapped, else of an
        early activation, brought back to z. `steps[k]` is what one standard deviation adds to the latent."""
        if count == 20 and label is None:
            return self.view.directions
        index = sampling.label_index(label, self.task, self.data)
        return principal(self.task, count, label=index, dtype=_dtype(self.experiment))

    def boundary(self, scorer: Callable[[Tensor], Tensor], n: int = 1024, label: int | str | None = None) -> Probe:
        """The plane in the latent space between samples of high and of low score, fitted on `n` samples. `scorer`
        takes samples `[B, *shape]` and gives scores `[B]`, or yes and no (bool)."""
        index = sampling.label_index(label, self.task, self.data)
        return attribute(self.task, scorer, n, index, _dtype(self.experiment))

    def shown(self, x: Tensor) -> np.ndarray:
        """Samples as they are given away: uint8 `[N, H, W, C]` for images, else float32 `[N, D]` in the units of the
        data they learned from."""
        return to_uint8(x) if self.data.kind == "image" else self.data.x.restored(x).numpy()

    def conditions(self) -> Callable[[range], Tensor]:
        """Held-out conditions for a translator, by position, over and over."""
        source: Source = registry.SOURCES.build(self.experiment.data, where="data")
        split = source.split("test")
        own = source.spec.fields["given"].order == "own"

        def rows(positions: range) -> Tensor:
            at = torch.tensor(list(positions))
            if own:
                return split.take_own("given", at % split.own_length("given"))  # type: ignore[attr-defined]
            return split.take(at % len(split))["given"]

        return rows


def load(run: str | Path, which: str = "latest", modules: dict[str, nn.Module] | None = None) -> Model:
    """The generator of a run: `which` is "latest", "best" or a checkpoint's name."""
    found = Run.open(Path(run))
    if which == "latest":
        stored = checkpoint.latest(found.checkpoints)
    else:
        if which == "best" and not (found.checkpoints / "best.json").exists():
            raise CheckpointError(f"{found.path} has no best checkpoint: it took no scores. Use the latest one.")
        name = checkpoint.pointed(found.checkpoints, "best") if which == "best" else which
        stored = checkpoint.read(found.checkpoints / name)
    experiment = resolve(str(found.experiment)).experiment
    data = DataSpec.from_json(found.facts()["data"])
    task = build_task(experiment, data, torch.device("cpu"), _dtype(experiment), modules)
    averaged = {name: task.networks[name].eval() for name, role in task.roles.items() if role.kind != "discriminator"}
    state.load_weights(averaged, stored.tensors["ema"], str(run))
    return Model(found, task, experiment, data, stored.name, stored.state["step"], stored.state["samples"])


def _dtype(experiment: Experiment) -> torch.dtype:
    return torch.float64 if experiment.precision == "fp64" else torch.float32


def sample(
    run: str | Path,
    out: str | Path | None = None,
    n: int = 64,
    seed: int = 0,
    label: int | str | None = None,
    truncation: float = 1.0,
    which: str = "latest",
) -> Path:
    """Write `n` samples of a run to a grid (FILE.png), an array (FILE.npy) or one file each (a directory); without
    `out` to a grid, or for what is no image an array, among the samples of the run."""
    model = load(run, which)
    if out is None:
        name = (
            f"seed-{seed}"
            if label is None
            else f"seed-{seed}-class-{sampling.label_index(label, model.task, model.data)}"
        )
        out = model.run.samples / (name + (".png" if model.data.kind == "image" else ".npy"))
    return save_samples(model.sample(n, seed, label, truncation), out)
