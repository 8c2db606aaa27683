"""How the networks of a task see samples: with their class or without, and several as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.types import Batch, DataSpec, Field, Inputs

Labels = Literal["auto", "use", "ignore"]
Condition = Literal["projection", "concatenation"]


def labelled(data: DataSpec, labels: Labels) -> DataSpec:
    """`x` of the source, with its classes unless they are ignored. Raises `UsageError` where there are none to use."""
    if labels == "use" and not data.classes:
        raise UsageError("task.labels=use needs a source with labels, and this one has none. Write task.labels=ignore.")
    return data.seen_as(given=None, labels=labels != "ignore")


def judged(view: DataSpec, condition: Condition, pack: int) -> DataSpec:
    """What `view` is to a discriminator that is told the class by `condition` and judges `pack` samples as one.

    Concatenation makes the classes a `given` of K one-hot planes; a pack has `pack` · C channels (or coordinates).
    Raises `UsageError` for a condition without labels, packs of labelled samples and a `pack` below 1.
    """
    first, *rest = view.shape
    if pack < 1:
        raise UsageError(f"task.pack={pack} is no number of samples; use 2, 3 or 4, or 1 to judge each alone.")
    if pack > 1 and view.classes:
        raise UsageError(
            f"task.pack={pack} judges several samples as one, and those here have a label each. Set task.labels=ignore."
        )
    if condition == "projection":
        return replace(view, fields={"x": replace(view.x, shape=(pack * first, *rest))})
    if not view.classes:
        raise UsageError(
            "task.condition=concatenation lays labels beside samples, and here are none. "
            "Use a source with labels and task.labels=auto, or remove task.condition."
        )
    return DataSpec({"x": view.x, "given": Field((view.classes, *rest), view.kind, (0.0, 1.0))})


def sides(spec: DataSpec, pack: int, batch: Batch, fake: Tensor) -> tuple[Inputs, Inputs]:
    """The reals of `batch` and the fakes as a discriminator of `spec` sees them, under the very same conditions."""
    y = batch["y"] if spec.classes else None
    given = one_hot_planes(batch["y"], fake, spec.given.shape) if spec.given else None
    return Inputs(packed(batch["x"], pack), y, given), Inputs(packed(fake, pack), y, given)


def one_hot_planes(y: Tensor, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Labels `[B]` as `[B, *shape]` in the type of `like`: plane y of row i is 1 all over, the others are 0."""
    hot = F.one_hot(y, shape[0]).type_as(like)
    return hot.view(*hot.shape, *[1] * (len(shape) - 1)).expand(-1, *shape)


def packed(x: Tensor, pack: int) -> Tensor:
    """Rows i·m … i·m + m − 1 as row i: `[B, C, …]` → `[B // m, m·C, …]` with m = `pack`; rows left over are dropped."""
    if pack == 1:
        return x
    packs = len(x) // pack
    return x[: packs * pack].reshape(packs, pack * x.shape[1], *x.shape[2:])
