"""The resnet pair by hand: blocks, conditional norms, attention, chunks of the latent, and the papers' sizes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import Advancing, couples_batch
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import DataSpec, Field
from gannet.networks.attention import SelfAttention
from gannet.networks.layers import SpectralNorm, stored, weighted
from gannet.networks.resnet import (
    ConditionalNorm,
    DiscriminatorBlock,
    GeneratorBlock,
    ResNetDiscriminator,
    ResNetGenerator,
)

pytestmark = pytest.mark.usefixtures("fp64")

EMPTY = torch.empty(1, 0, dtype=torch.float64)
CENTRE = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def images(channels: int, height: int, width: int, classes: int = 0) -> DataSpec:
    return DataSpec({"x": Field((channels, height, width))}, classes)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(block: nn.Module, conv1: float, bias1: float) -> nn.Module:
    """conv1 = conv1 · h + bias1 at each place, conv2 = the sum of 3×3 places + ½, skip = 3 h − ¼."""
    with torch.no_grad():
        block.conv1.weight.copy_(conv1 * CENTRE)
        block.conv1.bias.fill_(bias1)
        block.conv2.weight.fill_(1.0)
        block.conv2.bias.fill_(0.5)
        if isinstance(block.skip, nn.Conv2d):
            block.skip.weight.fill_(3.0)
            block.skip.bias.fill_(-0.25)
    return block


def trained(net: nn.Module, x: Tensor) -> list[str]:
    """Names of the parameters that no gradient of `x` reaches."""
    (x * noise(*x.shape, seed=9)).sum().backward()
    return [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]


# ----------------------------------------------------------------------------------------------------- blocks


H = torch.tensor([[[[1.0, -2.0, 0.0, 2.0], [3.0, -4.0, -1.0, 1.0]]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("down", "first", "expected"),
    [
        # relu(h) = 1 0 0 2 | 3 0 0 1; conv1 −1 1 1 −3 | −5 1 1 −1; relu 0 1 1 0 twice; conv2 2½ 4½ 4½ 2½ twice, of
        # mean 3½ and 3½; skip 3 · (−½) − ¼ and 3 · ½ − ¼.
        (True, False, [[1.75, 4.75]]),
        # conv1 −1 5 1 −3 | −5 9 3 −1; relu 0 5 1 0 | 0 9 3 0; conv2 14½ 18½ 18½ 4½ twice, of mean 16½ and 11½.
        (True, True, [[14.75, 12.75]]),
        # The skip of an unchanged grid and width is h itself, its negative places too.
        (False, False, [[3.5, 2.5, 4.5, 4.5], [5.5, 0.5, 3.5, 3.5]]),
    ],
)
def test_a_discriminator_block(down, first, expected):
    block = by_hand(DiscriminatorBlock(1, 1, down, first), -2.0, 1.0)
    h = H.clone()
    assert_close(block(h), torch.tensor([[expected]]))
    assert_close(h, H, rtol=0, atol=0)


def test_a_generator_block():
    # relu(h) = 1 0, doubled 1 1 0 0 in two rows; conv1 1 1 −1 −1; relu 1 1 0 0; conv2 4 4 2 0 and ½;
    # skip 2¾ and −6¼, doubled.
    block = by_hand(GeneratorBlock(1, 1, True, "none", 0, 0), 2.0, -1.0)
    row = [7.25, 7.25, -3.75, -5.75]
    assert_close(block(torch.tensor([[[[1.0, -2.0]]]]), None, EMPTY), torch.tensor([[[row, row]]]))
    kept = by_hand(GeneratorBlock(1, 1, False, "none", 0, 0), 2.0, -1.0)
    assert_close(kept(torch.tensor([[[[1.0, -2.0]]]]), None, EMPTY), torch.tensor([[[[2.5, -0.5]]]]))


def test_a_generator_block_normalises_before_each_relu():
    torch.manual_seed(0)
    block = GeneratorBlock(3, 2, True, "batch", 4, 5)
    h, y, v = noise(4, 3, 2, 2), torch.tensor([0, 3, 1, 3]), noise(4, 5, seed=1)
    twice = nn.Upsample(scale_factor=2)
    inner = block.conv1(twice(block.norm1(h, y, v).relu()))
    inner = block.conv2(block.norm2(inner, y, v).relu())
    assert_close(block(h, y, v), block.skip(twice(h)) + inner)


def test_no_bias_stands_where_batch_norm_would_remove_it():
    """A constant added to a channel anywhere between the first grid and the last norm changes nothing."""
    torch.manual_seed(0)
    net = ResNetGenerator(images(1, 16, 16), width=4, latent=3)
    z, constant = noise(5, 3), noise(4, seed=1)[None, :, None, None]
    assert [n for n, _ in net.named_parameters() if n.endswith("bias") and "norm" not in n] == [
        "stem.0.bias",
        "output.bias",
    ]
    before = net(z)
    net.blocks[0].skip.register_forward_hook(lambda m, i, h: h + torch.cat([constant, constant], 1))
    net.blocks[1].conv2.register_forward_hook(lambda m, i, h: h + constant)
    assert_close(net(z), before)


# ------------------------------------------------------------------------------------------ conditional norms


def test_the_norm_of_a_class_is_batch_norm_with_its_gain_and_bias():
    torch.manual_seed(0)
    layer = ConditionalNorm("batch", 3, classes=4)
    h, y = noise(6, 3, 2, 5) * 3 + 1, torch.tensor([2, 0, 2, 3, 1, 0])
    made = layer(h, y, torch.empty(6, 0))
    for k in range(4):
        plain = nn.BatchNorm2d(3)
        with torch.no_grad():
            plain.weight.copy_(1 + layer.gain.table.weight[k])
            plain.bias.copy_(layer.bias.table.weight[k])
        assert_close(made[y == k], plain(h)[y == k])
    mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
    gain, bias = (t.table.weight[y][:, :, None, None] for t in (layer.gain, layer.bias))
    assert_close(made, (1 + gain) * (h - mean) / (variance + 1e-5).sqrt() + bias)


def test_tables_and_vectors_add_up():
    torch.manual_seed(0)
    both, table, vector = (ConditionalNorm("batch", 3, *sizes) for sizes in ((4, 5), (4, 0), (0, 5)))
    h, y, v = noise(6, 3, 2, 2), torch.tensor([2, 0, 2, 3, 1, 0]), noise(6, 5, seed=1)
    for name in ("gain", "bias"):
        getattr(table, name).table.load_state_dict(getattr(both, name).table.state_dict())
        getattr(vector, name).matrix.load_state_dict(getattr(both, name).matrix.state_dict())
    plain = nn.BatchNorm2d(3)(h)
    assert_close(both(h, y, v) - plain, (table(h, y, v) - plain) + (vector(h, y, v) - plain))
    rows = v @ both.gain.matrix.weight.T
    shift = v @ both.bias.matrix.weight.T
    assert_close(vector(h, None, v), (1 + rows)[:, :, None, None] * plain + shift[:, :, None, None])
    assert both.gain.matrix.bias is None


def test_without_a_condition_it_is_plain_batch_norm_or_nothing():
    h = noise(4, 3, 2, 2)
    assert_close(ConditionalNorm("batch", 3)(h, None, EMPTY), nn.BatchNorm2d(3)(h))
    assert ConditionalNorm("none", 3)(h, None, EMPTY) is h
    net = ResNetGenerator(images(1, 8, 8, 10), width=4)
    assert isinstance(net.norm.norm, nn.BatchNorm2d)
    assert net.norm.norm.affine, "the last norm knows no class"


OPTIONS = [
    pytest.param(*choice, id="-".join(map(str, choice)))
    for choice in itertools.product((0, 3), ("batch", "none"), (0, 5), (False, True), (False, True))
    if not (choice[1] == "none" and choice[3])
]


@pytest.mark.parametrize(("classes", "norm", "shared", "hierarchical", "spectral"), OPTIONS)
def test_the_generator_trains_with_every_combination(classes, norm, shared, hierarchical, spectral):
    torch.manual_seed(0)
    net = ResNetGenerator(
        images(2, 16, 16, classes),
        width=4,
        latent=6,
        norm=norm,
        shared=shared,
        hierarchical=hierarchical,
        spectral=spectral,
        attention=8,
    )
    with torch.no_grad():
        net.attention.gamma.fill_(0.7)
    z, y = noise(4, 6), torch.tensor([0, 1, 2, 0]) if classes else None
    x = net(z, y)
    assert x.shape == (4, 2, 16, 16)
    assert trained(net, x) == []
    net.eval()
    if y is not None:
        assert (net(z, y) - net(z, (y + 1) % 3)).flatten(1).abs().amax(1).min() > 1e-3
        with pytest.raises(UsageError, match="conditional on 3 classes: pass y"):
            net(z)
    for i in range(6):
        other = z.clone()
        other[:, i] += 1
        assert (net(z, y) - net(other, y)).flatten(1).abs().amax(1).min() > 1e-4, f"number {i} of the latent"


@pytest.mark.parametrize("options", [{}, {"shared": 4}, {"norm": "none"}])
def test_an_image_too_small_to_double_is_conditional_all_the_same(options):
    torch.manual_seed(0)
    net = ResNetGenerator(images(1, 4, 3, 5), width=4, latent=3, **options).eval()
    z = noise(2, 3)
    one, other = net(z, torch.tensor([0, 1])), net(z, torch.tensor([4, 3]))
    assert one.shape == (2, 1, 4, 3)
    assert (one - other).abs().max() > 1e-3


# --------------------------------------------------------------------------------------- hierarchical latents


@pytest.mark.parametrize(
    ("size", "latent", "chunks"), [(128, 120, [20] * 6), (28, 64, [22, 21, 21]), (8, 2, [1, 1]), (32, 7, [4, 1, 1, 1])]
)
def test_the_latent_is_cut_into_equal_chunks_and_the_stem_takes_the_rest(size, latent, chunks):
    with torch.device("meta"):
        net = ResNetGenerator(images(1, size, size), width=2, latent=latent, hierarchical=True)
    assert net.chunks == chunks
    assert net.stem[0].in_features == chunks[0]


@pytest.mark.parametrize(("classes", "shared"), [(0, 0), (10, 0), (10, 4)])
def test_a_chunk_reaches_its_block_and_no_other(classes, shared):
    torch.manual_seed(0)
    net = ResNetGenerator(images(1, 32, 32, classes), width=4, latent=8, hierarchical=True, shared=shared).eval()
    parts = [net.stem, *net.blocks]
    gains = [block.norm2.gain for block in net.blocks]
    y = torch.tensor([1, 7]) if classes else None

    def run(z: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        seen: dict[nn.Module, Tensor] = {}
        hooks = [m.register_forward_hook(lambda m, i, o: seen.update({m: o})) for m in parts + gains]
        net(z, y)
        for hook in hooks:
            hook.remove()
        return [seen[m] for m in parts], [seen[m] for m in gains]

    z = noise(2, 8)
    before, gained = run(z)
    for chunk in range(4):
        other = z.clone()
        other[:, 2 * chunk : 2 * chunk + 2] += 1
        after, read = run(other)
        for i in range(4):
            same = torch.equal(before[i], after[i])
            assert same == (i < chunk), f"chunk {chunk} and what part {i} makes"
        assert [i + 1 for i in range(3) if not torch.equal(gained[i], read[i])] == ([chunk] if chunk else [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("hierarchical=true, latent=3", "latent=4 or more"),
        ('hierarchical=true, norm="none"', "norm=batch, or hierarchical=false"),
        ("shared=-1", "shared=-1 is too small"),
        ("attention=4", "8 and 16 and 32 rows"),
        ("attention=-8", "attention=-8 is too small"),
        ("latent=0", "latent=0 is too small"),
    ],
)
def test_the_generator_refuses_what_cannot_be(options, words):
    with pytest.raises(UsageError, match=words):
        GENERATORS.build(f"resnet(width=4, {options})", images(1, 32, 32))


# --------------------------------------------------------------------------------------------------- attention


def test_attention_begins_as_the_identity():
    torch.manual_seed(0)
    layer = SelfAttention(16)
    x = noise(2, 16, 6, 4)
    assert_close(layer(x), x, rtol=0, atol=0)
    layer(x).square().sum().backward()
    assert layer.gamma.grad.abs() > 1e-6, "it must be able to leave 0"
    assert (layer.query.out_channels, layer.key.out_channels, layer.value.out_channels) == (2, 2, 8)


def test_attention_by_hand():
    """One channel on 2×4 places: the maxima of two halves are keys and values. With a and b those of the keys and s
    and t those of the values, a place x reads (s · exp(qa) + t · exp(qb)) / (exp(qa) + exp(qb)), q its query."""
    layer = SelfAttention(1)
    with torch.no_grad():
        for part, weight in ((layer.query, 0.5), (layer.key, 2.0), (layer.value, -1.0), (layer.output, 3.0)):
            part.weight.fill_(weight)
        layer.gamma.fill_(0.25)
    x = torch.tensor([[1.0, -1.0, 0.5, 2.0], [0.0, 0.5, 3.0, 1.0]])
    a, b, s, t = 2.0, 6.0, 1.0, -0.5  # 2 · max and −min of each half
    expected = torch.zeros(2, 4)
    for i, j in itertools.product(range(2), range(4)):
        q = 0.5 * x[i, j].item()
        one, other = math.exp(q * a), math.exp(q * b)
        expected[i, j] = x[i, j] + 0.25 * 3.0 * (s * one + t * other) / (one + other)
    assert_close(layer(x[None, None])[0, 0], expected)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
def test_attention_is_the_formula_at_every_place(size):
    torch.manual_seed(0)
    layer = SelfAttention(16)
    with torch.no_grad():
        layer.gamma.fill_(-1.5)
    x = noise(2, 16, *size)
    height, width = size
    query = torch.einsum("ocij,bchw->bohw", layer.query.weight, x)
    key, value = (torch.einsum("ocij,bchw->bohw", m.weight, x) for m in (layer.key, layer.value))

    def pools(h: Tensor) -> list[Tensor]:
        corners = itertools.product(range(0, height, 2), range(0, width, 2))
        return [h[:, :, i : i + 2, j : j + 2].amax((2, 3)) for i, j in corners]

    keys, values = pools(key), pools(value)
    expected = x.clone()
    for i, j in itertools.product(range(height), range(width)):
        logits = torch.stack([(query[:, :, i, j] * k).sum(1) for k in keys], 1)
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        read = sum(weights[:, n : n + 1] * v for n, v in enumerate(values))
        expected[:, :, i, j] -= 1.5 * read @ layer.output.weight[:, :, 0, 0].T
    assert_close(layer(x), expected)


def test_attention_differentiates_twice():
    torch.manual_seed(0)
    layer = SelfAttention(2)
    with torch.no_grad():
        layer.gamma.fill_(0.8)
    x = noise(1, 2, 2, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_a_penalty_of_a_discriminator_with_attention_has_the_right_gradient():
    torch.manual_seed(0)
    net = ResNetDiscriminator(images(1, 16, 16), width=8, attention=8, spectral=True)
    with torch.no_grad():
        net.attention.gamma.fill_(0.8)
    x = noise(2, 1, 16, 16).requires_grad_()

    def penalty() -> Tensor:
        return torch.autograd.grad(net(x).score[0].sum(), x, create_graph=True)[0].square().sum()

    penalty().backward()
    for parameter in (net.attention.gamma, stored(net.attention.query, "weight"), stored(net.attention.key, "weight")):
        index = torch.unravel_index(parameter.grad.abs().argmax(), parameter.shape)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter[index] += step
            values.append(penalty().item())
        with torch.no_grad():
            parameter[index] += 1e-6
        slope = (values[0] - values[1]) / 2e-6
        assert abs(slope) > 1e-9
        assert_close(slope, parameter.grad[index].item(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "attention", "generator", "discriminator"),
    [
        ((32, 32), 16, 16, 16),
        ((32, 32), 31, 16, 16),
        ((28, 28), 16, 14, 14),
        ((8, 8), 16, 8, 4),
        ((64, 32), 64, 64, 32),
    ],
)
def test_attention_stands_on_the_finest_grid_of_at_most_its_rows(size, attention, generator, discriminator):
    torch.manual_seed(0)
    x = noise(2, 1, *size)
    g = ResNetGenerator(images(1, *size), width=2, latent=4, attention=attention)
    d = ResNetDiscriminator(images(1, *size), width=2, attention=attention, blocks=2)
    seen = []
    for net in (g, d):
        assert sum(isinstance(m, SelfAttention) for m in net.modules()) == 1
        net.attention.register_forward_hook(lambda m, i, h: seen.append(h.shape[2]))
    g(noise(2, 4))
    d(x)
    assert seen == [generator, discriminator]


def test_attention_below_every_grid_is_refused():
    with pytest.raises(UsageError, match=r"attention=2 is below every grid .* 4 and 8 and 16 rows.*Choose 4 or more"):
        DISCRIMINATORS.build("resnet(width=4, attention=2)", images(1, 32, 32))


# ----------------------------------------------------------------------------------------------- discriminator


def test_the_score_is_read_from_the_sum_over_the_last_grid():
    torch.manual_seed(0)
    net = ResNetDiscriminator(images(1, 16, 16, 10), {"score": 1, "code": 3}, width=4)
    x, y = noise(3, 1, 16, 16), torch.tensor([4, 0, 4])
    verdict = net(x, y)
    last = verdict.features[-1]
    assert last.shape == (3, 16, 4, 4)
    assert (last < 0).any(), "features are those before the last relu"
    pooled = sum(last.clamp_min(0)[:, :, i, j] for i, j in itertools.product(range(4), range(4)))
    row = net.head.linear.weight[0] + net.head.embedding.weight[y]
    assert_close(verdict.score[0], (pooled * row).sum(1) + net.head.linear.bias)
    assert_close(verdict.heads["code"], net.head.others["code"](pooled))


def test_it_serves_as_an_encoder():
    net = ResNetDiscriminator(images(1, 8, 8, 10), {"mean": 5, "scale": 5}, width=4)
    verdict = net(noise(3, 1, 8, 8))
    assert verdict.score == ()
    assert {name: h.shape for name, h in verdict.heads.items()} == {"mean": (3, 5), "scale": (3, 5)}


def test_no_layer_of_the_discriminator_sees_other_rows():
    for spectral in (False, True):
        net = ResNetDiscriminator(images(1, 8, 8), width=4, spectral=spectral, attention=4)
        assert not couples_batch(net)
        assert not any("Norm2d" in type(m).__name__ for m in net.modules())


@pytest.mark.parametrize(
    ("options", "grids"),
    [({}, [(4, 16), (8, 8), (16, 4), (16, 4)]), ({"smallest": 8, "blocks": 3}, [(4, 16), (8, 8), *[(16, 8)] * 3])],
)
def test_the_grids_of_the_discriminator(options, grids):
    net = ResNetDiscriminator(images(1, 32, 32), width=4, max_width=16, **options)
    features = net(noise(1, 1, 32, 32)).features
    assert [(h.shape[1], h.shape[2]) for h in features] == grids


# --------------------------------------------------------------------------------------------------- weights


def test_spectral_norm_holds_every_layer_but_the_generators_tables():
    torch.manual_seed(0)
    data = images(1, 16, 16, 3)
    for net, free in (
        (ResNetGenerator(data, width=4, latent=6, spectral=True, attention=8), 8),
        (ResNetGenerator(data, width=4, latent=6, spectral=True, shared=4, hierarchical=True), 1),
        (ResNetDiscriminator(data, width=4, spectral=True, attention=8), 0),
    ):
        norms = [m for m in net.modules() if isinstance(m, Advancing)]
        for _ in range(60):
            for norm in norms:
                norm.advance()
        normed = [m for m in weighted(net) if hasattr(m, "parametrizations")]
        others = [m for m in weighted(net) if m not in normed]
        assert len(norms) == len(normed) > 5
        assert [type(m) for m in others] == [nn.Embedding] * free
        for layer in normed:
            assert_close(torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item(), 1.0, rtol=1e-3, atol=0)


def test_orthogonal_weights_are_orthonormal():
    torch.manual_seed(0)
    net = ResNetGenerator(images(1, 16, 16, 3), width=4, latent=6, shared=4, spectral=True, init="orthogonal")
    for layer in weighted(net):
        weight = layer.weight if isinstance(layer, nn.Embedding) else stored(layer, "weight")
        matrix = weight.flatten(1)
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        assert_close(gram, torch.eye(len(gram)))


# ------------------------------------------------------------------------------------------------ paper sizes


@pytest.fixture
def built(monkeypatch):
    """`built(preset, data)`: its generator and discriminator on the meta device."""
    monkeypatch.setattr(SpectralNorm, "advance", lambda norm: None)  # there is nothing to turn, and it takes seconds

    def build(preset: str, data: DataSpec) -> tuple[nn.Module, nn.Module]:
        experiment = resolve(preset).experiment
        with torch.device("meta"):
            g = GENERATORS.build(experiment.generator, data)
            return g, DISCRIMINATORS.build(experiment.discriminator, data)

    return build


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_biggan_128_has_the_papers_size(built):
    """The authors' networks at 1000 classes have 70,433,988 and 87,982,370 parameters. Our generator leaves out three
    biases a channel in each block, which batch norm removes."""
    g, d = built("biggan-128", images(3, 128, 128, 1000))
    assert count(g) == 70_433_988 - 3 * 96 * (16 + 8 + 4 + 2 + 1)
    assert count(d) == 87_982_370
    y = torch.zeros(2, dtype=torch.long, device="meta")
    x = g(torch.empty(2, g.latent, device="meta"), y)
    assert x.shape == (2, 3, 128, 128)
    assert d(x, y).score[0].shape == (2,)
    assert g.chunks == [20] * 6


def test_sngan_32_has_the_papers_size(built):
    g, d = built("sngan-32", images(3, 32, 32))
    block = 2 * 256 * 256 * 9 + 256 * 256 + 2 * 2 * 256
    assert count(g) == (128 + 1) * 256 * 16 + 3 * block + 2 * 256 + (256 * 9 + 1) * 3
    conv, skip = (128 * 9 + 1) * 128, (128 + 1) * 128
    assert count(d) == (3 * 9 + 1) * 128 + conv + (3 + 1) * 128 + (2 * conv + skip) + 2 * 2 * conv + 128 + 1
    with torch.no_grad():
        features = d(torch.empty(2, 3, 32, 32, device="meta")).features
    assert [h.shape[1:] for h in features] == [(128, 16, 16), *[(128, 8, 8)] * 3]
