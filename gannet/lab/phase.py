"""The phase plot of the Dirac-GAN: where (θ, ψ) stand, and how the game moves near its rest (0, 0)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gannet.core import registry
from gannet.core.schedule import Schedule
from gannet.engine.assembly import Game
from gannet.engine.trainer import Trainer
from gannet.networks.dirac import DiracDiscriminator, DiracGenerator


def place(game: Game) -> dict[str, float]:
    """θ and ψ of the very networks that are trained; nothing for another game."""
    networks = dict(game.networks.items())
    g, d = networks.get("generator"), networks.get("discriminator")
    if not (isinstance(g, DiracGenerator) and isinstance(d, DiracDiscriminator)):
        return {}
    return {"theta": g.theta.item(), "psi": d.psi.item()}


def eigenvalues(trainer: Trainer) -> list[tuple[float, float]]:
    """The two eigenvalues (real, imaginary part) of the Jacobian at (0, 0) of the gradient field
    v(θ, ψ) = (−∂L_G/∂θ, −∂L_D/∂ψ); Mescheder et al. 2018, section 2.

    L_D = d(0, ψθ) + ½γψ² and L_G = g(0, ψθ) with the objective in force; γ is the sum of the weights of r1 and r2, as
    |∇D|² is ψ² at every x. Real parts below 0: the game comes to rest; 0: it circles; above: it flees. Empty where
    something else acts on the game that this does not know.
    """
    experiment, clock = trainer.experiment, trainer.clock
    if set(experiment.regularizers) - {"r1", "r2"} or experiment.augment or experiment.opponent.name != "present":
        return []
    gamma = 0.0
    for spec in experiment.regularizers.values():
        weight: Schedule = registry.REGULARIZERS.resolve(spec)["weight"]
        gamma += weight(clock)
    objective = trainer.game.objective.at(clock)
    zero = torch.zeros(1, dtype=torch.float64)

    def field(place: Tensor) -> Tensor:
        theta, psi = place[:1], place[1:]
        judged = psi * theta
        on_d = objective.discriminator(zero, judged).sum() + 0.5 * gamma * psi.square().sum()
        on_g = objective.generator(zero, judged).sum()
        pulls: Any = [torch.autograd.grad(on, at, create_graph=True)[0] for on, at in ((on_g, theta), (on_d, psi))]
        return -torch.cat(pulls)

    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(field, torch.zeros(2, dtype=torch.float64))
    found = torch.linalg.eigvals(jacobian)
    return [(float(v.real), float(v.imag)) for v in sorted(found, key=lambda v: float(v.imag))]
