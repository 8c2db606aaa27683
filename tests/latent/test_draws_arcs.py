"""Chosen latents: rows of seeds, mixes that stay what they are, great arcs, the plane of seeds and closed ways."""

from __future__ import annotations

import math

import pytest
import torch

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.latent import arcs
from gannet.latent.draws import Mixed, Seeds
from gannet.latent.starts import draw_of

MANY = 20_000


# ------------------------------------------------------------------------------------------------------------ draws


def test_a_row_of_a_seed_is_that_seeds_first_sample():
    rows = Seeds([5, 0, 5, 9])
    for kind in ("normal", "uniform"):
        drawn = getattr(rows.child("layers"), kind)(3, 2)
        for row, seed in enumerate([5, 0, 5, 9]):
            alone = getattr(Draw(seed, "sample", 0, range(64)).child("layers"), kind)(3, 2)
            assert torch.equal(drawn[row], alone[0])
    first, second = rows.normal(4), rows.normal(4)
    assert torch.equal(second[3], _second(9)[0])
    assert not torch.equal(first, second)
    assert torch.equal(rows.child("labels").integers(10)[1], Draw(0, "sample", 0, [0]).child("labels").integers(10)[0])
    assert torch.equal(Seeds([5, 0, 5]).normal(4), Seeds([5, 0, 5, 9]).first(3).normal(4))


def _second(seed):
    draw = Draw(seed, "sample", 0, range(64))
    draw.normal(4)
    return draw.normal(4)


@pytest.fixture
def mix():
    """Twenty thousand rows a third of the way between two draws."""
    weights = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]).repeat(MANY, 1)
    return Mixed([Draw(seed, "x", 0, range(MANY)) for seed in (1, 2)], weights)


def test_a_mix_of_gaussians_is_a_gaussian(mix):
    n = mix.normal()
    assert abs(float(n.std()) - 1) < 0.02
    assert abs(float(n.mean())) < 0.03
    assert abs(float((n.abs() < 1).double().mean()) - 0.6827) < 0.012
    one, two = (Draw(seed, "x", 0, range(MANY)).normal() for seed in (1, 2))
    torch.testing.assert_close(n, math.cos(math.pi / 6) * one + math.sin(math.pi / 6) * two)


def test_a_mix_of_uniform_numbers_is_uniform(mix):
    u = mix.uniform(low=-1, high=3)
    assert float(u.min()) >= -1
    assert float(u.max()) <= 3
    shares = torch.histc(u, 8, -1, 3) / MANY
    assert float((shares - 1 / 8).abs().max()) < 0.012


def test_whole_numbers_are_those_of_the_nearer(mix):
    assert torch.equal(mix.integers(1000), Draw(1, "x", 0, range(MANY)).integers(1000))
    other = Mixed(mix.draws, mix.weights.flip(1))
    assert torch.equal(other.child("y").integers(1000), Draw(2, "x", 0, range(MANY)).child("y").integers(1000))


def test_a_row_of_weight_one_is_that_draw_to_the_bit():
    drawn = draw_of([{4: 1.0}, {7: 0.6, 4: 0.8}, {7: 1.0}])
    for kind in ("normal", "uniform"):
        found, own = getattr(drawn.child("a"), kind)(5), getattr(Seeds([4, 4, 7]).child("a"), kind)(5)
        assert torch.equal(found[0], own[0])
        assert torch.equal(found[2], own[2])
        assert not torch.equal(found[1], own[1])


def test_with_a_rest_only_normal_numbers_are_mixed():
    draw = Draw(3, "x", 0, range(9))
    mixed = Mixed([draw.child("a"), draw.child("b")], torch.tensor([[0.6, 0.8]]).repeat(9, 1), draw)
    assert torch.equal(mixed.child("labels").integers(10), draw.child("labels").integers(10))
    assert torch.equal(mixed.uniform(2), Draw(3, "x", 0, range(9)).uniform(2))
    torch.testing.assert_close(mixed.normal(2).shape, torch.Size([9, 2]))


# ------------------------------------------------------------------------------------------------------------- arcs


