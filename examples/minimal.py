"""One whole GAN in plain PyTorch: 8×8 digits, relativistic pairing, R1 + R2. Nothing of Gannet is imported.

It is the preset `quick` without labels, written out by hand, so that the engine can be held against it:

    python examples/minimal.py --steps 3000 --out digits.png
    gannet train quick data=digits task.labels=ignore stop.samples=96000

    L_D = sp(D(G(z)) − D(x)) + γ/2·|∇D(x)|² + γ/2·|∇D(G(z))|²      sp(u) = log(1 + eᵘ)
    L_G = sp(D(x) − D(G(z)))

Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline".
"""

import argparse
import copy
import math

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import pad, softplus

BATCH, LATENT = 32, 64
LAZY = 8  # the penalty is taken on every 8th step and counts 8 times
RATE, BETAS = 1e-3, (0.0, 0.99)
HALFLIFE, RAMP = 45_000, 0.1  # of the moving average, in samples; and as a share of the samples seen


def generator() -> nn.Module:
    """`z` `[B, 64]` → images `[B, 1, 8, 8]` in [−1, 1]."""
    network = nn.Sequential(
        nn.Linear(LATENT, 64 * 4 * 4, bias=False),
        nn.Unflatten(1, (64, 4, 4)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),  # [B, 1, 8, 8]
        nn.Tanh(),
    )
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
    return network


def discriminator() -> nn.Module:
    """Images `[B, 1, 8, 8]` → scores `[B]`, higher = more real. No batch norm: the penalty is one sample's own."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 1),
        nn.Flatten(0),
    )


def step(g: nn.Module, d: nn.Module, optimisers: dict, real: torch.Tensor, gamma: float) -> tuple[float, float]:
    """One turn of each player on one batch; `gamma` 0 leaves the penalty out. Returns both adversarial losses."""
    fake = g(torch.randn(len(real), LATENT))
    shown = torch.cat([real, fake.detach()]).requires_grad_(gamma > 0)
    scores = d(shown)
    d_loss = softplus(scores[len(real) :] - scores[: len(real)]).mean()
    total = d_loss
    if gamma:
        (slope,) = torch.autograd.grad(scores.sum(), shown, create_graph=True)
        # Reals and fakes in one go: γ times the mean over 2B rows is γ/2 times the two means added up.
        total = d_loss + gamma * slope.flatten(1).square().sum(1).mean()
    optimisers["d"].zero_grad()
    total.backward()
    optimisers["d"].step()

    # The same fakes serve the generator's turn, and so do the scores the reals had before the discriminator moved.
    g_loss = softplus(scores[: len(real)].detach() - d(fake)).mean()
    optimisers["g"].zero_grad()
    g_loss.backward()
    optimisers["g"].step()
    return d_loss.item(), g_loss.item()


@torch.no_grad()
def follow(average: nn.Module, live: nn.Module, seen: int) -> None:
    """θ̄ ← β·θ̄ + (1 − β)·θ with β = ½^(B / half-life), for parameters and batch-norm statistics."""
    beta = 0.5 ** (BATCH / min(HALFLIFE, RAMP * seen))
    for a, b in zip(average.state_dict().values(), live.state_dict().values(), strict=True):
        a.copy_(torch.lerp(b, a, beta) if a.is_floating_point() else b)


def train(steps: int, seed: int) -> nn.Module:
    """The averaged generator after `steps` steps."""
    torch.manual_seed(seed)
    data = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 8 - 1  # ink 0 … 16 → [−1, 1], [1797, 1, 8, 8]
    g, d = generator(), discriminator()
    optimisers = {name: torch.optim.Adam(m.parameters(), lr=RATE, betas=BETAS) for name, m in (("g", g), ("d", d))}
    average = copy.deepcopy(g)
    for number in range(steps):
        share = number / steps
        for optimiser in optimisers.values():
            optimiser.param_groups[0]["lr"] = RATE * (1 - 0.9 * max(0.0, 2 * share - 1))
        annealed = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, 2 * share)))
        real = data[torch.randint(len(data), (BATCH,))]
        losses = step(g, d, optimisers, real, LAZY * annealed if number % LAZY == 0 else 0.0)
        follow(average, g, (number + 1) * BATCH)
        if number % max(1, steps // 10) == 0 or number == steps - 1:
            print(f"{(number + 1) * BATCH:>8,} samples   D {losses[0]:.3f}   G {losses[1]:.3f}")
    return average.eval()


@torch.no_grad()
def save(g: nn.Module, path: str) -> None:
    """64 samples as an 8×8 grid with gaps, six times enlarged."""
    x = pad(g(torch.randn(64, LATENT)), (1, 1, 1, 1), value=-1)  # [64, 1, 10, 10]
    grid = x.view(8, 8, 10, 10).permute(0, 2, 1, 3).reshape(80, 80)  # [row, column, H, W] → [row, H, column, W]
    Image.fromarray(((grid + 1) * 127.5).round().numpy().astype(np.uint8)).resize((480, 480)).save(path)
    print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="digits.png")
    options = parser.parse_args()
    save(train(options.steps, options.seed), options.out)
