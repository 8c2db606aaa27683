"""Small games whose losses can be worked out by hand, in fp64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gannet.core.random import Draw
from gannet.core.round import Round
from gannet.core.types import Clock, Comparison, Generated, Inputs, Verdict


class Linear(nn.Module):
    """D(x) = w · x, the sum over every axis of a sample: ∇D = w at every point."""

    def __init__(self, w: Tensor):
        super().__init__()
        self.w = nn.Parameter(w.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.w).flatten(1).sum(1)


class Quadratic(nn.Module):
    """D(x) = ½ a |x|²: ∇D = a·x, which differs from sample to sample."""

    def __init__(self, a: float = 1.0):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.a * x.flatten(1).square().sum(1)


class Play:
    """Makes Rounds the way the engine does, and counts what was judged besides the two sides."""

    def __init__(self):
        self.judged: list[tuple[int, str]] = []

    def __call__(
        self,
        module: nn.Module,
        real: Tensor,
        fake: Tensor,
        *,
        needs: frozenset[str] = frozenset(),
        y: Tensor | None = None,
        generated: Generated | None = None,
        verdict: Callable[..., Verdict] | None = None,
        seed: int = 0,
    ) -> Round:
        def judge(inputs: Inputs, side: str = "real") -> Verdict:
            self.judged.append((len(inputs), side))
            return tell(inputs)

        def tell(inputs: Inputs) -> Verdict:
            if verdict is not None:
                return verdict(inputs)
            return Verdict((module(inputs.x),))

        sides = {}
        for name, x in (("real", real), ("fake", fake)):
            sides[name] = Inputs(x.detach().clone().requires_grad_() if f"gradient:{name}" in needs else x, y)
        verdicts = {name: tell(inputs) for name, inputs in sides.items()}
        draw = Draw(seed, "test", 0, range(len(real)), dtype=torch.float64)
        comparison = Comparison("discriminator", sides["real"], sides["fake"])
        return Round(
            comparison, sides["real"], sides["fake"], verdicts, judge, module, draw, Clock(), "player", generated
        )


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def linear() -> type[Linear]:
    return Linear


@pytest.fixture
def quadratic() -> type[Quadratic]:
    return Quadratic


@pytest.fixture
def fp64():
    """Closed forms deserve sixteen digits: tensors are fp64 unless a test says otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
