"""What every registered network promises, whatever its family: generated from the registries."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.parts import Advancing, Referring, couples_batch
from gannet.core.random import Draw, installed
from gannet.core.registry import DISCRIMINATORS, GENERATORS, NETWORKS, TRANSLATORS
from gannet.core.types import DataSpec, Field, Verdict
from gannet.networks.layers import downsample, upsample
from gannet.networks.sizes import plan

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 5, 9), (4, 30, 45), (2,)]
TAKES_VECTORS = {"mlp"}
TWO_NUMBERS = {"dirac"}  # the smallest game there is: no family of networks; tests/lab/test_phase.py
# Narrow networks: the promises do not depend on the width, the time does.
NARROW = {"generator": {"mlp": "mlp(8)"}, "discriminator": {"mlp": "mlp(8)"}, "translator": {}}
B = 4


def names(registry) -> list[str]:
    return [name for name in registry.names() if name not in TWO_NUMBERS]


def cases(kind: str, shapes=SHAPES):
    return [
        pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}")
        for name in names(NETWORKS[kind])
        for shape in shapes
        if len(shape) == 3 or name in TAKES_VECTORS
    ]


def spec_of(kind: str, name: str) -> str:
    has_width = "width" in NETWORKS[kind].options(name)
    return NARROW[kind].get(name, f"{name}(width=8)" if has_width else name)


def field(shape: tuple[int, ...]) -> Field:
    return Field(shape) if len(shape) == 3 else Field(shape, kind="points", range=None)


def data(shape: tuple[int, ...], classes: int = 0, given: tuple[int, ...] | None = None) -> DataSpec:
    fields = {"x": field(shape)} | ({"given": field(given)} if given else {})
    return DataSpec(fields, classes)


def build(kind: str, name: str, spec: DataSpec, seed: int = 0, options: str = "") -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[kind].build(options or spec_of(kind, name), spec)


def labels(classes: int, rows: int = B) -> torch.Tensor | None:
    return torch.arange(rows) % classes if classes else None


def images(shape: tuple[int, ...], rows: int = B, seed: int = 1) -> torch.Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def noise(net: nn.Module, rows: int = B) -> torch.Tensor:
    return torch.randn(rows, net.latent, generator=torch.Generator().manual_seed(2))


def wake(net: nn.Module) -> nn.Module:
    """Give the layers that start at zero on purpose some weight, so that what lies before them matters."""
    generator = torch.Generator().manual_seed(3)
    for parameter in net.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


def assert_gradients_reach(net: nn.Module) -> None:
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert silent == []


# ------------------------------------------------------------------------------------------------ generators


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(("name", "shape"), cases("generator"))
def test_generator_makes_samples_of_the_field_and_trains_every_parameter(name, shape, classes):
    net = wake(build("generator", name, data(shape, classes)))
    with installed(Draw(0, "test", 0, range(B))):  # without one, layers that add noise add none
        x = net(noise(net), labels(classes))
    assert x.shape == (B, *shape)
    assert x.dtype == torch.float32
    if len(shape) == 3:
        assert x.abs().max() <= 1
    assert x.std(0).mean() > 1e-4, "different latents must give different samples"
    (x * images(shape, seed=5)).sum().backward()
    assert_gradients_reach(net)


@pytest.mark.parametrize(("name", "shape"), cases("generator", [(1, 8, 8)]))
def test_generator_fills_another_range_and_stays_linear_without_one(name, shape):
    net = build("generator", name, DataSpec({"x": Field(shape, range=(0.0, 4.0))}))
    free = build("generator", name, DataSpec({"x": Field(shape, range=None)}))
    z = noise(net)
    assert_close(net(z), 2 + 2 * torch.tanh(free(z)))


@pytest.mark.parametrize("name", names(GENERATORS))
def test_generator_is_conditional_exactly_when_there_are_classes(name):
    net = build("generator", name, data((1, 8, 8), 10)).eval()
    z = noise(net)
    one, other = net(z, torch.zeros(B, dtype=torch.long)), net(z, torch.full((B,), 7))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(UsageError, match="10 classes"):
        net(z)
    plain = build("generator", name, data((1, 8, 8))).eval()
    assert plain(z).shape == (B, 1, 8, 8)


# -------------------------------------------------------------------------------------------- discriminators


def judge(net: nn.Module, shape, classes: int, x: torch.Tensor | None = None, given=None) -> Verdict:
    x = images(shape) if x is None else x
    return net(x, labels(classes, len(x)), given)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(("name", "shape"), cases("discriminator"))
def test_discriminator_scores_rows_and_trains_every_parameter(name, shape, classes):
    net = wake(build("discriminator", name, data(shape, classes)))
    verdict = judge(net, shape, classes)
    assert isinstance(verdict, Verdict)
    assert len(verdict.score) >= 1
    assert all(len(entry) == B and entry.isfinite().all() for entry in verdict.score)
    assert verdict.per_sample().shape == (B,)
    assert len(verdict.features) >= 1
    assert all(len(h) == B for h in verdict.features)
    sizes = [h.shape[2:].numel() for h in verdict.features]
    assert sizes == sorted(sizes, reverse=True), "features run from the finest grid to the coarsest"
    energy(verdict).backward()
    assert_gradients_reach(net)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(("name", "shape"), cases("discriminator", [(1, 8, 8), (1, 5, 9), (2,)]))
def test_discriminator_differentiates_twice(name, shape, classes):
    net = wake(build("discriminator", name, data(shape, classes)).double())
    x = images(shape).double().requires_grad_()

    def penalty() -> torch.Tensor:
        score = judge(net, shape, classes, x).per_sample().sum()
        return torch.autograd.grad(score, x, create_graph=True)[0].square().sum() / 2

    penalty().backward()
    parameter = next(p for p in net.parameters() if p.dim() > 1)
    index = torch.unravel_index(parameter.grad.abs().argmax(), parameter.shape)
    assert parameter.grad[index] != 0
    step = 1e-6
    with torch.no_grad():
        parameter[index] += step
    above = penalty().item()
    with torch.no_grad():
        parameter[index] -= 2 * step
    below = penalty().item()
    assert_close((above - below) / (2 * step), parameter.grad[index].item(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", names(DISCRIMINATORS))
def test_discriminator_rows_do_not_see_each_other_unless_declared(name):
    net = wake(build("discriminator", name, data((1, 8, 8))).double())
    assert not couples_batch(net), "the default discriminator must allow per-sample penalties"
    x = images((1, 8, 8)).double()
    other = x.clone()
    other[1:] = images((1, 8, 8), seed=9).double()[1:]
    first, second = judge(net, (1, 8, 8), 0, x).per_sample(), judge(net, (1, 8, 8), 0, other).per_sample()
    assert_close(first[0], second[0], rtol=1e-12, atol=1e-12)
    assert (first[1:] - second[1:]).abs().min() > 1e-8


@pytest.mark.parametrize("name", names(DISCRIMINATORS))
def test_discriminator_is_conditional_exactly_when_there_are_classes(name):
    net = build("discriminator", name, data((1, 8, 8), 10)).eval()
    x = images((1, 8, 8))
    one = net(x, torch.zeros(B, dtype=torch.long)).per_sample()
    other = net(x, torch.full((B,), 7)).per_sample()
    assert (one - other).abs().min() > 1e-6
    with pytest.raises(UsageError, match="pass y"):
        net(x)


@pytest.mark.parametrize("name", names(DISCRIMINATORS))
def test_discriminator_uses_what_is_given(name):
    net = build("discriminator", name, data((1, 8, 8), given=(2, 8, 8))).eval()
    x, given = images((1, 8, 8)), images((2, 8, 8), seed=4).requires_grad_()
    net(x, None, given).per_sample().sum().backward()
    assert (given.grad.flatten(1).abs().sum(1) > 0).all()
    with pytest.raises(UsageError, match="pass given"):
        net(x)


@pytest.mark.parametrize("name", [n for n in names(DISCRIMINATORS) if "spectral" in DISCRIMINATORS.options(n)])
def test_spectral_option_bounds_every_layer(name):
    net = build("discriminator", name, data((1, 8, 8), 10), options=f"{name}(width=8, spectral=true)")
    norms = [m for m in net.modules() if isinstance(m, Advancing)]
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
    assert len(norms) == len(layers) >= 3
    for _ in range(300):
        for norm in norms:
            norm.advance()
    for layer in layers:
        assert_close(torch.linalg.matrix_norm(layer.weight.flatten(1), 2), torch.tensor(1.0), rtol=1e-3, atol=1e-3)


# ----------------------------------------------------------------------------------------------- translators


@pytest.mark.parametrize(("name", "shape"), cases("translator", [s for s in SHAPES if len(s) == 3]))
def test_translator_turns_given_into_x_and_trains_every_parameter(name, shape):
    source = (2, *shape[1:])
    net = wake(build("translator", name, data(shape, given=source)))
    given = images(source).requires_grad_()
    x = net(given)
    assert x.shape == (B, *shape)
    assert x.abs().max() <= 1
    (x * images(shape, seed=5)).sum().backward()
    assert_gradients_reach(net)
    assert (given.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", TRANSLATORS.names())
def test_translator_says_what_is_missing(name):
    with pytest.raises(UsageError, match="given"):
        build("translator", name, data((1, 8, 8)))
    with pytest.raises(UsageError, match="one size"):
        build("translator", name, data((1, 8, 8), given=(1, 4, 4)))


# ------------------------------------------------------------------------------------------------ all of them


EVERY = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in NARROW for name in names(NETWORKS[kind])]


def having(option: str) -> list:
    return [case for case in EVERY if option in NETWORKS[case.values[0]].options(case.values[1])]


SHAPE, GIVEN = (3, 30, 45), (2, 30, 45)


def whole(kind: str, options: str = "", name: str = "", seed: int = 0) -> nn.Module:
    return build(
        kind,
        name,
        data(SHAPE, 0 if kind == "translator" else 10, None if kind == "generator" else GIVEN),
        seed,
        options,
    )


def answer(kind: str, net: nn.Module, change=lambda t: t) -> torch.Tensor | Verdict:
    if kind == "generator":
        return net(change(noise(net)), labels(10))
    if kind == "translator":
        return net(change(images(GIVEN)))
    return net(change(images(SHAPE)), labels(10), change(images(GIVEN, seed=4)))


def call(kind: str, net: nn.Module, change=lambda t: t) -> torch.Tensor:
    found = answer(kind, net, change)
    return found.score[0] if isinstance(found, Verdict) else found


def energy(found: torch.Tensor | Verdict) -> torch.Tensor:
    """Sum of squares of all that was answered: every score and every head."""
    outs = [*found.score, *found.heads.values()] if isinstance(found, Verdict) else [found]
    return torch.stack([out.square().sum() for out in outs]).sum()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_evaluation_is_deterministic_and_changes_no_state(kind, name):
    net = whole(kind, name=name).eval()
    before = copy.deepcopy(net.state_dict())
    assert_close(call(kind, net), call(kind, net), rtol=0, atol=0)
    assert_close(net.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_seed_decides_the_weights(kind, name):
    first, again, other = (whole(kind, name=name, seed=s).state_dict() for s in (0, 0, 1))
    assert_close(first, again, rtol=0, atol=0)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_state_round_trip(kind, name):
    net, other = whole(kind, name=name).eval(), whole(kind, name=name, seed=1).eval()
    assert (call(kind, net) - call(kind, other)).abs().max() > 1e-6
    other.load_state_dict(net.state_dict())
    assert_close(call(kind, net), call(kind, other), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_double_precision_agrees_with_single(kind, name):
    net = wake(whole(kind, name=name)).eval()
    single = call(kind, net)
    double = call(kind, net.double(), lambda t: t.double())
    assert double.dtype == torch.float64
    assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_channels_last_changes_nothing(kind, name):
    net = wake(whole(kind, name=name).double()).eval()
    plain = call(kind, net, lambda t: t.double())
    net = net.to(memory_format=torch.channels_last)
    last = call(kind, net, lambda t: t.double().to(memory_format=torch.channels_last) if t.dim() == 4 else t.double())
    assert_close(plain, last, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_shapes_can_be_asked_on_the_meta_device(kind, name):
    real = call(kind, whole(kind, name=name).eval())
    with torch.device("meta"):
        net = whole(kind, name=name).eval()
        assert all(p.is_meta for p in net.parameters())
        z = None if kind != "generator" else torch.empty(B, net.latent)
        y, x, given = torch.zeros(B, dtype=torch.long), torch.empty(B, *SHAPE), torch.empty(B, *GIVEN)
        arguments = {"generator": (z, y), "translator": (given,), "discriminator": (x, y, given)}[kind]
        out = net(*arguments)
    out = out.score[0] if kind == "discriminator" else out
    assert out.is_meta
    assert out.shape == real.shape


@pytest.mark.parametrize(("kind", "name"), having("norm"))
def test_every_normalisation_and_initialisation_trains(kind, name):
    options = NETWORKS[kind].options(name)
    pairs = [("norm", v) for v in options["norm"].type.__args__] + [("init", v) for v in options["init"].type.__args__]
    for key, value in pairs:
        net = whole(kind, options=f'{name}(width=8, {key}="{value}")')
        for module in net.modules():
            if isinstance(module, Referring):
                module.refer({"x": images(SHAPE, seed=6), "y": labels(10), "given": images(GIVEN, seed=7)})
        with installed(Draw(0, "test", 0, range(B))):  # without one, layers that add noise add none
            out = energy(answer(kind, net))
        out.backward()
        assert out.isfinite(), (key, value)
        assert_gradients_reach(net)


@pytest.mark.parametrize(("kind", "name"), having("dropout"))
def test_dropout_follows_the_installed_draw(kind, name):
    net = whole(kind, options=f"{name}(width=8, dropout=0.5)")

    def run(step: int) -> torch.Tensor:
        with installed(Draw(0, "test", step, range(B))):
            return call(kind, net)

    assert_close(run(0), run(0), rtol=0, atol=0)
    assert (run(0) - run(1)).abs().max() > 1e-7
    net.eval()
    assert_close(call(kind, net), call(kind, net), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_wrong_sizes_are_refused_in_words(kind, name):
    wrong = [o for o in ("width", "latent", "blocks", "layers", "max_width") if o in NETWORKS[kind].options(name)]
    for option in wrong:
        with pytest.raises(UsageError, match=f"{option}=0"):
            whole(kind, options=f"{name}({option}=0)")
    if name not in TAKES_VECTORS:
        with pytest.raises(UsageError, match="shape"):
            build(kind, name, data((2,), given=None if kind == "generator" else (2,)))


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6])
def test_any_kernel_keeps_the_size(kernel):
    spec, options = data((1, 30, 45)), f"dcgan(width=4, kernel={kernel})"
    net = build("generator", "dcgan", spec, options=options)
    assert net(noise(net)).shape == (B, 1, 30, 45)
    other = build("discriminator", "dcgan", spec, options=options)
    verdict = judge(other, (1, 30, 45), 0)
    assert verdict.features[-1].shape == (B, 16, 4, 6)


@pytest.mark.parametrize(
    ("size", "depth"),
    [
        ((28, 28), 1),
        ((20, 24), 1),
        ((56, 56), 0),
        ((32, 32), 0),
        ((16, 16), 0),
        ((14, 14), 1),
        ((8, 8), 1),
        ((4, 4), 2),
    ],
)
def test_images_that_are_halved_little_get_depth(size, depth):
    """28 → 14 → 7 and 20×24 → 5×6 stop above 4×4; 14 → 7 and 8 → 4 are halved once, 4×4 is not."""
    spec = data((1, *size))
    net, other = build("generator", "dcgan", spec), build("discriminator", "dcgan", spec)
    assert (len(net.deep), len(other.stages) - other.grid.stages) == (depth, depth)
    told = [build(kind, "dcgan", spec, options="dcgan(depth=3)") for kind in ("generator", "discriminator")]
    assert (len(told[0].deep), len(told[1].stages) - told[1].grid.stages) == (3, 3)


def test_grouped_residual_blocks_need_a_divisor():
    net = build("generator", "residual", data((1, 8, 8)), options="residual(width=8, group_size=4, blocks=2)")
    assert net.stages[0].block0.mix.groups == 8
    with pytest.raises(UsageError, match="divisor of 32"):
        build("generator", "residual", data((1, 8, 8)), options="residual(width=8, group_size=5)")


@pytest.mark.parametrize(
    ("size", "start", "stages"),
    [
        ((8, 8), (4, 4), 1),
        ((28, 28), (7, 7), 2),
        ((32, 32), (4, 4), 3),
        ((64, 64), (4, 4), 4),
        ((29, 29), (4, 4), 3),
        ((30, 45), (4, 6), 3),
        ((5, 9), (3, 5), 1),
        ((7, 7), (4, 4), 1),
        ((1, 40), (1, 40), 0),
    ],
)
def test_the_plan_of_grids(size, start, stages):
    grid = plan(size)
    assert (grid.start, grid.stages) == (start, stages)
    x = images((1, *size))
    padded = grid.pad(x)
    assert padded.shape[2:] == grid.padded
    assert_close(grid.crop(padded), x, rtol=0, atol=0)
    assert_close(padded.sum(), x.sum())


@pytest.mark.parametrize("how", [upsample, downsample])
def test_resampling_keeps_its_kind_of_number(how):
    x = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    for kind in (torch.float64, torch.bfloat16):
        made = how(x.to(kind))
        assert made.dtype == kind
        torch.testing.assert_close(made.float(), how(x.to(kind).float()), rtol=1e-2, atol=1e-2)
    exact = how(x.double())
    assert not torch.equal(exact, exact.float().double())  # not by way of single precision
