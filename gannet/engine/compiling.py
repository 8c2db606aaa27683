"""`compile: true`: networks run through `torch.compile` where that is checked to give what they give without it.

A compiled network cannot be differentiated twice, nor in forward mode, so whatever needs that is run inside `eagerly`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gannet.core.parts import Regularizer
from gannet.core.random import Draw, generator, installed
from gannet.engine.assembly import Game

TORCH = (2, 13)
"""The oldest PyTorch whose compiled networks refuse to be differentiated twice; older ones lose that gradient and say
nothing."""
BACKEND = "inductor"
GRAPHS = 32
"""Most graphs a network: one for each shape, and for each choice of what requires a gradient."""
CLOSE = {"fp64": 1e-9, "fp32": 1e-3, "bf16": 5e-2}
"""By precision, the largest difference from eager that is rounding, as a share of the norm."""

_EAGER: ContextVar[bool] = ContextVar("gannet_eager", default=False)


@contextlib.contextmanager
def eagerly(wanted: bool = True) -> Iterator[None]:
    """Run compiled networks as they were written inside the block, if `wanted`."""
    if not wanted or _EAGER.get():
        yield
        return
    token = _EAGER.set(True)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        _EAGER.reset(token)


def differentiate_twice(due: Mapping[str, Regularizer]) -> list[str]:
    """Names of the terms for which a discriminator must run eagerly: penalties on its gradient, unless they are
    estimated from values alone."""
    return [name for name, term in due.items() if term.per_sample and _estimator(term) != "finite-difference"]


def _estimator(term: Regularizer) -> str:
    return getattr(term, "estimator", "exact")


def compile_networks(game: Game, play: Callable[[Game], object]) -> list[str]:
    """Compile every network of `game` that can be, in place, and say of each what became of it, a line a network.

    `play` takes a few steps with a copy of the game; every way in which a network is called there (shapes, what
    requires a gradient, precision) is then checked: values, gradients and buffers with and without the compiler must
    agree. A network that fails, draws random numbers or cannot be compiled on this machine stays as it is. Weights,
    their names and copies of the networks are untouched.
    """
    if _version() < TORCH:
        wanted = ".".join(map(str, TORCH))
        return [f"compile: all networks run eagerly: it needs PyTorch {wanted}, and this is {torch.__version__}"]
    calls = _overheard(game, play)
    notes = []
    for role, module in game.networks.items():
        begun = time.monotonic()
        reason = _refusal(game, role) or _compiled(module, calls[role], CLOSE[game.experiment.precision])
        if reason:
            notes.append(f"compile: {role} runs eagerly: {reason}")
            continue
        line = f"compile: {role} compiled and checked in {time.monotonic() - begun:.1f} s"
        names = differentiate_twice(game.regularizers) if role in game.discriminators else []
        notes.append(
            line + (f"; eager in turns with {', '.join(names)}, which differentiate it twice" if names else "")
        )
    # What is first met later, such as another batch size, falls back with a warning instead of ending the run.
    torch._dynamo.config.suppress_errors = True
    return notes


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def _refusal(game: Game, role: str) -> str:
    """Why this network is not even tried, or nothing."""
    if role in game.discriminators:
        return "the opponent's moves are differentiated" if game.opponent.differentiates else ""
    names = [n for n, term in game.regularizers.items() if "latent" in term.needs]
    return f"{', '.join(names)} differentiates it twice" if names else ""


# ----------------------------------------------------------------------------------------- how a network is called


@dataclass(frozen=True, eq=False)
class Answer:
    """What comes out of a network, its buffers afterwards included, and the gradients of a random sum of it for every
    input and parameter that requires one."""

    values: list[Tensor]
    slopes: list[Tensor | None]


@dataclass(frozen=True, eq=False)
class Call:
    """One way in which a network is called in play. `free` says of every parameter whether it requires a gradient."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    free: tuple[bool, ...]
    grad: bool
    low: bool

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the compiler tells calls apart by."""
        seen = [
            (tuple(v.shape), v.stride(), v.dtype, v.requires_grad) if isinstance(v, Tensor) else repr(v)
            for v in (*self.args, *self.kwargs.values())
        ]
        return (*seen, *self.kwargs, self.free, self.grad, self.low)

    def again(self, module: nn.Module) -> Answer:
        """What `module` answers to it. Leaves weights, buffers and random state as they were."""
        parameters, buffers = list(module.parameters()), list(module.buffers())
        before = [b.clone() for b in buffers], [p.requires_grad for p in parameters]
        devices = [self._device] if self._device.type == "cuda" else []
        try:
            for parameter, free in zip(parameters, self.free, strict=True):
                parameter.requires_grad = free
            args, kwargs = [_fresh(v) for v in self.args], {k: _fresh(v) for k, v in self.kwargs.items()}
            leaves = [v for v in (*args, *kwargs.values(), *parameters) if isinstance(v, Tensor) and v.requires_grad]
            with torch.random.fork_rng(devices), torch.set_grad_enabled(self.grad), self._precision():
                found = list(_tensors(module(*args, **kwargs)))
            wanted = [t for t in found if t.requires_grad]
            shake = [torch.randn(t.shape, generator=generator("compile")).to(t) for t in wanted]
            slopes = torch.autograd.grad(wanted, leaves, shake, allow_unused=True) if wanted else [None] * len(leaves)
            return Answer([t.detach() for t in found] + [b.clone() for b in buffers], list(slopes))
        finally:
            with torch.no_grad():
                for buffer, value in zip(buffers, before[0], strict=True):
                    buffer.copy_(value)
            for parameter, free in zip(parameters, before[1], strict=True):
                parameter.requires_grad = free

    @property
    def _device(self) -> torch.device:
        return next(
            (v.device for v in (*self.args, *self.kwargs.values()) if isinstance(v, Tensor)), torch.device("cpu")
        )

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self._device.type, torch.bfloat16) if self.low else contextlib.nullcontext()


def _overheard(game: Game, play: Callable[[Game], object]) -> dict[str, list[Call]]:
    """Every kind of call of every network that play makes outside of `eagerly`."""
    task = copy.deepcopy(game.task)
    calls: dict[str, dict[tuple[Any, ...], Call]] = {role: {} for role in task.networks}
    for role, module in task.networks.items():

        def listen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], role: str = role) -> None:
            if _EAGER.get():
                return
            device = next((v.device.type for v in args if isinstance(v, Tensor)), "cpu")
            call = Call(
                tuple(_fresh(v) for v in args),
                {k: _fresh(v) for k, v in kwargs.items()},
                tuple(p.requires_grad for p in module.parameters()),
                torch.is_grad_enabled(),
                torch.is_autocast_enabled(device),
            )
            calls[role].setdefault(call.kind, call)

        module.register_forward_pre_hook(listen, with_kwargs=True)
    play(dataclasses.replace(game, task=task, regularizers=copy.deepcopy(game.regularizers)))
    return {role: list(found.values()) for role, found in calls.items()}


def _fresh(value: Any) -> Any:
    """A leaf like `value`, in its memory layout."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor inside what a network returned: tensors, verdicts, tuples and mappings of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif dataclasses.is_dataclass(value):
        yield from _tensors([getattr(value, f.name) for f in dataclasses.fields(value)])
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for part in value:
            yield from _tensors(part)


