"""Maxout units: what they choose, what their networks give, and that a penalty may differentiate them twice."""

import pytest
import torch

from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import DataSpec, Field
from gannet.networks.mlp import PIECES, Maxout

PLANE = DataSpec({"x": Field((2,), kind="points", range=None)})


def test_a_unit_is_the_largest_of_its_own_numbers():
    h = torch.arange(2.0 * 3 * PIECES).view(2, 3 * PIECES)
    h[0, 1] = 100
    expected = [[100.0, 2 * PIECES - 1, 3 * PIECES - 1], [(3 + unit) * PIECES + PIECES - 1 for unit in range(3)]]
    assert Maxout()(h).tolist() == expected


def test_a_layer_is_the_largest_of_five_linear_maps():
    torch.manual_seed(0)
    made = GENERATORS.build("mlp(width=4, layers=1, latent=3, activation=maxout)", PLANE).double()
    z, layer = torch.randn(6, 3, dtype=torch.float64), made.layers[0].linear
    assert layer.weight.shape == (4 * PIECES, 3)
    maps = [z @ layer.weight[piece::PIECES].T + layer.bias[piece::PIECES] for piece in range(PIECES)]
    torch.testing.assert_close(made(z), made.output(torch.stack(maps).max(0).values))


@pytest.mark.parametrize("options", ["", ", norm=batch", ", norm=layer", ", spectral=true"])
def test_features_are_as_wide_as_asked_for(options):
    judge = DISCRIMINATORS.build(f"mlp(width=6, layers=3, activation=maxout{options})", PLANE)
    verdict = judge(torch.randn(8, 2))
    assert [tuple(f.shape) for f in verdict.features] == [(8, 6)] * 3
    assert verdict.score[0].shape == (8,)


def test_it_is_differentiated_twice():
    torch.manual_seed(0)
    judge = DISCRIMINATORS.build("mlp(width=3, layers=2, activation=maxout)", PLANE).double()
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: judge(x).score[0], x)

    def penalty() -> torch.Tensor:
        return torch.autograd.grad(judge(x).score[0].sum(), x, create_graph=True)[0].square().sum()

    weight = judge.layers[0].linear.weight
    (slope,) = torch.autograd.grad(penalty(), weight)
    step = 1e-6 * torch.randn_like(weight)
    with torch.no_grad():
        weight += step
    above = float(penalty().detach())
    with torch.no_grad():
        weight -= 2 * step
    assert (above - float(penalty().detach())) / 2 == pytest.approx(float((slope * step).sum()), rel=1e-5)