def test_slerp_is_the_closed_form():
    a, b = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    found = arcs.slerp(a, b, 1 / 3)
    torch.testing.assert_close(found, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6), 0]))
    c = torch.tensor([math.cos(1.0), math.sin(1.0), 0])
    torch.testing.assert_close(arcs.slerp(a, c, 0.25), torch.tensor([math.cos(0.25), math.sin(0.25), 0]))
    torch.testing.assert_close(arcs.slerp(a, 3 * b, 0.5).norm(), torch.tensor(2.0))
    torch.testing.assert_close(arcs.slerp(a, a, 0.3), a)
    with pytest.raises(UsageError, match="opposite"):
        arcs.slerp(a, -a, 0.5)


def test_between_seeds_is_cos_and_sin_and_of_one_point_the_point():
    found = arcs.between({1: 1.0}, {2: 1.0}, 0.25)
    assert found == pytest.approx({1: math.cos(math.pi / 8), 2: math.sin(math.pi / 8)})
    assert arcs.between({1: 1.0}, {2: 1.0}, 0) == {1: 1.0}
    assert arcs.between({1: 1.0}, {2: 1.0}, 1) == {2: 1.0}
    half = arcs.between({1: 1.0}, {2: 1.0}, 0.5)
    assert arcs.between(half, half, 0.7) == half
    assert arcs.between({1: 1.0}, half, 0.5) == pytest.approx(found)  # half of half the way


@pytest.mark.parametrize("at", [(0.0, 0.0), (0.3, 0.8), (-1.2, 7.5), (99.5, 3.0), (1e6, -1e6)])
def test_every_point_of_the_plane_has_a_latents_length(at):
    blend = arcs.plane(*at)
    assert math.fsum(c * c for c in blend.values()) == pytest.approx(1)
    assert 1 <= len(blend) <= 4
    assert all(0 <= seed < 2**63 for seed in blend)


def test_seeds_lie_on_the_lattice():
    for seed in (0, 7, 99, 100, 12_345):
        assert arcs.plane(*map(float, arcs.place(seed))) == {seed: 1.0}
    outside = [arcs.seed_at(*at) for at in [(-1, 0), (100, 0), (0, -1), (101, 0), (-1, -1)]]
    assert len({*outside, *range(20_000)}) == 20_005


def test_the_plane_has_no_jumps():
    for x in (0.999999, 1.000001):
        near = arcs.plane(x, 0.0)
        assert near[1] == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------------------------------------------------- ways


def test_a_way_passes_its_points_and_comes_back_without_a_seam():
    weights = arcs.way(3, 30, closed=True)
    assert torch.equal(weights[[0, 10, 20]], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(1), torch.ones(30, dtype=torch.float64))
    around = torch.cat([weights, weights[:2]])
    speed = around.diff(dim=0)
    assert float(speed.diff(dim=0).abs().max()) < 0.05  # no corner, not at a point nor at the seam
    assert float(speed.abs().max()) < 0.2


def test_an_open_way_ends_at_its_last_point():
    weights = arcs.way(4, 31, closed=False)
    assert torch.equal(weights[[0, 10, 20, 30]], torch.eye(4, dtype=torch.float64))
    assert torch.equal(arcs.way(1, 5, closed=False), torch.ones(5, 1, dtype=torch.float64))
    assert torch.equal(arcs.way(2, 1, closed=False), torch.tensor([[1.0, 0]], dtype=torch.float64))


def test_blends_along_a_way_keep_their_length():
    blends = arcs.blended([{1: 1.0}, {2: 1.0}, arcs.between({1: 1.0}, {3: 1.0}, 0.4)], arcs.way(3, 24, True))
    assert blends[0] == {1: 1.0}
    assert blends[8] == {2: 1.0}
    for blend in blends:
        assert math.fsum(c * c for c in blend.values()) == pytest.approx(1)


def test_a_way_of_nothing_is_refused():
    with pytest.raises(UsageError, match="0 frames"):
        arcs.way(3, 0, True)
    with pytest.raises(UsageError, match="through the middle"):
        arcs.blended([{1: 1.0}, {1: -1.0}], torch.tensor([[0.5, 0.5]]))
