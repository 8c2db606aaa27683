"""The densities against their formulas."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.data.plane import gaussians, kernel, strung
from gannet.data.points import SHAPES, PointCloud


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_seen_deterministic_and_independent(name):
    source, again, other = (
        PointCloud(name=name, n=4000),
        PointCloud(name=name, n=4000),
        PointCloud(name=name, n=4000, seed=1),
    )
    x = source.split("train").fields["x"]
    low, high = SHAPES[name].view
    inside = ((x >= low) & (x <= high)).all(1).float().mean()
    assert inside > 0.98
    assert x.isfinite().all()
    assert_close(x, again.split("train").fields["x"], rtol=0, atol=0)
    assert source.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (x[:100] != source.split("test").fields["x"][:100]).all(1).all()
    assert_close(x.mean(0), source.split("test").fields["x"].mean(0), rtol=0, atol=0.1 * (high - low) / 2)


@pytest.mark.parametrize(
    ("name", "k"), [("ring-8", 8), ("grid-25", 25), ("disjoint", 3), ("gaussian-1d", 1), ("mixture-1d", 3)]
)
def test_mixtures_expose_their_modes(name, k):
    source = PointCloud(name=name)
    x = source.split("train").fields["x"].double()
    assert source.centres.shape == (k, x.shape[1])
    distance, mode = torch.cdist(x, torch.from_numpy(source.centres)).min(1)
    assert_close(mode.bincount(minlength=k) / len(x), torch.full((k,), 1 / k), rtol=0, atol=0.02)
    # E|x − centre|² = D σ² holds only if the spread is σ on every axis.
    assert_close((distance**2).mean().sqrt().item(), source.sigma * x.shape[1] ** 0.5, rtol=0.03, atol=0)


def test_benchmark_mixtures_stand_where_the_papers_put_them():
    ring, grid = SHAPES["ring-8"], SHAPES["grid-25"]
    np.testing.assert_allclose(np.linalg.norm(ring.centres, axis=1), 1, atol=1e-12)
    assert (ring.sigma, grid.sigma) == (0.01, 0.05)
    assert {tuple(c) for c in grid.centres} == {(a, b) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)}


def test_line_and_ring_follow_their_curves():
    line = PointCloud(name="line").split("train").fields["x"].double()
    # (0.8 − 0.75u, 0.6 + 0.3u): y = 0.92 − 0.4 x; the noise of that difference is 0.01·√1.16.
    rest = line[:, 1] - (0.92 - 0.4 * line[:, 0])
    assert_close(rest.std().item(), 0.01 * 1.16**0.5, rtol=0.03, atol=0)
    assert_close(line[:, 0].mean().item(), 0.8 - 0.375, rtol=0, atol=0.01)
    ring = PointCloud(name="ring").split("train").fields["x"].double()
    assert_close(ring.mean(0), torch.tensor([0.5, 0.45]).double(), rtol=0, atol=0.01)
    assert_close(ring.var(0), torch.tensor([0.3**2 / 2, 0.25**2 / 2]).double() + 0.025**2, rtol=0.05, atol=0)


def test_gaussians_have_their_own_spreads():
    source = PointCloud(name="gaussians", classes=True)
    rows = source.split("train").fields
    for k, (mean, std) in enumerate([((0.3, 0.7), (0.1, 0.1)), ((0.7, 0.4), (0.05, 0.2))]):
        x = rows["x"][rows["y"] == k]
        assert_close(x.mean(0), torch.tensor(mean), rtol=0, atol=0.01)
        assert_close(x.std(0), torch.tensor(std), rtol=0.05, atol=0)


def test_checkerboard_fills_every_second_square():
    x = PointCloud(name="checkerboard").split("train").fields["x"]
    square = (x + 2).floor().long()
    assert (square.sum(1) % 2 == 0).all()
    counts = (square[:, 0] * 4 + square[:, 1]).bincount(minlength=16)
    assert_close(counts[counts > 0] / len(x), torch.full((8,), 1 / 8), rtol=0, atol=0.01)


def test_components_are_classes_only_when_asked_and_labels_keep_them():
    assert PointCloud(name="ring-8").spec.classes == 0
    shown = PointCloud(name="ring-8", classes=True, labels=(6, 2))
    assert shown.spec.names == ("6", "2")
    rows = shown.split("train").fields
    nearest = torch.cdist(rows["x"].double(), torch.from_numpy(shown.centres)).argmin(1)
    assert_close(nearest, rows["y"], rtol=0, atol=0)
    hidden = PointCloud(name="ring-8", labels=(6, 2))
    assert_close(hidden.split("train").fields["x"], rows["x"], rtol=0, atol=0)
    assert hidden.spec.classes == 0


def test_wrong_options_teach():
    with pytest.raises(UsageError, match=r"Did you mean: ring-8"):
        SOURCES.build("points(name=ring8)")
    with pytest.raises(UsageError, match="n=0"):
        PointCloud(n=0)
    with pytest.raises(UsageError, match="no components"):
        PointCloud(name="line", classes=True)


def test_curves_are_as_thin_as_their_noise():
    moons = PointCloud(name="moons", classes=True).split("train").fields
    upper = torch.where(moons["y"][:, None] == 0, moons["x"], -moons["x"]) + torch.tensor([0.5, 0.25])
    assert_close((upper.norm(dim=1) - 1).std().item(), 0.05, rtol=0.05, atol=0)
    wheel = PointCloud(name="pinwheel", classes=True).split("train").fields
    x = wheel["x"].double()
    radius = x.norm(dim=1)
    # Turned back by its own twist, every blade lies along the first axis with 0.05 across.
    back = torch.atan2(x[:, 1], x[:, 0]) - 2 * torch.pi * wheel["y"] / 5 - 0.25 * radius.exp()
    assert_close((radius * back.sin()).std().item(), 0.05, rtol=0.1, atol=0)
    assert_close([radius.mean().item(), radius.std().item()], [1.0, 0.3], rtol=0.02, atol=0)


def lattice(low, high, n, dimensions=2):
    """Centres of n cells a side, `[n ** D, D]`."""
    axis = low + (np.arange(n) + 0.5) * (high - low) / n
    return np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)


@pytest.mark.parametrize("name", ["line", "gaussians", "ring", "disjoint", "moons", "spiral", "checkerboard"])
def test_a_density_says_how_many_points_fall_where(name):
    source = PointCloud(name=name)
    x = source.split("train").fields["x"].double().numpy()
    low, high = source.view
    share = source.density(lattice(low, high, 120)).reshape(12, 10, 12, 10).mean((1, 3)) * ((high - low) / 12) ** 2
    expected = share * len(x)
    seen = np.histogram2d(x[:, 0], x[:, 1], bins=12, range=[(low, high)] * 2)[0]
    some = expected > 5
    chi = ((seen - expected)[some] ** 2 / expected[some]).sum()
    assert abs(chi - some.sum()) < 5 * (2 * some.sum()) ** 0.5
    assert seen[~some].sum() < 5 * some.size**0.5


def test_a_mixture_has_its_closed_form_and_keeps_components():
    source = PointCloud(name="ring-8", labels=(6, 2))
    x = source.centres[:1] + np.array([0.01, -0.02])
    alone = np.exp(-5 / 2) / (2 * np.pi * 0.01**2)
    np.testing.assert_allclose(source.density(x), alone / 2, rtol=1e-9)
    np.testing.assert_allclose(PointCloud(name="ring-8").density(x), alone / 8, rtol=1e-9)
    line = np.linspace(-4, 4, 2001)[:, None]
    np.testing.assert_allclose(SHAPES["mixture-1d"].density(line).sum() * 0.004, 1, rtol=1e-9)
    assert PointCloud(name="pinwheel").density is None


def test_what_is_strung_along_a_segment_has_the_closed_form():
    from math import erf, sqrt

    found = strung([lambda u: np.stack([2 * u, 0 * u], axis=1)], 0.05)(np.array([[0.03, 0.1], [1.0, 0.0], [2.2, 0.0]]))
    for value, (x, y) in zip(found, [(0.03, 0.1), (1.0, 0.0), (2.2, 0.0)], strict=True):
        along = (erf(x / 0.05 / sqrt(2)) - erf((x - 2) / 0.05 / sqrt(2))) / 2 / 2
        np.testing.assert_allclose(value, along * np.exp(-((y / 0.05) ** 2) / 2) / (0.05 * sqrt(2 * np.pi)), rtol=1e-9)


def test_a_kernel_estimate_is_near_the_density_and_never_finer_than_asked():
    truth = gaussians(np.array([[-1.0, 0.0], [1.0, 0.5]]), 0.1)
    rng = np.random.default_rng(0)
    rows = truth.centres[rng.integers(2, size=2000)] + 0.1 * rng.standard_normal((2000, 2))
    x = lattice(-2, 2, 100)
    p, q = truth(x), kernel(rows, 0.02)(x)
    assert np.abs(p - q).sum() * 0.04**2 < 0.2
    assert kernel(np.zeros((50, 2)), 0.02).spreads.min() == 0.02
