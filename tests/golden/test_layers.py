"""Closed forms of the layers: spectral norm against the singular values, scales, resampling, dropout, first weights."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.random import Draw, installed
from gannet.core.types import DataSpec, Field
from gannet.networks.initialise import initialise, scaled
from gannet.networks.layers import (
    Bounded,
    Dropout,
    Head,
    SpectralNorm,
    downsample,
    equalized_rate,
    fans,
    labelled,
    spectral_norm,
    stored,
    upsample,
)
from gannet.networks.residual import Block, ResidualDiscriminator
from gannet.networks.unet import NormalisedBlock

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), lambda w: w),
    "conv": (lambda: nn.Conv2d(3, 6, 3), lambda w: w.flatten(1)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 6, 4), lambda w: w.transpose(0, 1).flatten(1)),
    "embedding": (lambda: nn.Embedding(4, 9), lambda w: w),
}


def normalised(kind: str) -> tuple[nn.Module, SpectralNorm]:
    torch.manual_seed(0)
    layer = spectral_norm(LAYERS[kind][0]().double())
    return layer, layer.parametrizations.weight[0]


# --------------------------------------------------------------------------------------------- spectral norm


@pytest.mark.parametrize("kind", LAYERS)
def test_sigma_is_the_largest_singular_value(kind):
    layer, norm = normalised(kind)
    matrix = LAYERS[kind][1](stored(layer, "weight").detach())
    largest = torch.linalg.svdvals(matrix)[0]
    early = (norm.u @ matrix @ norm.v).item()
    assert 0.9 * largest < early <= largest * (1 + 1e-9), "fifteen iterations at construction are already close"
    for _ in range(500):
        norm.advance()
    assert_close(norm.u @ matrix @ norm.v, largest, rtol=1e-8, atol=0)
    assert_close(stored(layer, "weight") / largest, layer.weight, rtol=1e-8, atol=1e-10)
    assert_close(torch.linalg.svdvals(LAYERS[kind][1](layer.weight))[0].item(), 1.0, rtol=1e-8, atol=0)


def test_only_advance_moves_the_vectors():
    layer, norm = normalised("linear")
    u, v = norm.u.clone(), norm.v.clone()
    x = torch.randn(3, 7, dtype=torch.float64)
    for _ in range(5):
        layer(x).sum().backward()
    layer.eval()(x)
    assert_close((norm.u, norm.v), (u, v), rtol=0, atol=0)
    layer.train()
    with torch.no_grad():
        stored(layer, "weight").copy_(torch.randn(5, 7, dtype=torch.float64))
    norm.advance()
    assert (norm.u - u).abs().max() > 1e-3
    assert_close(norm.u.norm().item(), 1.0)
    assert_close(norm.v.norm().item(), 1.0)


def test_the_gradient_flows_through_sigma():
    layer, norm = normalised("linear")
    raw = stored(layer, "weight")
    upstream = torch.randn(5, 7, dtype=torch.float64)
    (layer.weight * upstream).sum().backward()
    sigma = norm.u @ raw.detach() @ norm.v
    # d/dW ⟨G, W/σ⟩ = G/σ − ⟨G, W⟩ / σ² · u vᵀ
    expected = upstream / sigma - (upstream * raw.detach()).sum() / sigma**2 * torch.outer(norm.u, norm.v)
    assert_close(raw.grad, expected)


def test_a_graph_survives_an_advance():
    layer, norm = normalised("linear")
    loss = layer(torch.ones(1, 7, dtype=torch.float64)).square().sum()
    (expected,) = torch.autograd.grad(loss, stored(layer, "weight"), retain_graph=True)
    norm.advance()
    assert_close(torch.autograd.grad(loss, stored(layer, "weight"))[0], expected, rtol=0, atol=0)


def test_a_copy_advances_on_its_own_weight():
    net = nn.Sequential(spectral_norm(nn.Linear(4, 4)))
    twin = copy.deepcopy(net)
    with torch.no_grad():
        stored(twin[0], "weight").copy_(torch.diag(torch.tensor([1.0, 9.0, 1.0, 1.0])))
    before = net[0].parametrizations.weight[0].u.clone()
    for _ in range(20):
        twin[0].parametrizations.weight[0].advance()
    assert_close(twin[0].parametrizations.weight[0].u.abs(), torch.tensor([0.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-5)
    assert_close(net[0].parametrizations.weight[0].u, before, rtol=0, atol=0)
    assert list(net.state_dict()) == list(twin.state_dict())
    assert sum(1 for _ in net.modules()) == 5, "the layer must not become a child of its own parametrisation"


# -------------------------------------------------------------------------------------------- equalised rate


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_equalised_rate_scales_where_the_weight_is_used(multiplier):
    torch.manual_seed(0)
    layer = equalized_rate(nn.Linear(400, 300), gain=1.5, multiplier=multiplier)
    raw = stored(layer, "weight")
    assert_close(raw.std().item(), 1 / multiplier, rtol=0.02, atol=0)
    assert_close(layer.weight, raw * multiplier * 1.5 / math.sqrt(400))
    assert_close(layer.weight.std().item(), 1.5 / 20, rtol=0.02, atol=0)
    layer(torch.ones(1, 400)).sum().backward()
    assert_close(raw.grad, torch.full_like(raw, multiplier * 1.5 / 20))
    assert_close(stored(layer, "bias").grad, torch.full((300,), multiplier))


# ------------------------------------------------------------------------------------------------ resampling


@pytest.mark.parametrize("resample", [upsample, downsample])
def test_resampling_keeps_constants(resample):
    x = torch.full((2, 3, 6, 10), 1.7, dtype=torch.float64)
    y = resample(x)
    assert_close(y, torch.full_like(y, 1.7))


def test_resampling_sizes_and_ramps():
    ramp = torch.arange(8, dtype=torch.float64).expand(1, 1, 8, 8)
    up, down = upsample(ramp), downsample(ramp)
    assert up.shape == (1, 1, 16, 16)
    assert down.shape == (1, 1, 4, 4)
    # Pixel i of the coarse grid covers pixels 2i and 2i + 1 of the fine one.
    assert_close(up[0, 0, 0, 1:-1], torch.arange(16, dtype=torch.float64)[1:-1] / 2 - 0.25)
    assert_close(down[0, 0, 0, 1:-1], torch.tensor([2.5, 4.5], dtype=torch.float64))


def test_resampling_kernels():
    point = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    point[..., 4, 4] = 1
    tent = torch.tensor([1, 3, 3, 1], dtype=torch.float64)
    assert_close(upsample(point)[0, 0, 7:11, 7:11], torch.outer(tent, tent) / 16)
    # Fine pixel 4 is the near half of coarse pixel 2 and the far neighbour of coarse pixel 1.
    assert_close(downsample(point)[0, 0, 1:3, 1:3], torch.outer(tent[:2], tent[:2]) / 64)
    assert_close(downsample(point).sum().item(), 0.25)


@pytest.mark.parametrize("resample", [upsample, downsample])
def test_resampling_is_differentiable_twice(resample):
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: resample(t).pow(3), x)


# --------------------------------------------------------------------------------------------------- dropout


def test_dropout_belongs_to_the_sample_not_to_its_place():
    layer, x = Dropout(0.3), torch.ones(64, 5, 4, 4)

    def run(rows: list[int]) -> torch.Tensor:
        with installed(Draw(7, "dropout", 3, rows)):
            return layer(x[rows])

    whole = run(list(range(64)))
    assert_close(torch.cat([run(list(range(20))), run(list(range(20, 64)))]), whole, rtol=0, atol=0)
    assert_close(run([40, 3, 17]), whole[[40, 3, 17]], rtol=0, atol=0)
    kept = whole[whole != 0]
    assert_close(kept, torch.full_like(kept, 1 / 0.7))
    assert_close(len(kept) / whole.numel(), 0.7, rtol=0.03, atol=0)


def test_dropout_is_the_identity_in_evaluation_and_asks_for_a_draw_in_training():
    layer, x = Dropout(0.5), torch.randn(3, 4)
    with pytest.raises(RuntimeError, match="no draw"):
        layer(x)
    assert layer.eval()(x) is x


# --------------------------------------------------------------------------------------- heads and conditions


def test_projection_head_adds_the_class_direction():
    torch.manual_seed(0)
    head, h, y = Head(6, 3), torch.randn(4, 6), torch.tensor([0, 2, 1, 2])
    w, b, e = head.linear.weight[0], head.linear.bias[0], head.embedding.weight
    expected = torch.stack([h[i] @ (w + e[y[i]]) + b for i in range(4)])
    assert_close(head(h, y).score[0], expected)
    assert_close(Head(6, 0)(h, None).score[0].shape, torch.Size([4]))


def test_class_directions_start_at_the_scale_of_a_linear_layer():
    torch.manual_seed(0)
    table = Head(400, 50).embedding.weight
    assert_close((table.min().item(), table.max().item()), (-1 / 20, 1 / 20), rtol=0.01, atol=0)
    assert abs(table.mean().item()) < 1e-3


def test_labels_are_one_hot_beside_the_latent():
    z = torch.randn(2, 3)
    assert_close(labelled(z, torch.tensor([1, 0]), 2), torch.cat([z, torch.tensor([[0.0, 1.0], [1.0, 0.0]])], 1))
    assert labelled(z, None, 0) is z


def test_bounded_reaches_both_ends():
    ends = Bounded(0.0, 255.0)(torch.tensor([-50.0, 0.0, 50.0]))
    assert_close(ends, torch.tensor([0.0, 127.5, 255.0]))


# ------------------------------------------------------------------------------------------------ first weights


def drawn(how: str, layer: nn.Module, slope: float = 0.0, seed: int = 0) -> nn.Module:
    return initialise(layer, how, slope, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("how", "std"),
    [("normal", 0.02), ("xavier", math.sqrt(2 / (64 * 9 + 32 * 9))), ("he", math.sqrt(2 / (1.25 * 64 * 9)))],
)
def test_first_weights_of_a_convolution(how, std):
    layer = drawn(how, nn.Conv2d(64, 32, 3), slope=0.5)
    assert_close(layer.weight.std().item(), std, rtol=0.03, atol=0)
    assert abs(layer.weight.mean().item()) < 0.03 * std
    assert not layer.bias.any()


def test_fans_count_the_taps_that_meet():
    assert fans(nn.Linear(5, 7)) == (5, 7)
    assert fans(nn.Conv2d(4, 6, 4, stride=2)) == (64, 24)
    assert fans(nn.Conv2d(4, 8, 3, groups=2)) == (18, 36)
    assert fans(nn.ConvTranspose2d(4, 6, 4, stride=2)) == (16, 96)


RECTIFIED = {
    "linear": lambda: nn.Linear(64, 64),
    "conv": lambda: nn.Conv2d(32, 64, 3),
    "transposed": lambda: nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
}


@pytest.mark.parametrize("how", ["he", "equalised"])
@pytest.mark.parametrize("kind", RECTIFIED)
def test_he_keeps_the_variance_of_rectified_inputs(kind, how):
    torch.manual_seed(0)
    layer = drawn(how, RECTIFIED[kind]())
    shape = (64, 64) if isinstance(layer, nn.Linear) else (8, layer.in_channels, 16, 16)
    x = torch.randn(shape).relu()
    y = layer(x)[..., 2:-2, 2:-2] if x.dim() == 4 else layer(x)
    assert_close(y.square().mean().item(), 1.0, rtol=0.15, atol=0)


def test_orthogonal_rows():
    layer = drawn("orthogonal", nn.Conv2d(8, 6, 3))
    matrix = layer.weight.flatten(1)
    assert_close(matrix @ matrix.T, torch.eye(6), rtol=0, atol=1e-5)


def test_normalisations_start_near_one_with_normal():
    layer = drawn("normal", nn.Sequential(nn.BatchNorm2d(2000)))[0]
    assert_close(layer.weight.mean().item(), 1.0, rtol=0.002, atol=0)
    assert_close(layer.weight.std().item(), 0.02, rtol=0.1, atol=0)
    assert not layer.bias.any()


@pytest.mark.parametrize("how", ["normal", "xavier", "he", "orthogonal"])
def test_the_generator_decides_and_marked_layers_keep_their_scale(how):
    first, again, other = (drawn(how, nn.Linear(6, 6), seed=s).weight for s in (1, 1, 2))
    assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().max() > 1e-4
    assert_close(drawn(how, scaled(nn.Linear(6, 6), 0.5), seed=1).weight, first / 2)
    assert not drawn(how, scaled(nn.Linear(6, 6), 0.0)).weight.any()


def test_default_leaves_the_weights_alone():
    layer = nn.Linear(3, 3)
    before = layer.weight.clone()
    assert_close(drawn("default", layer).weight, before, rtol=0, atol=0)


def test_translator_blocks_add_to_their_input():
    torch.manual_seed(0)
    block, x = NormalisedBlock(4, "instance"), torch.randn(2, 4, 5, 5)
    nn.init.zeros_(block.norm.weight)
    nn.init.constant_(block.norm.bias, 0.5)
    assert_close(block(x), x + 0.5)


def test_residual_blocks_start_as_the_identity_at_fixup_scale():
    torch.manual_seed(0)
    net = ResidualDiscriminator(DataSpec({"x": Field((1, 28, 28))}), width=32, blocks=2)
    blocks = [m for m in net.modules() if isinstance(m, Block)]
    assert len(blocks) == 6
    x = torch.randn(2, 32, 4, 4)
    assert_close(blocks[0](x), x, rtol=0, atol=0)
    for block in blocks:
        he = math.sqrt(2 / (1.04 * fans(block.mix)[0]))
        assert_close(block.mix.weight.std().item(), he * 6**-0.25, rtol=0.05, atol=0)
        assert not block.project.weight.any()
        assert block.project.bias is None
