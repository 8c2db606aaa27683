"""StyleGAN2 by hand: modulation, noise, styles of two latents, the mean style, path lengths, the published sizes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import couples_batch
from gannet.core.random import Draw, installed
from gannet.core.registry import DISCRIMINATORS, GENERATORS, REGULARIZERS, TASKS
from gannet.core.types import DataSpec, Field, Generated
from gannet.networks.layers import downsample, stored, upsample
from gannet.networks.styles import MEAN_OF, Modulated, Noise, dense, leaky, normalised

pytestmark = pytest.mark.usefixtures("fp64")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def draw(rows: int, step: int = 0) -> Draw:
    return Draw(0, "test", step, range(rows), dtype=torch.float64)


def data(classes: int = 0, shape: tuple[int, int, int] = (1, 8, 8)) -> DataSpec:
    return DataSpec({"x": Field(shape)}, classes)


def generator(options: str = "", classes: int = 0, shape: tuple[int, int, int] = (1, 8, 8)):
    return GENERATORS.build(f"stylegan2(width=4, latent=6{options})", data(classes, shape)).double()


def with_noise(net):
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Noise):
                module.strength.fill_(0.5)
    return net


# -------------------------------------------------------------------------------------------------- modulation


@pytest.mark.parametrize(("kernel", "demodulate"), [(3, True), (1, False)])
def test_modulation_scales_the_weights_of_every_row(kernel, demodulate):
    layer = Modulated(3, 5, 4, kernel, demodulate=demodulate)
    x, w = torch.randn(2, 3, 6, 7), torch.randn(2, 4)
    found = layer(x, w)
    for row in range(2):
        s = layer.style.weight @ w[row] + layer.style.bias
        weight = s[None, :, None, None] * layer.conv.weight
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        wanted = torch.nn.functional.conv2d(x[row : row + 1], weight, padding=kernel // 2)
        assert_close(found[row : row + 1], wanted)


def test_upsampling_comes_before_the_convolution():
    layer = Modulated(3, 5, 4, up=True)
    x, w = torch.randn(2, 3, 4, 6), torch.randn(2, 4)
    layer.up, wanted = False, layer(x, w)
    assert wanted.shape == (2, 5, 8, 12)
    assert_close(layer(upsample(x), w), wanted)


def test_resampling_is_the_papers_filter():
    """Zeros between the pixels and [1, 3, 3, 1] twice over, away from the border; its adjoint on the way down."""
    x = torch.randn(1, 1, 6, 6)
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(row, row)[None, None]
    up = torch.nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)
    assert_close(upsample(x)[..., 1:-1, 1:-1], up[..., 1:-1, 1:-1])
    down = torch.nn.functional.conv2d(x, kernel / 4, stride=2, padding=1)
    assert_close(downsample(x)[..., 1:-1, 1:-1], down[..., 1:-1, 1:-1])


def test_a_demodulated_layer_keeps_unit_variance_whatever_the_style():
    layer = Modulated(16, 64, 4)
    x, w = torch.randn(4, 16, 32, 32), 3 * torch.randn(4, 4)
    inner = layer(x, w)[..., 1:-1, 1:-1]  # at the border the padding takes part
    assert_close(inner.var((1, 2, 3)), torch.ones(4), rtol=0.1, atol=0)
    plain = Modulated(16, 64, 4, demodulate=False)(x, w)
    assert plain.var((1, 2, 3)).max() > 2


def test_the_scale_of_a_style_does_not_matter_after_demodulation():
    layer = Modulated(3, 5, 4)
    with torch.no_grad():
        stored(layer.style, "bias").zero_()
    x, w = torch.randn(2, 3, 4, 4), torch.randn(2, 4)
    assert_close(layer(x, 10 * w), layer(x, w), rtol=1e-6, atol=1e-6)


def test_modulation_differentiates_twice():
    layer = Modulated(2, 3, 2, up=True)
    x, w = torch.randn(2, 2, 2, 3, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x, w))


def test_styles_start_at_one_and_activations_keep_their_variance():
    layer = Modulated(3, 5, 4)
    assert_close(layer.style.bias, torch.ones(3))
    assert_close(layer.style(torch.zeros(1, 4)), torch.ones(1, 3))
    assert_close(leaky(torch.tensor([2.0, -1.0])), torch.tensor([2.0, -0.2]) * math.sqrt(2))


# ------------------------------------------------------------------------------------------------------ mapping


def test_the_mapping_by_hand():
    net = generator(", layers=2")
    z = torch.randn(3, 6)
    h = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in net.mapping.layers:
        h = leaky(h @ layer.weight.T + layer.bias)
    assert_close(net.eval().map(z), h[:, None].expand(3, 4, 6), rtol=1e-6, atol=1e-7)
    assert_close(net.map(10 * z), net.map(z), rtol=1e-6, atol=1e-6)  # only the direction counts


def test_the_mapping_moves_at_a_hundredth_of_the_rate():
    """A stored weight of variance 1/λ² is scaled by λ/√fan-in: as large as any, and λ times as fast."""
    assert all(layer.parametrizations.weight[0].scale == 0.01 / 6**0.5 for layer in generator().mapping.layers)
    layer = dense(400, 300, multiplier=0.01)
    assert_close(stored(layer, "weight").std(), torch.tensor(100.0), rtol=0.02, atol=0)
    assert_close(layer.weight, stored(layer, "weight") * (0.01 / 20))
    stored(layer, "bias").data.fill_(3.0)
    assert_close(layer.bias, torch.full((300,), 0.03))


def test_a_class_is_embedded_beside_the_latent_after_both_are_normalised():
    net = generator(", layers=1", classes=3).eval()
    z, y = torch.randn(4, 6), torch.tensor([0, 2, 1, 2])
    embedded = net.mapping.embedding.weight.T[y]
    h = torch.cat([normalised(z), normalised(embedded)], dim=1)
    layer = net.mapping.layers[0]
    assert_close(net.map(z, y)[:, 0], leaky(h @ layer.weight.T + layer.bias))


def test_the_image_is_synthesised_from_what_was_mapped():
    net = with_noise(generator(classes=2)).eval()
    z, y = torch.randn(4, 6), torch.tensor([0, 1, 0, 1])
    with installed(draw(4)):
        whole = net(z, y)
    with installed(draw(4)):
        halves = net.synthesise(net.map(z, y))
    assert_close(whole, halves, rtol=0, atol=0)


def test_there_is_a_style_for_every_layer_and_each_matters():
    for variant in ("skip", "residual"):
        net = generator(f", variant={variant}", shape=(3, 16, 24)).eval()
        w = net.map(torch.randn(2, 6)).contiguous().requires_grad_()
        assert w.shape == (2, 6, 6)  # the first grid 1 layer, two more 2 each, and the image
        x = net.synthesise(w)
        (gradient,) = torch.autograd.grad(x.square().sum(), w)
        assert (gradient.abs().sum((0, 2)) > 0).all()


def test_the_variants_by_hand():
    """skip: every grid adds an image to the doubled one below. residual: shortcuts, and one image at the end."""
    skip, residual = (generator(f", variant={v}").eval() for v in ("skip", "residual"))
    w = torch.randn(2, 4, 6)
    s = w.unbind(1)

    h = skip.first(skip.start.expand(2, -1, -1, -1), s[0])
    image = skip.images["0"](h, s[1])
    h = skip.blocks[0].second(skip.blocks[0].first(h, s[1]), s[2])
    assert_close(skip.synthesise(w), torch.tanh(upsample(image) + skip.images["1"](h, s[3])))

    h = residual.first(residual.start.expand(2, -1, -1, -1), s[0])
    block = residual.blocks[0]
    both = block.second(block.first(h, s[1]), s[2]) + upsample(block.skip(h))
    assert_close(residual.synthesise(w), torch.tanh(residual.images["1"](both * math.sqrt(0.5), s[3])))
    assert len(residual.images) == 1


# ------------------------------------------------------------------------------------------------ style mixing


def test_mixing_takes_the_first_style_before_the_crossover_and_the_second_from_there_on():
    net = generator(", mixing=1", shape=(1, 16, 16))
    z, rows = torch.randn(200, 6), 200
    with installed(draw(rows)):
        mixed = net.map(z)
    own = net.eval().map(z)[:, 0]
    other = net.map(draw(rows).normal(6))[:, 0]  # the second latent is the first that is drawn
    seen = []
    for row in range(rows):
        first = [torch.equal(layer, own[row]) for layer in mixed[row]]
        seen.append(sum(first))
        crossover = seen[-1]
        assert_close(mixed[row, :crossover], own[row].expand(crossover, 6))
        assert_close(mixed[row, crossover:], other[row].expand(6 - crossover, 6))
    assert set(seen) == {1, 2, 3, 4, 5}, "each layer but the first may be the crossover, and each row has its own"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_mixing_happens_as_often_as_asked_in_training_and_never_in_evaluation(share):
    net = generator(f", mixing={share}")
    z = torch.randn(2000, 6)
    with installed(draw(2000)):
        mixed = (net.map(z) != net.map(z)[:, :1]).flatten(1).any(1).double().mean()
        plain = net.eval().map(z)
    assert abs(mixed - share) < 0.03
    assert_close(plain, plain[:, :1].expand_as(plain), rtol=0, atol=0)


def test_without_a_draw_there_is_neither_mixing_nor_noise():
    net = with_noise(generator()).train()
    z = torch.randn(3, 6)
    assert_close(net(z), net(z), rtol=0, atol=0)
    assert_close(net.map(z), net.map(z)[:, :1].expand(3, 4, 6), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------- noise


def test_noise_is_one_number_a_pixel_times_the_learned_strength():
    layer = Noise().double()
    x = torch.randn(3, 2, 4, 5)
    with torch.no_grad():
        layer.strength.fill_(0.25)
    with installed(draw(3)):
        out = layer(x)
    assert_close(out - x, (0.25 * draw(3).normal(1, 4, 5)).expand_as(x))
    assert Noise().strength == 0


@pytest.mark.parametrize("training", [True, False])
def test_noise_follows_the_draw(training):
    net = with_noise(generator(", mixing=0")).train(training)
    z = torch.randn(4, 6)

    def run(step: int, rows: int = 4) -> torch.Tensor:
        with installed(draw(rows, step)):
            return net(z[:rows])

    assert_close(run(0), run(0), rtol=0, atol=0)
    assert (run(0) - run(1)).abs().max() > 1e-3
    assert_close(run(0, 2), run(0)[:2])  # a row's noise is its own


# -------------------------------------------------------------------------------------------------- truncation


def test_truncation_pulls_styles_to_their_mean():
    net = generator().eval()
    z = torch.randn(3, 6)
    mean = net.map(Draw(0, "mean style", 0, range(MEAN_OF), dtype=torch.float64).normal(6)).mean((0, 1))
    assert_close(net.map(z, truncation=0.7), mean + 0.7 * (net.map(z) - mean))
    assert_close(net.map(z, truncation=1.0), net.map(z), rtol=0, atol=0)


def test_truncation_at_0_gives_one_picture_a_class():
    net = generator(classes=5).eval()
    z, y = torch.randn(6, 6), torch.tensor([4, 1, 2, 4, 1, 2])
    w = net.map(z, y, 0.0)
    x = net.synthesise(w)
    assert_close(x[:3], x[3:])
    assert (x[0] - x[1]).abs().max() > 1e-3
    assert_close(w[:1], net.map(z[:1], y[:1], 0.0))  # whatever classes stand beside it
    plain = generator().eval()
    x = plain.synthesise(plain.map(z, truncation=0.0))
    assert_close(x, x[:1].expand_as(x))


# ------------------------------------------------------------------------------------------------ in synthesis


def synthesis(net, classes: int = 0):
    task = TASKS.build("synthesis", data(classes))
    task.networks["generator"] = net
    return task


def test_the_task_generates_through_the_styles_and_says_so():
    net = with_noise(generator(classes=3))
    task, y = synthesis(net, 3), torch.tensor([0, 1, 2, 0])
    with installed(draw(4, 9)):
        made = task.generate({"y": y, "x": torch.zeros(4, 1, 8, 8)}, draw(4))
    z = draw(4).normal(6)
    with installed(draw(4, 9)):
        w = net.map(z, y)
        assert_close(made.latent, w)
        assert_close(made.x, net.synthesise(w))
    assert made.latent.shape == (4, 4, 6)


def test_the_task_truncates_styles_and_not_the_latent():
    net = generator(classes=3).eval()
    task, y = synthesis(net, 3), torch.tensor([0, 1, 2, 0])
    z = draw(4).normal(6)
    assert_close(task.sample(draw(4), y), net(z, y))
    assert_close(task.sample(draw(4), y, truncation=0.5), net.synthesise(net.map(z, y, 0.5)))
    assert (task.sample(draw(4), y, truncation=0.5) - net(z, y)).abs().max() > 1e-3
    with pytest.raises(UsageError, match="without labels"):
        synthesis(generator()).sample(draw(4), y)


def test_path_length_is_the_norm_of_the_jacobian_with_respect_to_the_styles():
    net = generator(shape=(2, 8, 8)).eval()
    w = net.map(torch.randn(3, 6))
    generated = Generated(net.synthesise(w), w)
    penalty = REGULARIZERS.build("path-length").double()
    round = Play(generated, draw(3, 5))
    found = penalty(round)

    noise = round.draw.child("path-length").normal(2, 8, 8) / 8  # over √(8·8)
    lengths = []
    for row in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda v: net.synthesise(v)[0], w[row : row + 1].detach())
        pulled = (noise[row][..., None, None, None] * jacobian).sum((0, 1, 2))[0]  # [L, D]
        lengths.append(pulled.square().sum(1).mean().sqrt())
    assert_close(found, torch.stack(lengths).square())  # the mean length still is 0

    found.mean().backward()
    assert not [n for n, p in net.named_parameters() if "noise" not in n and (p.grad is None or not p.grad.any())]


class Play(SimpleNamespace):
    """As much of a round as the path length reads."""

    __hash__ = object.__hash__

    def __init__(self, generated: Generated, drawn: Draw):
        super().__init__(generated=generated, draw=drawn)


# --------------------------------------------------------------------------------------------- discriminator


def test_the_residual_discriminator_by_hand():
    net = DISCRIMINATORS.build("stylegan2(width=4)", data()).double()
    x = torch.randn(2, 1, 8, 8)
    h = leaky(net.input(x))
    block = net.blocks[0]
    inner = leaky(downsample(block.second(leaky(block.first(h)))))
    h = (inner + block.skip(downsample(h))) * math.sqrt(0.5)
    last = leaky(net.last(h))
    score = net.head.linear(leaky(net.dense(last.permute(0, 2, 3, 1).flatten(1)))).squeeze(1)
    verdict = net(x)
    assert_close(verdict.score[0], score)
    assert_close(verdict.features, (h, last))


def test_orig_has_no_shortcuts():
    net = DISCRIMINATORS.build("stylegan2(width=4, variant=orig)", data()).double()
    x = torch.randn(2, 1, 8, 8)
    block = net.blocks[0]
    assert block.skip is None
    h = leaky(net.input(x))
    assert_close(net(x).features[0], leaky(downsample(block.second(leaky(block.first(h))))))


def test_the_minibatch_deviation_is_an_option_and_couples():
    plain, coupled = (DISCRIMINATORS.build(f"stylegan2(width=4, stddev={n})", data()).double() for n in (0, 4))
    assert not couples_batch(plain)
    assert couples_batch(coupled)
    assert coupled.last.in_channels == plain.last.in_channels + 1
    x = torch.randn(8, 1, 8, 8)
    first = coupled(x).score[0]
    x[7] += 1
    second = coupled(x).score[0]
    assert_close(first[:4], second[:4])  # another group
    assert (first[4:] != second[4:]).all()


def test_heads_are_answered():
    net = DISCRIMINATORS.build("stylegan2(width=4)", data(3), {"score": 1, "class": 3}).double()
    verdict = net(torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1]))
    assert verdict.score[0].shape == (5,)
    assert verdict.heads["class"].shape == (5, 3)


# ------------------------------------------------------------------------------------------------------- whole


def test_the_preset_for_256_has_the_published_sizes():
    """24,767,458 and 24,001,089 parameters, as the official implementation counts them at 256×256."""
    experiment = resolve("stylegan2-256").experiment
    with torch.device("meta"):
        spec = data(shape=(3, 256, 256))
        made = GENERATORS.build(experiment.generator, spec)
        judge = DISCRIMINATORS.build(experiment.discriminator, spec)
    assert sum(p.numel() for p in made.parameters()) == 24_767_458
    assert sum(p.numel() for p in judge.parameters()) == 24_001_089
    assert made.styles == 14


def test_the_start_is_neither_dark_nor_saturated():
    """The images of all grids together enter tanh with a variance near 1."""
    net = GENERATORS.build("stylegan2(width=16)", DataSpec({"x": Field((3, 64, 64), range=None)})).double()
    assert 0.3 < net(torch.randn(8, 64)).var() < 2


def test_memory_stays_channels_last():
    net = generator(shape=(1, 16, 16)).to(memory_format=torch.channels_last)
    inner = net.blocks[0].first(net.start.expand(2, -1, -1, -1), torch.randn(2, 6))
    assert inner.is_contiguous(memory_format=torch.channels_last)


def test_refusals():
    with pytest.raises(UsageError, match=r"mixing=1\.5"):
        generator(", mixing=1.5")
    with pytest.raises(UsageError, match="layers=0"):
        generator(", layers=0")
    with pytest.raises(UsageError, match="stddev=-1"):
        DISCRIMINATORS.build("stylegan2(stddev=-1)", data())
    with pytest.raises(UsageError, match=r"\[rows, 4, 6\]"):
        generator().synthesise(torch.zeros(2, 6))
    with pytest.raises(UsageError, match="images"):
        GENERATORS.build("stylegan2", DataSpec({"x": Field((2,), kind="points", range=None)}))
