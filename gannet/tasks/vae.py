"""The variational autoencoder (Kingma & Welling 2014): a baseline that cannot drop modes, without a discriminator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.round import Round
from gannet.core.types import Batch, Comparison, DataSpec, Generated, Player, Role
from gannet.losses.reconstruction import gaussian_nll
from gannet.tasks.encoding import Encoding
from gannet.tasks.judged import Labels


@dataclass(frozen=True, kw_only=True)
class Encoded(Generated):
    """`x` is G(z) with z ~ q(z|x) = N(mean, exp(log_variance)), `[B, latent]` both."""

    mean: Tensor
    log_variance: Tensor


@TASKS.register("vae")
class VAE(Encoding):
    """A variational autoencoder: minimises reconstruction + beta·kl, a bound on −log p(x).

    Both are in nats, divided by the numbers of a sample:

    - reconstruction: −log N(x; G(z), sigma²), with z = mean + exp(½ log_variance)·n and n ~ N(0, I);
    - kl: KL(q(z|x) ‖ N(0, I)) = ½ Σ (mean² + exp(log_variance) − 1 − log_variance) (appendix B).

    The encoder gives mean and log variance, of the size `latent` of the generator's own; it sees no labels, the
    generator does. `sigma` is the standard deviation of a pixel, where pixels span 2: a smaller one makes sharper
    reconstructions, and codes further from N(0, I), from which samples are drawn. beta ≠ 1 is the β-VAE (Higgins et
    al. 2017). `measure` gives the ELBO, the bound on log p(x) with beta = 1, of held-out rows. Raises `UsageError` for
    values out of range and where the sizes of the latent differ.
    """

    answers = 2

    def __init__(
        self, data: DataSpec, *, latent: int = 64, sigma: float = 0.2, beta: float = 1.0, labels: Labels = "auto"
    ):
        super().__init__(data, latent, labels)
        if not 0 < sigma < math.inf:
            raise UsageError(f"task.sigma={sigma:g} is out of range. It is a standard deviation: above 0, usually 0.2.")
        if not 0 <= beta < math.inf:
            raise UsageError(f"task.beta={beta:g} is out of range. It is a weight: 0 or more, 1 for the bound itself.")
        self.sigma, self.beta = sigma, beta

    @property
    def roles(self) -> dict[str, Role]:
        return {name: role for name, role in super().roles.items() if name != "discriminator"}

    def players(self) -> dict[str, Player]:
        return {"generator": super().players()["generator"]}

    def generate(self, batch: Batch, draw: Draw) -> Encoded:
        mean, log_variance = self.encode(batch["x"]).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * self.noise(draw)
        x = self.networks["generator"](z, self.labels(batch))
        return Encoded(x=x, latent=z, mean=mean, log_variance=log_variance)

    def comparisons(self, batch: Batch, generated: Generated) -> list[Comparison]:
        return []

    def costs(self, batch: Batch, made: Encoded) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL, `[B]` both."""
        numbers = math.prod(self.data.shape)
        nll = gaussian_nll(batch["x"], made.x, made.x.new_tensor(2 * math.log(self.sigma)))
        kl = 0.5 * (made.mean.square() + made.log_variance.exp() - 1 - made.log_variance).sum(1)
        return nll / numbers, kl / numbers

    def terms(self, player: str, batch: Batch, made: Encoded, rounds: list[Round]) -> dict[str, Tensor]:  # type: ignore[override]
        reconstruction, kl = self.costs(batch, made)
        return {"reconstruction": reconstruction, "kl": self.beta * kl}

    @torch.no_grad()
    def measure(self, batch: Batch, draw: Draw) -> dict[str, Tensor]:
        reconstruction, kl = self.costs(batch, self.generate(batch, draw))
        return {"elbo": -(reconstruction + kl).mean()}
