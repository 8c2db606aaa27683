"""The other side of the comparisons: the DCGAN and the loop of the tutorials, as everybody copies them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

BATCH, LATENT = 64, 100


def networks(width: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The tutorial's generator and discriminator at 1×32×32, channels 4·width, 2·width, width, N(0, 0.02)."""
    w = width
    generator = nn.Sequential(
        nn.ConvTranspose2d(LATENT, 4 * w, 4, 1, 0, bias=False),
        nn.BatchNorm2d(4 * w),
        nn.ReLU(True),
        nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * w),
        nn.ReLU(True),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
        nn.BatchNorm2d(w),
        nn.ReLU(True),
        nn.ConvTranspose2d(w, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, w, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * w),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * w, 4 * w, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * w),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * w, 1, 4, 1, 0, bias=False),
        nn.Flatten(0),
    )
    for module in [*generator, *discriminator]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return generator, discriminator


class Tutorial:
    """The loop: separate real and fake passes, one set of fakes for both turns, BCE, Adam(2e-4, 0.5), no EMA.

    `images` `[N, 1, 32, 32]` in [−1, 1]. A step returns the two losses, which the tutorial prints.
    """

    def __init__(self, width: int, images: Tensor, seed: int = 0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.generator, self.discriminator = networks(width)
        self.images, self.draw = images, torch.Generator().manual_seed(seed)
        self.g = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(self) -> tuple[float, float]:
        real = self.images[torch.randint(len(self.images), (BATCH,), generator=self.draw)]
        ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)
        self.discriminator.zero_grad()
        on_real = binary_cross_entropy_with_logits(self.discriminator(real), ones)
        on_real.backward()
        fake = self.generator(torch.randn(BATCH, LATENT, 1, 1, generator=self.draw))
        on_fake = binary_cross_entropy_with_logits(self.discriminator(fake.detach()), zeros)
        on_fake.backward()
        self.d.step()
        self.generator.zero_grad()
        loss = binary_cross_entropy_with_logits(self.discriminator(fake), ones)
        loss.backward()
        self.g.step()
        return float(on_real.detach() + on_fake.detach()), float(loss.detach())


@torch.no_grad()
def samples_of(generator: nn.Module, n: int, seed: int) -> Tensor:
    """`[n, 1, 32, 32]` from seeded latents, batch norm in evaluation mode."""
    z = torch.randn(n, LATENT, 1, 1, generator=torch.Generator().manual_seed(seed))
    generator.eval()
    return torch.cat([generator(rows) for rows in z.split(250)])
