"""FastGAN by hand: gates, skips, noise, two score maps, what the decoder rebuilds; and networks of published sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from gannet.core import registry
from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import couples_batch
from gannet.core.random import Draw, installed
from gannet.core.types import Clock, DataSpec, Field, Verdict
from gannet.engine.assembly import assemble
from gannet.engine.turn import Table
from gannet.losses.decoding import Decoding
from gannet.networks.fastgan import (
    FastGANDiscriminator,
    FastGANGenerator,
    Halved,
    SkipExcitation,
    doubled,
    gated,
)
from gannet.networks.styles import Noise

pytestmark = pytest.mark.usefixtures("fp64", "seeded")


@pytest.fixture
def seeded():
    """The same first weights every time."""
    torch.manual_seed(0)


def images(size: int | tuple[int, int] = 8, channels: int = 1, classes: int = 0, given: int = 0) -> DataSpec:
    sides = (size, size) if isinstance(size, int) else size
    fields = {"x": Field((channels, *sides))} | ({"given": Field((given, *sides))} if given else {})
    return DataSpec(fields, classes)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------- generator


def test_a_gate_lets_one_half_of_the_channels_pass_by_the_other():
    layer = gated(1, 1, "none")
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[0, 0, 1, 1], layer.conv.weight[1, 0, 1, 1] = 2.0, -3.0
        layer.conv.bias.copy_(torch.tensor([0.5, 0.25]))
    x = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]])
    assert_close(layer(x), (2 * x + 0.5) / (1 + torch.exp(3 * x - 0.25)))


def test_an_excitation_by_hand():
    skip = SkipExcitation(1, 2, (2, 2), factor=2)
    with torch.no_grad():
        skip.summarise.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))
        skip.summarise.bias.zero_()
        skip.project.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        skip.project.bias.copy_(torch.tensor([0.0, 1.0]))
    low = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1) * torch.ones(2, 1, 4, 4)  # pooled to 2×2, then summed: 4 and 12
    high = randn(2, 2, 8, 6)
    weigh = torch.tensor([[4.0, -0.4 + 1], [12.0, -1.2 + 1]]).sigmoid()
    assert_close(skip(low, high), high * weigh[:, :, None, None])


@pytest.mark.parametrize(
    ("size", "pairs"),
    [
        (256, [(4, 64), (8, 128), (16, 256)]),  # the paper's
        (64, [(4, 64)]),
        (32, [(4, 32)]),
        (28, [(7, 28)]),
        (8, [(4, 8)]),
        ((1, 40), []),  # nothing to double
    ],
)
def test_which_grid_excites_which(size, pairs):
    net = FastGANGenerator(images(size), width=1, latent=2, max_width=2)
    found = []
    for skip in net.skips:
        skip.register_forward_pre_hook(lambda _, sides: found.append(tuple(side.shape[2] for side in sides)))
    x = net(randn(2, 2))
    assert found == pairs
    assert x.shape[2:] == ((size, size) if isinstance(size, int) else size)


def test_every_other_stage_is_a_thorough_one():
    net = FastGANGenerator(images(32), width=2, latent=2)
    assert [[len([m for m in stage.modules() if isinstance(m, Noise)])] for stage in net.stages] == [[2], [0], [2]]
    assert [hasattr(stage, "second") for stage in net.stages] == [True, False, True]


def test_noise_comes_from_the_draw_by_a_learned_strength():
    # In fp32, in which a draw makes its numbers, and in evaluation, so that batch norm does not mix the rows.
    net = FastGANGenerator(images(8), width=4, latent=4).float().eval()
    z = randn(4, 4).float()

    def made(step: int, rows=range(4)) -> torch.Tensor:
        with installed(Draw(0, "test", step, rows)), torch.no_grad():
            return net(z[list(rows)])

    silent = net(z)
    assert_close(made(0), silent, rtol=0, atol=0)  # the strength starts at 0
    for layer in (m for m in net.modules() if isinstance(m, Noise)):
        nn.init.constant_(layer.strength, 0.5)
    assert_close(net(z), silent, rtol=0, atol=0)  # no draw, no noise
    assert_close(made(0), made(0), rtol=0, atol=0)
    assert (made(0) - silent).abs().flatten(1).amax(1).min() > 1e-4
    assert (made(0) - made(1)).abs().flatten(1).amax(1).min() > 1e-4
    assert_close(made(0)[2:], made(0, range(2, 4)))  # a row's noise is its own


def test_a_doubling_repeats_pixels_before_it_convolves():
    stage = doubled(3, 2, "none")
    x = randn(2, 3, 4, 5)
    assert_close(stage(x), F.glu(stage.first.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), 1))


# --------------------------------------------------------------------------------------------- discriminator


def test_a_halving_is_the_mean_of_its_two_branches():
    block = Halved(1, 1, "none")
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.main[0].conv.weight[0, 0, 1:3, 1:3] = 1.0  # the sum of 2×2
        block.main[1].conv.weight[0, 0, 1, 1] = 1.0
        block.direct.conv.weight.fill_(10.0)  # ten times their mean
    x = randn(2, 1, 6, 4)
    means = F.avg_pool2d(x, 2)

    def leaky(t: torch.Tensor) -> torch.Tensor:
        return torch.where(t > 0, t, 0.2 * t)

    assert_close(block(x), (leaky(leaky(4 * means)) + leaky(10 * means)) / 2)


def test_the_second_score_is_of_the_half_size_copy():
    net = FastGANDiscriminator(images(16), width=2, init="he")
    x = randn(3, 1, 16, 16)
    first, second = net(x).score
    assert first.shape == second.shape == (3, 1, 4, 4)
    unseen = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)  # its 2×2 means are 0
    other = net(x + unseen).score
    assert_close(other[1], second)
    assert (other[0] - first).abs().max() > 1e-3
    assert_close(second, net.maps[1](net.trunks[1](F.avg_pool2d(x, 2))[-1], None))
    assert len(FastGANDiscriminator(images((1, 40)), width=2)(randn(2, 1, 1, 40)).score) == 1


def test_the_class_is_projected_at_every_place():
    net = FastGANDiscriminator(images(8, classes=3), width=2)
    x, y = randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    found = net(x, y).score
    for scored, trunk, image, score in zip(net.maps, net.trunks, (x, F.avg_pool2d(x, 2)), found, strict=True):
        h = scored.mix(trunk(image)[-1])
        wanted = scored.score(h)[:, 0] + torch.einsum("bchw,bc->bhw", h, scored.embedding.weight[y])
        assert_close(score[:, 0], wanted)


@pytest.mark.parametrize(
    ("size", "built"),
    [(8, (8, 8)), (28, (28, 28)), (64, (64, 64)), (128, (64, 64)), ((30, 45), (32, 48)), ((1, 40), (1, 40))],
)
def test_the_decoder_is_set_what_came_in(size, built):
    data = images(size, channels=2, given=1)
    net = FastGANDiscriminator(data, width=2, max_width=4)
    x, given = randn(2, *data.shape).requires_grad_(), randn(2, 1, *data.shape[1:], seed=1)
    heads = net(x, None, given).heads
    assert heads["reconstruction"].shape == heads["seen"].shape == (2, 3, *built)
    assert not heads["seen"].requires_grad
    whole = net.grid.pad(torch.cat([x, given], 1)).detach()
    factor = whole.shape[2] // built[0]
    wanted = whole.unflatten(2, (built[0], factor)).unflatten(4, (built[1], factor)).mean((3, 5))
    assert_close(heads["seen"], wanted)


def test_what_it_rebuilds_teaches_the_trunk_and_the_decoder():
    net = FastGANDiscriminator(images(16), width=2)
    net(randn(2, 1, 16, 16)).heads["reconstruction"].square().sum().backward()
    moved = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"trunks", "decoder"}
    assert all(p.grad is None for p in net.trunks[1].parameters())  # the copy is scored and not rebuilt


def test_other_heads_and_an_encoder():
    data = images(16)
    x = randn(2, 1, 16, 16)
    both = FastGANDiscriminator(data, {"score": 1, "class": 7}, width=2)(x)
    assert (len(both.score), both.heads["class"].shape) == (2, (2, 7))
    encoder = FastGANDiscriminator(data, {"code": 5}, width=2)
    verdict = encoder(x)
    assert (verdict.score, verdict.heads["code"].shape, len(encoder.trunks)) == ((), (2, 5), 1)
    assert_close(verdict.heads["code"], encoder.head.others["code"](verdict.features[-1].mean((2, 3))))


def test_batch_norm_is_there_for_the_asking():
    assert not couples_batch(FastGANDiscriminator(images(8), width=2))
    assert couples_batch(FastGANDiscriminator(images(8), width=2, norm="batch"))


# --------------------------------------------------------------------------------- the regularizer decoding


def built(reconstruction: torch.Tensor, seen: torch.Tensor) -> Verdict:
    return Verdict((torch.zeros(len(seen)),), {"reconstruction": reconstruction, "seen": seen})


@pytest.fixture
def rebuild(play, linear):
    """`rebuild(reconstruction, seen, fake=None)`: a round in which the discriminator did so."""

    def make(reconstruction: torch.Tensor, seen: torch.Tensor, fake: Verdict | None = None):
        sides = iter([built(reconstruction, seen), fake or built(reconstruction, seen)])
        return play(linear(torch.ones(1)), seen, seen, verdict=lambda _: next(sides))

    return make


def test_decoding_without_features_by_hand(rebuild):
    term = Decoding()
    for buffer in term.buffers():
        buffer.zero_()
    seen = randn(3, 2, 8, 8)
    assert_close(term(rebuild(seen + 0.25, seen)), torch.full((3,), 3 * 0.25))  # at three scales
    fine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    assert_close(term(rebuild(seen + 0.5 * fine, seen)), torch.full((3,), 0.5))  # gone at half the size
    halves = fine.repeat_interleave(2, 0).repeat_interleave(2, 1)[:8, :8]
    assert_close(term(rebuild(seen + 0.5 * halves, seen)), torch.full((3,), 2 * 0.5))


def test_decoding_adds_the_distance_in_fixed_features(rebuild):
    term = Decoding().double()
    silent = Decoding().double()
    for buffer in silent.buffers():
        buffer.zero_()
    a, b = randn(2, 3, 8, 8), randn(2, 3, 8, 8, seed=1)
    wanted = silent(rebuild(a, b))
    for row in range(2):
        grids = [t[row][:, None] for t in (a, b)]  # each plane by itself
        for number, kernel in enumerate(term.buffers()):
            if number:
                grids = [F.avg_pool2d(g, 2) for g in grids]
            grids = [F.conv2d(F.pad(g, (1, 1, 1, 1)), kernel).clamp_min(0) for g in grids]
            wanted[row] += (grids[0] - grids[1]).abs().mean()
    assert_close(term(rebuild(a, b)), wanted)
    assert (wanted - silent(rebuild(a, b))).min() > 0.1
    for kernel in term.buffers():  # He's scale, so that deep layers weigh like shallow ones
        assert_close(kernel.std().item(), math.sqrt(2 / (9 * kernel.shape[1])), rtol=0.15, atol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (2, 1, 40), (1, 1, 1), (4, 2, 3)])
def test_decoding_is_0_exactly_where_all_is_rebuilt(rebuild, shape):
    term, seen = Decoding().double(), randn(3, *shape)
    assert_close(term(rebuild(seen.clone(), seen)), torch.zeros(3), rtol=0, atol=0)
    wrong = seen.clone()
    wrong[1, -1, -1, -1] += 1e-3
    found = term(rebuild(wrong, seen))
    assert found[1] > 0
    assert_close(found[[0, 2]], torch.zeros(2), rtol=0, atol=0)


def test_decoding_looks_at_reals_alone(rebuild):
    seen = randn(2, 1, 4, 4)
    fake = built(torch.full((2, 1, 4, 4), torch.nan), seen)
    assert_close(Decoding()(rebuild(seen, seen, fake)), torch.zeros(2))


def test_the_features_are_the_same_for_ever_and_not_trained():
    one, other = Decoding(), Decoding()
    assert_close(list(one.buffers()), list(other.buffers()), rtol=0, atol=0)
    assert (list(one.parameters()), dict(one.state_dict())) == ([], {})


def test_decoding_asks_for_a_discriminator_that_rebuilds(play, linear):
    x = randn(2, 3)
    with pytest.raises(UsageError, match="discriminator=fastgan"):
        Decoding()(play(linear(torch.ones(3)), x, x))


def test_turns_of_the_preset_learn_to_rebuild(tiny):
    found = tiny("fastgan", discriminator__width=8, discriminator__max_width=16)
    game = assemble(resolve("fastgan", {**found, "optim.discriminator": "adam(lr=0.01)"}).experiment)
    table, player = Table(game), game.players["discriminator"]
    terms = [table.turn("discriminator", player, Clock(), None).terms for _ in range(16)]
    assert set(terms[0]) == {"adversarial", "decoding"}
    first, last = (sum(each["decoding"] for each in part) for part in (terms[:3], terms[-3:]))
    assert 0 < last < 0.8 * first


# ------------------------------------------------------------------------------------------- published sizes


@pytest.mark.parametrize(
    ("preset", "size", "classes", "generator", "discriminator"),
    [
        # The paper's recipe has about 20.7 M each; the generator's 0.1 M more are the dense layer of latent and class.
        ("r3gan-32", 32, 10, 20_781_952, 20_691_457),
        ("r3gan-64", 64, 0, 22_429_824, 22_381_441),
        ("r3gan-256", 256, 0, 23_057_952, 23_009_569),  # published: 23.1 M and 23.0 M
        ("fastgan-256", 256, 0, 24_606_121, 13_012_421),
    ],
)
def test_networks_of_published_sizes(preset, size, classes, generator, discriminator):
    experiment = resolve(preset).experiment
    data = DataSpec({"x": Field((3, size, size))}, classes)
    with torch.device("meta"):
        for kind, wanted in (("generator", generator), ("discriminator", discriminator)):
            spec = getattr(experiment, kind)
            if "spectral" in spec.args:
                spec = spec.with_arg("spectral", False)  # as many parameters, without seconds of power iteration
            net = registry.NETWORKS[kind].build(spec, data)
            assert sum(p.numel() for p in net.parameters()) == wanted, kind
