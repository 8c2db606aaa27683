"""What the layers of a generator answer: the activations of each stage, heard by hooks while a sample is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError, unknown
from gannet.core.random import Draw, installed
from gannet.core.types import Task
from gannet.latent.arcs import Blend
from gannet.latent.starts import ROWS, Start, generator_of, make, read


def stages(generator: nn.Module) -> dict[str, nn.Module]:
    """The stages of a network by their names: its parts, of lists and of chains of chains each of theirs. A
    convolution with its normalisation and activation is one stage."""
    return dict(_stages(generator, ""))


def _stages(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in _parts(module):
        chain = isinstance(child, nn.Sequential) and any(list(_parts(link)) for _, link in _parts(child))
        if chain or isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _stages(child, f"{prefix}{name}.")
        elif not isinstance(child, nn.Identity) and (list(_parts(child)) or not isinstance(child, nn.Sequential)):
            yield prefix + name, child


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, child) for name, child in module.named_children() if name != "parametrizations")


@contextlib.contextmanager
def hearing(modules: dict[str, nn.Module], hear: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `hear(name, output)` whenever one of `modules` has answered with a tensor, while the block runs. What is
    heard is a copy: the next layer may work in place."""

    def hook(name: str) -> Callable[..., None]:
        def heard(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                hear(name, output.detach().clone())

        return heard

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield


def layers(task: Task, dtype: torch.dtype = torch.float32) -> dict[str, tuple[int, ...]]:
    """Name and shape `(C, H, W)` of every layer of the generator that answers with a grid, in the order in which they
    answer. Raises `UsageError` for a task that makes nothing from latents."""
    found: dict[str, tuple[int, ...]] = {}

    def hear(name: str, output: Tensor) -> None:
        if output.dim() == 4 and len(output) == ROWS:
            found.setdefault(name, tuple(output.shape[1:]))

    blend: Blend = {0: 1.0}
    with hearing(stages(generator_of(task)), hear):
        make(task, read(task, one_row(dtype)), [blend], dtype)
    return found


def one_row(dtype: torch.dtype) -> Draw:
    return Draw(0, "sample", 0, range(1), dtype=dtype)


@torch.no_grad()
def outputs(
    task: Task, start: Start, blends: Sequence[Blend], name: str, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """What layer `name` answers as samples are made of `start`, `[N, C, H, W]`, and the samples. Raises `UsageError`
    for a layer that there is not."""
    known = layers(task, dtype)
    if name not in known:
        raise UsageError(unknown("layer", name, known))
    found: list[Tensor] = []
    with hearing({name: stages(generator_of(task))[name]}, lambda _, output: found.append(output)):
        x = make(task, start, blends, dtype)
    return torch.cat(found)[: len(start)].float(), x


class _Reached(Exception):
    def __init__(self, output: Tensor):
        self.output = output


@torch.no_grad()
def early(task: Task, start: Start, draw: Draw, name: str) -> Tensor:
    """What layer `name` answers for the rows of `start`, `[N, …]`; what comes after it is not computed. Layers that
    draw do it from `draw`."""
    generator = generator_of(task)

    def stop(_: str, output: Tensor) -> None:
        raise _Reached(output)

    with hearing({name: stages(generator)[name]}, stop), installed(draw.child("layers")):
        try:
            generator(start.latent, start.y)
        except _Reached as reached:
            return reached.output
    raise UsageError(f"layer '{name}' is never reached.")


@torch.no_grad()
def first_layer(task: Task, dtype: torch.dtype = torch.float32) -> str:
    """The first layer whose answer depends on the latent. Raises `UsageError` where none does."""
    heard: dict[str, Tensor] = {}
    draw = Draw(0, "first layer", 0, range(ROWS), dtype=dtype)
    start = read(task, draw, 0 if any(role.data.classes for role in task.roles.values()) else None)
    generator = generator_of(task)
    with hearing(stages(generator), heard.setdefault), installed(draw.child("layers")):  # type: ignore[arg-type]
        generator(start.latent, start.y)
    for name, output in heard.items():
        if len(output) == ROWS and bool((output != output[:1]).any()):
            return name
    raise UsageError("no layer of this generator depends on its latent: directions cannot be found in it.")
