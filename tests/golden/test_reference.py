"""Reference batch norm by hand, and against batch norm itself; and what minibatch statistics add to a discriminator."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import couples_batch
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import Clock, DataSpec, Field
from gannet.engine.assembly import assemble
from gannet.engine.turn import Table
from gannet.networks.reference import DrawnReference, Reference, ReferenceNorm, ShownReference, referring

pytestmark = pytest.mark.usefixtures("fp64", "seeded")


@pytest.fixture
def seeded():
    """The same first weights every time."""
    torch.manual_seed(0)


def images(classes: int = 0, given: int = 0, size: int = 8) -> DataSpec:
    fields = {"x": Field((1, size, size))} | ({"given": Field((given, size, size))} if given else {})
    return DataSpec(fields, classes)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(rows: int, channels: int) -> ReferenceNorm:
    reference = Reference()
    reference.register_buffer("rows", torch.zeros(rows, 1))
    return ReferenceNorm(reference, channels, eps=1e-5)


# ------------------------------------------------------------------------------------------------- the layer


def test_three_rows_by_hand():
    # Two reference rows of two places, mean 2 and mean square 6; a row with mean 8 and mean square 73.
    x = torch.tensor([[0.0, 2.0], [2.0, 4.0], [5.0, 11.0]]).view(3, 1, 1, 2)
    norm = layer(2, 1)
    nn.init.constant_(norm.weight, 3.0)
    nn.init.constant_(norm.bias, -1.0)
    out = norm(x).flatten(1)
    assert_close(out[:2], 3 * (x[:2].flatten(1) - 2) / (6 - 4 + 1e-5) ** 0.5 - 1)
    mean, square = (2 * 2 + 8) / 3, (2 * 6 + 73) / 3
    assert_close(out[2], 3 * (x[2].flatten() - mean) / (square - mean**2 + 1e-5) ** 0.5 - 1)


def test_it_is_batch_norm_of_the_reference_and_one_row():
    norm, x = layer(5, 4), randn(9, 4, 3, 2) * 3 + 1
    norm.weight.data, norm.bias.data = randn(4, seed=1), randn(4, seed=2)

    def batch_norm(rows: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(rows, None, None, norm.weight, norm.bias, training=True)

    out = norm(x)
    assert_close(out[:5], batch_norm(x[:5]))
    for row in range(5, 9):
        assert_close(out[row], batch_norm(torch.cat([x[:5], x[row : row + 1]]))[-1])


def test_far_from_0_no_variance_is_negative():
    x = 1e4 + 1e-3 * randn(6, 2, 4, 4).float()
    out = layer(4, 2).float()(x)
    assert out.isfinite().all()
    assert out.abs().max() < 10


def test_low_precision_is_normed_in_single():
    x = 30 + randn(6, 2, 4, 4).float()
    low = layer(4, 2).float()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert_close(low.float(), layer(4, 2).float()(x.bfloat16().float()), rtol=1e-2, atol=1e-2)


def test_batch_norms_give_their_places_and_weights():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), nn.GroupNorm(1, 2))
    gain, keys = net[1][0].weight, [k for k, _ in net.named_parameters()]
    referring(net, DrawnReference(3, 0))
    assert isinstance(net[1][0], ReferenceNorm)
    assert net[1][0].weight is gain
    assert [k for k, _ in net.named_parameters()] == keys  # and the reference is not a child of the layer
    assert not list(net.buffers())


# --------------------------------------------------------------------------------------------- discriminator


def judge(data: DataSpec, rows: int = 6, options: str = "dcgan(width=4, norm=reference)") -> nn.Module:
    torch.manual_seed(0)
    net = DISCRIMINATORS.build(options, data)
    net.reference.refer({name: randn(rows, *field.shape, seed=3) for name, field in data.fields.items()})
    return net


def test_no_row_depends_on_another_one_of_its_batch():
    net = judge(images())
    assert sum(isinstance(m, ReferenceNorm) for m in net.modules()) == 1
    assert not couples_batch(net)
    x = randn(4, 1, 8, 8, seed=1)
    found = net(x)
    for row in range(4):
        alone = net(x[row : row + 1])
        assert_close(alone.score[0][0], found.score[0][row])
        for a, b in zip(alone.features, found.features, strict=True):
            assert (len(a), len(b)) == (1, 4)
            assert_close(a[0], b[row])


def test_it_depends_on_the_reference():
    net = judge(images())
    x = randn(4, 1, 8, 8, seed=1)
    before = net(x).score[0]
    net.reference.refer({"x": randn(6, 1, 8, 8, seed=5) * 3})
    assert (net(x).score[0] - before).abs().min() > 1e-3


def test_a_gradient_penalty_is_one_samples_own_and_right():
    net, x = judge(images()), randn(3, 1, 8, 8, seed=1).requires_grad_()

    def penalty() -> torch.Tensor:
        return torch.autograd.grad(net(x).score[0].sum(), x, create_graph=True)[0].flatten(1).square().sum(1)

    together = penalty()
    for row in range(3):
        one = x[row : row + 1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net(one).score[0].sum(), one)
        assert_close(together[row], gradient.square().sum())
    weight = net.stages[1].norm.weight
    (found,) = torch.autograd.grad(together.sum(), weight)
    step = 1e-6
    with torch.no_grad():
        weight[0] += step
    above = penalty().sum().item()
    with torch.no_grad():
        weight[0] -= 2 * step
    assert_close((above - penalty().sum().item()) / (2 * step), found[0].item(), rtol=1e-5, atol=1e-9)
    assert abs(found[0]) > 1e-6


def test_the_weights_learn_through_the_reference_too():
    net = judge(images())
    seen = []
    net.stages[0].register_forward_hook(lambda _, inputs, output: seen.append(output) or output.retain_grad())
    net(randn(2, 1, 8, 8, seed=1)).score[0].sum().backward()
    assert len(seen[0]) == 6 + 2
    assert seen[0].grad[:6].abs().flatten(1).amax(1).min() > 0


def test_conditions_are_part_of_the_reference():
    data = images(classes=3, given=2)
    net = judge(data)
    assert net.reference.rows.shape == (6, 3, 8, 8)
    assert_close(net.reference.rows[:, 1:], randn(6, 2, 8, 8, seed=3))
    score = net(randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), randn(4, 2, 8, 8)).score[0]
    assert score.shape == (4,)


def test_the_reference_is_a_copy_and_not_kept_with_the_weights():
    net, rows = judge(images()), randn(6, 1, 8, 8)
    net.reference.refer({"x": rows})
    wanted = rows.clone()
    rows.zero_()
    assert_close(net.reference.rows, wanted, rtol=0, atol=0)
    assert [k for k in net.state_dict() if "reference" in k] == []
    assert_close(copy.deepcopy(net)(wanted).score[0], net(wanted).score[0], rtol=0, atol=0)
    assert net.float().reference.rows.dtype == torch.float32


def test_a_discriminator_without_its_reference_says_so():
    net = DISCRIMINATORS.build("dcgan(width=4, norm=reference)", images())
    with pytest.raises(UsageError, match=r"no reference batch yet.*call refer"):
        net(randn(2, 1, 8, 8))


def test_a_reference_of_another_shape_is_refused():
    with pytest.raises(UsageError, match=r"judges x \[1, 8, 8\].*hold x \[3, 8, 8\].*another norm"):
        ShownReference(images()).refer({"x": randn(2, 3, 8, 8)})
    with pytest.raises(UsageError, match="hold x"):
        ShownReference(images(given=1)).refer({"x": randn(2, 1, 8, 8)})


@pytest.mark.parametrize("kind", [GENERATORS, DISCRIMINATORS])
def test_dropout_beside_a_reference_is_refused(kind):
    with pytest.raises(UsageError, match=r"dropout=0\.5.*Use dropout=0"):
        kind.build("dcgan(norm=reference, dropout=0.5)", images())


# ------------------------------------------------------------------------------------------------- generator


def make(classes: int = 0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return GENERATORS.build("dcgan(width=4, latent=6, norm=reference)", images(classes))


def test_a_sample_is_the_same_alone_in_company_and_in_evaluation():
    net, z = make(), randn(5, 6)
    found = net(z)
    assert found.shape == (5, 1, 8, 8)
    for row in range(5):
        assert_close(net(z[row : row + 1])[0], found[row])
    assert_close(net.eval()(z), found, rtol=0, atol=0)
    assert not couples_batch(net)


def test_the_reference_of_a_generator_belongs_to_its_weights():
    net = make(classes=10)
    rows = net.state_dict()["reference.rows"]
    assert rows.shape == (64, 6 + 10)
    assert_close(rows[:, 6:].argmax(1), torch.arange(64) % 10)
    assert_close(rows[:, 6:].sum(1), torch.ones(64))
    assert abs(rows[:, :6].mean()) < 0.2
    assert abs(rows[:, :6].std() - 1) < 0.2
    assert_close(rows, make(classes=10).state_dict()["reference.rows"], rtol=0, atol=0)
    other = make(classes=10, seed=1)
    assert not torch.equal(rows, other.state_dict()["reference.rows"])
    other.load_state_dict(net.state_dict())
    z, y = randn(3, 6), torch.tensor([1, 2, 3])
    assert_close(other(z, y), net(z, y), rtol=0, atol=0)


def test_training_shows_the_discriminator_its_first_rows(tiny):
    overrides = {**tiny("reference-batch-norm"), "regularizers": "r1"}  # refused where layers couple the batch
    games = [assemble(resolve("reference-batch-norm", overrides).experiment) for _ in range(2)]
    first, again = (game.networks["discriminator"].reference.rows for game in games)
    assert first.shape == (64, 1, 8, 8)
    assert_close(first, again, rtol=0, atol=0)
    game = games[0]
    before = [p.clone() for p in game.networks["discriminator"].parameters()]
    report = Table(game).turn("discriminator", game.players["discriminator"], Clock(), None)
    assert report.terms["r1"] > 0
    moved = [not torch.equal(a, b) for a, b in zip(before, game.networks["discriminator"].parameters(), strict=True)]
    assert all(moved)


# --------------------------------------------------------------------------------------- minibatch statistics


@pytest.mark.parametrize("network", ["dcgan(width=4", "mlp(width=8"])
@pytest.mark.parametrize(("kind", "more"), [("stddev", 1), ("discrimination", 50)])
def test_statistics_of_the_batch_stand_beside_the_last_features(network, kind, more):
    plain = DISCRIMINATORS.build(f"{network})", images())
    net = DISCRIMINATORS.build(f"{network}, minibatch={kind})", images())
    assert net.head.linear.in_features == plain.head.linear.in_features + more
    assert couples_batch(net)
    assert not couples_batch(plain)
    x = randn(4, 1, 8, 8)
    with torch.no_grad():
        net.head.linear.weight[:, :-more] = 0.0  # only the statistics are left
    spread, alike = net(x).score[0], net(x[:1].expand(4, -1, -1, -1)).score[0]
    assert_close(alike, alike[:1].expand(4))
    assert (spread - alike).abs().max() > 1e-4
    assert all(len(h) == 4 for h in net(x).features)


@pytest.mark.parametrize("network", ["dcgan", "mlp"])
def test_without_options_the_weights_are_called_what_they_were(network):
    """Published runs are loaded by these names."""
    net = DISCRIMINATORS.build(f"{network}(width=4)", images())
    first = {"dcgan": ["stages.0.conv", "stages.1.conv"], "mlp": [f"layers.{i}.linear" for i in range(3)]}[network]
    assert list(net.state_dict()) == [f"{k}.{p}" for k in (*first, "head.linear") for p in ("weight", "bias")]
