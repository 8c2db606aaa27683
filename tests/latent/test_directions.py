"""Directions, probes, activations and neighbours against what was planted, closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from gannet.core.errors import DataError, UsageError
from gannet.core.overrides import resolve
from gannet.core.random import Draw, generator
from gannet.core.types import DataSpec, Field
from gannet.data.array import ArraySource
from gannet.engine.assembly import assemble
from gannet.latent import activations
from gannet.latent.directions import attribute, principal, probe
from gannet.latent.neighbours import Training
from gannet.latent.starts import draw_of, generator_of, make, read
from gannet.tasks.synthesis import Synthesis

LATENT = 6


class Planted(nn.Module):
    """z [B, 6] → [B, 1, 4, 4] through one linear layer, whose singular values and right directions are given."""

    latent = LATENT

    def __init__(self, sizes: list[float], basis: torch.Tensor):
        super().__init__()
        left = torch.linalg.qr(torch.randn(16, LATENT, generator=generator(0, "left"))).Q
        self.linear = nn.Linear(LATENT, 16, bias=False)
        self.linear.weight.data = left @ torch.diag(torch.tensor(sizes)) @ basis.T
        self.image = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Tanh())

    def forward(self, z, y=None):
        return self.image(self.linear(z))


class Mapped(Planted):
    """The same, whose w is the linear layer's answer."""

    maps_latent, styles = True, 3

    def map(self, z, y=None, truncation=1.0):
        return truncation * self.linear(z).unsqueeze(1).expand(-1, self.styles, -1)

    def synthesise(self, w):
        return self.image(w.mean(1))


@pytest.fixture
def planted():
    basis = torch.linalg.qr(torch.randn(LATENT, LATENT, generator=generator(0, "basis"))).Q
    sizes = [5.0, 3.0, 2.0, 0.5, 0.4, 0.3]

    def task(kind):
        found = Synthesis(DataSpec({"x": Field((1, 4, 4))}))
        found.networks["generator"] = kind(sizes, basis)
        return found.eval()

    return task, torch.tensor(sizes), basis


def test_principal_directions_of_a_linear_generator_are_its_singular_ones(planted):
    task, sizes, basis = planted
    found = principal(task(Planted), count=3)
    assert found.space == "activations"
    torch.testing.assert_close(found.sd.float(), sizes[:3], rtol=0.03, atol=0)
    torch.testing.assert_close(found.share.float(), (sizes**2 / (sizes**2).sum())[:3], rtol=0.05, atol=0)
    agreed = (found.steps.float() @ basis[:, :3]).abs()
    # One standard deviation along a direction is one of the latent: the layer is linear.
    torch.testing.assert_close(agreed, torch.eye(3), rtol=0.02, atol=0.06)


def test_those_of_w_are_one_standard_deviation_long(planted):
    task, sizes, _ = planted
    made = task(Mapped)
    found = principal(made, count=3)
    assert found.space == "w"
    torch.testing.assert_close(found.steps.norm(dim=1), found.sd)
    torch.testing.assert_close(found.sd.float(), sizes[:3], rtol=0.03, atol=0)
    assert found.steps.abs().argmax(1).tolist() == found.steps.argmax(1).tolist()  # signs are settled


def test_directions_are_always_the_same_and_few_are_the_first_of_many(planted):
    one, other = (principal(planted[0](Planted), count=3) for _ in range(2))
    assert torch.equal(one.steps, other.steps)
    torch.testing.assert_close(principal(planted[0](Planted), count=2).share, one.share[:2])
    with pytest.raises(UsageError, match="1 to 64"):
        principal(planted[0](Planted), count=0)


def test_classes_are_no_direction(tiny):
    """A class's embedding moves the first layer most of all; directions are those within a class."""
    task = assemble(resolve("cgan", tiny("cgan", data="digits")).experiment).task.eval()
    linear = generator_of(task).stem.linear
    with torch.no_grad():
        linear.weight[:, 4:] *= 100
    found = principal(task, count=4)
    assert float(found.steps.norm(dim=1).min()) > 0.5


# ----------------------------------------------------------------------------------------------------------- probes


def test_a_probe_finds_a_planted_attribute():
    z = Draw(0, "z", 0, range(2000)).normal(10)
    normal = torch.nn.functional.normalize(torch.arange(10.0) - 3, dim=0)
    found = probe(z, z @ normal > 0.5)
    assert float(found.normal @ normal) > 0.99
    assert float(found.normal.norm()) == pytest.approx(1, abs=1e-6)
    assert found.accuracy > 0.95
    assert -found.bias == pytest.approx(0.5, abs=0.1)
    scored = probe(z, (z @ normal) ** 3)
    assert float(scored.normal @ normal) > 0.98
    moved = found.moved(z, 2.0)
    torch.testing.assert_close((moved - z) @ found.normal, torch.full((2000,), 2.0))


def test_an_attribute_of_samples_is_found_through_the_generator(planted):
    task, _, _ = planted
    made = task(Planted)
    found = attribute(made, lambda x: x[:, 0, 1, 2], rows=512)
    row = generator_of(made).linear.weight[6].detach()  # what makes the pixel of row 1, column 2
    assert float(found.normal @ nn.functional.normalize(row, dim=0)) > 0.97
    assert found.accuracy > 0.9
    in_w = attribute(task(Mapped), lambda x: x[:, 0, 1, 2] > 0, rows=512)
    assert int(in_w.normal.abs().argmax()) == 6 or in_w.accuracy > 0.9


