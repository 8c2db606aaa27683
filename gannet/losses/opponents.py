"""Opponents: which discriminator the generator's turn plays against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gannet.core.errors import UsageError
from gannet.core.parts import Opponent
from gannet.core.registry import OPPONENTS
from gannet.core.types import Verdict

Tensors = dict[str, Tensor]
Judge = Callable[..., Verdict]


@OPPONENTS.register("present")
class Present(Opponent):
    """The discriminator as it is now, as in Goodfellow et al. 2014."""

    differentiates = False

    def ahead(self, module: nn.Module, loss: Callable[[Judge], Tensor], optimiser: torch.optim.Optimizer) -> Judge:
        return module


@OPPONENTS.register("unrolled")
class Unrolled(Opponent):
    """The discriminator `steps` of its own steps ahead; the generator's gradient flows back through them.

    Metz et al. 2017, eq. 7 and 8: θ⁰ = θ, θᵏ⁺¹ = θᵏ − lr · step(∇ L_D(θᵏ)), and the generator pays L_G(θᴷ). step(g) is

    - sgd: g, the paper's equation;
    - adam: m̂/√(v̂ + eps), the moments going on from those of the Adam that trains the discriminator, as in the
      authors' code (github.com/poolio/unrolled_gan). From 0, which they start at where it is trained otherwise, the
      first step is a sign: its derivative is 0, and the generator learns next to nothing of what its fakes will bring
      about. `betas` and `lr` are not taken from it: give those it has. eps stands inside the root, whose derivative
      would be infinite at 0; so gradients below √eps move less than Adam would move them.

    L_D is the adversarial loss alone, without regularizers. Every weight takes the steps, those frozen in training too.
    The discriminator itself, its buffers included, stays as it is. Memory and time grow with `steps`.

    Raises `UsageError` for less than one step and for rates out of range.
    """

    def __init__(
        self,
        *,
        steps: int = 5,
        lr: float = 2e-4,
        optimiser: Literal["sgd", "adam"] = "adam",
        betas: tuple[float, float] = (0.5, 0.999),
        eps: float = 1e-16,
    ):
        if steps < 1:
            raise UsageError(f"steps={steps} is too few: 1 or more, usually 5 to 10. opponent=present looks 0 ahead.")
        for name, value in (("lr", lr), ("eps", eps)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name}={value:g} is out of range. Allowed: above 0, as in {name}=1e-4.")
        for beta in betas:
            if not 0 <= beta < 1:
                raise UsageError(f"betas={list(betas)} is out of range. Allowed: 0 up to but not including 1, twice.")
        self.steps = steps
        self.lr = lr
        self.optimiser = optimiser
        self.betas = betas
        self.eps = eps

    @torch.enable_grad()  # the unrolled steps differentiate, whoever asks
    def ahead(self, module: nn.Module, loss: Callable[[Judge], Tensor], optimiser: torch.optim.Optimizer) -> Judge:
        # The module's own do not require gradients in the generator's turn; these do, and share their memory.
        weights = {name: weight.detach().requires_grad_() for name, weight in module.named_parameters()}
        first, second, taken = _moments(module, optimiser)
        for step in range(1, self.steps + 1):
            slopes = _slopes(loss(_judging(module, weights)), weights)
            if self.optimiser == "adam":
                first = _mean(first, slopes, self.betas[0])
                second = _mean(second, {name: slope.square() for name, slope in slopes.items()}, self.betas[1])
                slopes = {name: self._scaled(first[name], second[name], taken[name] + step) for name in slopes}
            weights = {name: weight - self.lr * slopes[name] for name, weight in weights.items()}
        return _judging(module, weights)

    def _scaled(self, first: Tensor, second: Tensor, step: int) -> Tensor:
        """m̂/√(v̂ + eps), both moments corrected for their start at 0 so many steps ago."""
        mean, square = first / (1 - self.betas[0] ** step), second / (1 - self.betas[1] ** step)
        return mean / (square + self.eps).sqrt()


def _judging(module: nn.Module, weights: Tensors) -> Judge:
    """`module` with other weights. Its buffers are copied at every call, as batch norm's statistics move in one."""

    def judge(*args: Tensor | None) -> Verdict:
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        return functional_call(module, {**weights, **buffers}, args)

    return judge


def _moments(module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[Tensors, Tensors, dict[str, int]]:
    """Both moments of every weight and the steps they were taken over, all 0 where `optimiser` keeps none."""
    first, second, taken = {}, {}, {}
    for name, weight in module.named_parameters():
        state = optimiser.state.get(weight, {})
        kept = "exp_avg" in state
        first[name] = state["exp_avg"] if kept else torch.zeros_like(weight)
        second[name] = state["exp_avg_sq"] if kept else torch.zeros_like(weight)
        taken[name] = int(state["step"]) if kept else 0
    return first, second, taken


def _slopes(loss: Tensor, weights: Tensors) -> Tensors:
    """∇loss with its graph; 0 for weights that the loss does not reach, such as those of another head."""
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
    pairs = zip(weights.items(), found, strict=True)
    return {name: torch.zeros_like(weight) if slope is None else slope for (name, weight), slope in pairs}


def _mean(old: Tensors, new: Tensors, keep: float) -> Tensors:
    """The moving mean of which the part `keep` stays: keep · old + (1 − keep) · new."""
    return {name: keep * old[name] + (1 - keep) * value for name, value in new.items()}