# ---------------------------------------------------------------------------------------------------- the compiler


class Spy(Draw):
    """The draw of one eager call, which remembers whether a layer asked it for numbers."""

    asked = False

    def for_rows(self, rows: int, *shape: int, kind: str = "normal", same: bool = False) -> Tensor:
        self.asked = True
        numbers: Tensor = getattr(self._like("spy", range(rows)), kind)(*shape)
        return numbers


def _compiled(module: nn.Module, calls: list[Call], close: float) -> str:
    """Compile `module` in place; if that cannot be, leave it alone and say why."""
    if not calls:
        return "nothing calls it in the first steps but what runs eagerly"
    spy = Spy(0, "compile", 0, range(1), calls[0]._device)
    with installed(spy), eagerly():
        expected = [call.again(module) for call in calls]
    if spy.asked:
        return "its layers draw random numbers (dropout, noise), which no compiled graph can"
    try:
        with warnings.catch_warnings(), torch._dynamo.config.patch(suppress_errors=False):
            warnings.simplefilter("ignore")  # of the compiler, about the code it reads
            # Fixed shapes are faster; limits apart, as networks of one class would use up each other's.
            module.compile(backend=BACKEND, dynamic=False, recompile_limit=GRAPHS, isolate_recompiles=True)
            worst = max(difference(call.again(module), e) for call, e in zip(calls, expected, strict=True))
    except Exception as error:  # whatever a compiler may raise is no reason to end a run
        module._compiled_call_impl = None
        return " ".join(str(error).split("\n\n")[0].split())[:300] or type(error).__name__
    if worst <= close:
        return ""
    module._compiled_call_impl = None
    return f"compiled it differs by {worst:.1g} of what it gives otherwise (at most {close:g} is rounding)"


def difference(one: Answer, other: Answer) -> float:
    """The larger of the differences in values and in gradients, each the norm of all together as a share of that of
    `other`; infinite where only one side has a gradient, or numbers are not finite."""
    return max(
        _away(one.values, other.values),
        _away([g for g in one.slopes if g is not None], [g for g in other.slopes if g is not None]),
    )


def _away(found: list[Tensor], wanted: list[Tensor]) -> float:
    if [a.shape for a in found] != [b.shape for b in wanted]:
        return math.inf
    away = math.hypot(*(float((a.double() - b.double()).norm()) for a, b in zip(found, wanted, strict=True)))
    size = math.hypot(*(float(b.double().norm()) for b in wanted))
    return away / size if math.isfinite(away) and size else math.inf if away else 0.0
