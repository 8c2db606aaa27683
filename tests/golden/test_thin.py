"""The fast convolutions of few channels against the general ones: values, gradients, gradients of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from gannet.networks import layers
from gannet.networks.thin import THIN, ThinDown, ThinUp

SIZES = [(1, 5, (8, 6)), (3, 4, (4, 10)), (2, 1, (2, 2))]


def pair(kind: type, channels: int, features: int) -> tuple[nn.Module, nn.Module]:
    """The fast layer, and the general one with its weights."""
    sides = (channels, features) if kind is ThinDown else (features, channels)
    plain = nn.Conv2d if kind is ThinDown else nn.ConvTranspose2d
    thin, general = kind(*sides).double(), plain(*sides, 4, stride=2, padding=1).double()
    general.load_state_dict(thin.state_dict())
    return thin, general


def image(kind: type, channels: int, features: int, size: tuple[int, int]) -> torch.Tensor:
    shape = (channels, *size) if kind is ThinDown else (features, size[0] // 2, size[1] // 2)
    return torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("kind", [ThinDown, ThinUp])
@pytest.mark.parametrize(("channels", "features", "size"), SIZES)
def test_equals_the_general_layer_with_its_gradients(kind, channels, features, size):
    thin, general = pair(kind, channels, features)
    x = image(kind, channels, features, size)
    fast, slow = thin(x), general(x)
    assert torch.allclose(fast, slow, rtol=1e-12, atol=1e-13)
    found = torch.autograd.grad(fast.pow(3).sum(), [x, *thin.parameters()])
    wanted = torch.autograd.grad(slow.pow(3).sum(), [x, *general.parameters()])
    for name, a, b in zip(("x", "weight", "bias"), found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("kind", [ThinDown, ThinUp])
def test_a_gradient_penalty_reaches_the_weights(kind):
    channels, features, size = SIZES[0]
    gradients = []
    for layer in pair(kind, channels, features):
        x = image(kind, channels, features, size)
        (inner,) = torch.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)
        gradients.append(torch.autograd.grad(inner.square().sum(), [layer.weight, layer.bias]))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-10)
        assert b.abs().max() > 0


def test_stands_where_an_image_meets_features_and_nowhere_else():
    kinds = [
        (ThinDown, (THIN, 8, 4, "down")),
        (nn.Conv2d, (THIN + 1, 8, 4, "down")),
        (nn.Conv2d, (THIN, 8, 3, "down")),
        (ThinUp, (8, THIN, 4, "up")),
        (nn.ConvTranspose2d, (8, THIN + 1, 4, "up")),
        (nn.Conv2d, (8, THIN, 4, "same")),
    ]
    for kind, arguments in kinds:
        assert type(layers.resampling_conv(*arguments)) is kind, arguments


@pytest.mark.parametrize("kind", [ThinDown, ThinUp])
def test_forward_mode_is_the_general_layers_own(kind):
    channels, features, size = SIZES[0]
    slopes = []
    for layer in pair(kind, channels, features):
        x = image(kind, channels, features, size)
        with forward_ad.dual_level():
            slopes.append(forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x)))).tangent)
    assert torch.allclose(*slopes)
    assert slopes[0].abs().max() > 0


def test_follows_autocast_as_the_general_layer_does():
    thin, x = ThinUp(5, 1), torch.zeros(1, 5, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert thin(x).dtype == torch.bfloat16


def test_a_grid_flattens_back_to_the_vector_it_came_from():
    vector = torch.arange(24.0).view(1, 24)
    grid = layers.Grid(2, 3, 4)(vector)
    assert grid.shape == (1, 2, 3, 4)
    assert grid.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layers.flat(grid), vector)