def test_a_probe_refuses_what_says_nothing():
    z = Draw(0, "z", 0, range(100)).normal(4)
    with pytest.raises(DataError, match="too few of one kind"):
        probe(z, torch.ones(100, dtype=torch.bool))
    with pytest.raises(DataError, match="not finite"):
        probe(z, torch.full((100,), math.nan))
    with pytest.raises(DataError, match=r"scores \[N\]"):
        probe(z, torch.zeros(99))


# ------------------------------------------------------------------------------------------------------ activations


@pytest.mark.parametrize("preset", ["dcgan", "stylegan2", "biggan", "r3gan", "fastgan", "cgan"])
def test_activations_are_what_a_hook_hears(tiny, preset):
    task = assemble(resolve(preset, tiny(preset, data="digits")).experiment).task.eval()
    blends = [{n: 1.0} for n in range(3)]
    start = read(task, draw_of(blends))
    known = activations.layers(task)
    assert known
    x = make(task, start, blends)
    for name, shape in known.items():
        heard = []
        module = generator_of(task).get_submodule(name)
        hook = module.register_forward_hook(lambda _, __, output, heard=heard: heard.append(output.clone()))
        make(task, start, blends)
        hook.remove()
        found, same = activations.outputs(task, start, blends, name)
        assert torch.equal(found, heard[0][:3])
        assert tuple(found.shape[1:]) == shape
        assert torch.equal(same, x)
    assert not any(m._forward_hooks for m in task.modules())
    last = activations.outputs(task, start, blends, list(known)[-1])[0]
    assert torch.equal(last[..., :8, :8], x)


def test_a_layer_that_is_not_there_is_named_beside_those_that_are(tiny):
    task = assemble(resolve("dcgan", tiny("dcgan", data="digits")).experiment).task.eval()
    start = read(task, draw_of([{0: 1.0}]))
    with pytest.raises(UsageError, match=r"unknown layer 'stm'.*Did you mean: stem"):
        activations.outputs(task, start, [{0: 1.0}], "stm")


def test_an_early_answer_is_that_of_the_whole(tiny):
    task = assemble(resolve("dcgan", tiny("dcgan", data="digits")).experiment).task.eval()
    draw = Draw(0, "x", 0, range(8))
    start = read(task, draw)
    found = activations.early(task, start, Draw(0, "x", 0, range(8)), "stem")
    whole = activations.outputs(task, start, [{n: 1.0} for n in range(8)], "stem")[0]
    torch.testing.assert_close(found, whole)
    assert activations.first_layer(task) == "stem"
    assert not any(m._forward_hooks for m in task.modules())


# ------------------------------------------------------------------------------------------------------- neighbours


@pytest.fixture
def source():
    x = Draw(1, "images", 0, range(300)).uniform(5, 5, low=-1, high=1)
    levels = ((x + 1) * 127.5).round().to(torch.uint8)
    return ArraySource.from_arrays(levels.numpy())


def test_neighbours_are_those_of_brute_force(source, monkeypatch):
    monkeypatch.setattr("gannet.latent.neighbours.CHUNK", 37)  # several parts, whose best must be put together
    train, test = source.split("train"), source.split("test")
    rows = train.take(torch.arange(len(train)))["x"].double().flatten(1)
    asked = test.take(torch.arange(5))["x"]
    training = Training(source)
    distances, indices = training.nearest(asked, 6)
    away = torch.cdist(asked.double().flatten(1), rows, compute_mode="donot_use_mm_for_euclid_dist")
    best = away.topk(6, largest=False)
    np.testing.assert_allclose(distances, best.values.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(indices, best.indices.numpy())
    torch.testing.assert_close(training.images(indices[0]).double().flatten(1), rows[indices[0]])
    held = test.take(torch.arange(len(test)))["x"].double().flatten(1)
    nearest = torch.cdist(held, rows, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    if len(held) <= 128:
        assert training.typical == pytest.approx(float(np.median(nearest.numpy())), rel=1e-6)


def test_a_copy_is_at_no_distance(source):
    training = Training(source)
    copy = source.split("train").take(torch.tensor([7]))["x"]
    distances, indices = training.nearest(copy, 1)
    assert distances[0, 0] == 0
    assert indices[0, 0] == 7
    assert training.typical > 0.1


def test_of_many_rows_some_are_looked_through_and_keep_their_index(source, monkeypatch):
    monkeypatch.setattr("gannet.latent.neighbours.MOST", 20)
    training = Training(source)
    assert len(training) == 20
    copy = source.split("train").take(training.places[11:12])["x"]
    assert training.nearest(copy, 1)[1][0, 0] == training.places[11]
    with pytest.raises(UsageError, match="1 to 20"):
        training.nearest(copy, 21)


def test_neighbours_in_other_features(source):
    bright = Training(source, lambda x: x.flatten(1).mean(1, keepdim=True))
    x = torch.full((1, 1, 5, 5), 0.2)
    _, indices = bright.nearest(x, 1)
    train = source.split("train")
    means = train.take(torch.arange(len(train)))["x"].flatten(1).mean(1)
    assert indices[0, 0] == int((means - 0.2).abs().argmin())
