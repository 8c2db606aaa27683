"""Closed forms, hand cases and cross-checks of the metrics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.metrics import distances
from gannet.metrics.distances import Frechet, Kernel, SlicedWasserstein
from gannet.metrics.manifold import Coverage, Density, Precision, Recall, radii
from gannet.metrics.modes import ClassKL, HighQuality, ModesCovered, ReverseKL


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def exact_gaussian(seed: int, n: int, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """`n` rows whose sample mean is exactly `mean` and whose covariance (N−1) is exactly `root rootᵀ`."""
    z = cloud(seed, n, root.shape[1])
    z = np.linalg.qr(z - z.mean(0))[0] * np.sqrt(n - 1)
    return (z - z.mean(0)) @ root.T + mean


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


# ------------------------------------------------------------------------------------------------------ Fréchet


def test_frechet_of_gaussians_with_one_basis():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.25, 0.5])
    turn = np.linalg.qr(cloud(7, 3, 3))[0]
    fake = exact_gaussian(0, 40, np.array([1.0, 0, 2]), turn * a)
    real = exact_gaussian(1, 90, np.array([0.0, 2, 2]), turn * b)
    assert_allclose(Frechet()(fake, real), 5.0 + ((a - b) ** 2).sum(), rtol=1e-10)


def test_frechet_with_fewer_samples_than_dimensions():
    # Covariances diag(4, 9, 0, …) and diag(1, 0, 16, 0, …): every pair of standard deviations counts once.
    eye = np.eye(12)
    fake = exact_gaussian(0, 3, np.zeros(12), eye[:, [0, 1]] * [2.0, 3.0])
    real = exact_gaussian(1, 4, eye[5], eye[:, [0, 2]] * [1.0, 4.0])
    assert_allclose(Frechet()(fake, real), 1 + (2 - 1) ** 2 + 9 + 16, rtol=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 80, 7), (5, 80, 7), (4, 6, 30)])
def test_frechet_equals_the_symmetric_eigenvalue_form(n, m, d):
    fake, real = cloud(0, n, d) @ cloud(5, d, d), cloud(1, m, d) + 0.3
    sx, sy = np.cov(fake.T), np.cov(real.T)
    values, vectors = np.linalg.eigh(sx)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    traced = np.sqrt(np.linalg.eigvalsh(root @ sy @ root).clip(0)).sum()
    expected = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * traced
    # The reference squares on the way, so it is the less exact of the two where covariances are singular.
    assert_allclose(Frechet()(fake, real), expected, rtol=1e-6)


def test_frechet_symmetry_rotation_and_zero():
    fake, real = cloud(0, 30, 5) * 2, cloud(1, 40, 5) + 1
    turn = np.linalg.qr(cloud(2, 5, 5))[0]
    value = Frechet()(fake, real)
    assert_allclose(Frechet()(real, fake), value, rtol=1e-12)
    assert_allclose(Frechet()(fake @ turn + 3, real @ turn + 3), value, rtol=1e-10)
    assert_allclose(Frechet()(3 * fake, 3 * real), 9 * value, rtol=1e-10)
    assert 0 <= Frechet()(fake, fake) < 1e-12
    assert_allclose(Frechet()(fake, fake + 0.5), 5 * 0.25, rtol=1e-10)


def test_frechet_of_a_collapsed_generator_is_finite():
    real = exact_gaussian(1, 50, np.zeros(4), np.diag([1.0, 2, 3, 4]))
    fake = np.tile([1.0, 0, 0, 0], (20, 1))
    assert_allclose(Frechet()(fake, real), 1 + 1 + 4 + 9 + 16, rtol=1e-10)


class Identity(torch.nn.Module):
    num_features = 6

    def forward(self, x):
        return x


def test_frechet_and_kernel_agree_with_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed: cross-check not made")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    fake, real = cloud(0, 40, 6), cloud(1, 40, 6) * 1.3 + 0.2
    theirs = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    kernel = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=40)
    for metric in (theirs, kernel):
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
    assert_allclose(Frechet()(fake, real), float(theirs.compute()), rtol=1e-9)
    # Kernel sums in another order, in their working precision.
    assert_allclose(Kernel()(fake, real), float(kernel.compute()[0]), rtol=1e-5)


# ------------------------------------------------------------------------------------------------------- kernel


def test_kernel_is_the_full_sample_u_statistic():
    fake, real = cloud(0, 4, 3), cloud(1, 6, 3) + 0.5

    def mean(a, b, own):
        values = [(a[i] @ b[j] / 3 + 1) ** 3 for i in range(len(a)) for j in range(len(b)) if own or i != j]
        return sum(values) / len(values)

    expected = mean(fake, fake, False) + mean(real, real, False) - 2 * mean(fake, real, True)
    assert_allclose(Kernel()(fake, real), expected, rtol=1e-12)
    assert_allclose(Kernel()(real, fake), expected, rtol=1e-12)


def test_kernel_hand_case_falls_below_zero_for_one_set_twice():
    # k(0,0) = 1, k(0,1) = 1, k(1,1) = 8: 1 + 1 − 2 · 11/4
    assert_allclose(Kernel()(column(0, 1), column(0, 1)), -3.5, rtol=1e-12)


# ------------------------------------------------------------------------------------------- sliced Wasserstein


@pytest.mark.parametrize(
    ("fake", "real", "square"),
    [
        (column(0), column(0, 1), 1 / 2),
        (column(3, 0), column(2, 0, 1), 7 / 6),
        (column(0, 1, 5), column(5, 0, 1), 0),
        (column(0, 1, 5), column(2, 3, 7), 4),
    ],
)
def test_sliced_wasserstein_on_a_line_is_exact(fake, real, square):
    assert_allclose(SlicedWasserstein(directions=3)(fake, real) ** 2, square, atol=1e-12)
    assert_allclose(SlicedWasserstein(directions=3)(real, fake) ** 2, square, atol=1e-12)


def test_sliced_wasserstein_of_a_shift():
    fake, shift = cloud(0, 50, 4), np.array([3.0, 0, 4, 0])
    assert_allclose(SlicedWasserstein(directions=20_000)(fake + shift, fake), 5 / 2, rtol=0.02)
    assert SlicedWasserstein()(fake, fake) == 0


def test_sliced_wasserstein_seeds():
    fake, real = cloud(0, 30, 8), cloud(1, 20, 8)
    few = [SlicedWasserstein(directions=4, seed=seed)(fake, real) for seed in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0] != few[2]


# ---------------------------------------------------------------------------- precision, recall, density, coverage


def test_neighbour_metrics_by_hand():
    # Real balls (k=1) have radius 1, fake balls 0.5. −1 is on the edge of 0's ball, 0 on the edge of −0.5's ball.
    real, fake = column(0, 1, 2, 3), column(-1, -0.5, 10, 10.5)
    assert Precision(k=1)(fake, real) == 2 / 4
    assert Recall(k=1)(fake, real) == 1 / 4
    assert Density(k=1)(fake, real) == 1 / 4
    assert Coverage(k=1)(fake, real) == 1 / 4


def test_density_exceeds_one_where_balls_overlap():
    assert Density(k=1)(column(1.5, 1.5, 1.5), column(0, 1, 2, 3)) == 2
    assert Density(k=2)(column(1.5), column(0, 1, 2, 3)) == 4 / 2  # radii 2, 1, 1, 2


def test_neighbour_metrics_equal_full_matrices():
    fake, real = cloud(0, 50, 3) * 0.8, cloud(1, 70, 3)

    def radius(a, k):
        return np.sort(np.linalg.norm(a[:, None] - a, axis=2), axis=1)[:, k]

    away = np.linalg.norm(fake[:, None] - real, axis=2)  # [n, m]
    assert Precision()(fake, real) == (away <= radius(real, 3)).any(1).mean()
    assert Recall()(fake, real) == (away <= radius(fake, 3)[:, None]).any(0).mean()
    assert_allclose(Density()(fake, real), (away < radius(real, 5)).sum() / (5 * 50), rtol=1e-12)
    assert Coverage()(fake, real) == (away < radius(real, 5)).any(0).mean()


def test_copies_have_radius_zero():
    real = cloud(0, 40, 16) * 30 + 100  # far from the origin, where |a|² + |b|² − 2ab would leave noise
    collapsed = np.tile(real[3], (10, 1))
    assert radii(collapsed, 3).tolist() == [0.0] * 10
    assert Recall()(collapsed, real) == 1 / 40
    assert Recall()(collapsed + 1e-6, real) == 0
    assert Precision()(collapsed, real) == 1
    assert Coverage()(real[:10], collapsed) == 0  # an open ball of radius 0 holds nothing
    assert Precision()(real[3:5], collapsed) == 1 / 2


def test_a_set_against_itself():
    x = cloud(0, 60, 4)
    assert [metric(x, x) for metric in (Precision(), Recall(), Coverage())] == [1, 1, 1]
    assert_allclose(Density()(x, x), 1.0, rtol=1e-12)  # each ball holds itself and k − 1 neighbours


def test_expected_coverage_of_equal_distributions():
    m, k = 200, 5
    expected = 1 - np.prod([(m - 1 - j) / (2 * m - 1 - j) for j in range(k)])
    found = [Coverage(k=k)(cloud(seed, m, 3), cloud(seed + 50, m, 3)) for seed in range(12)]
    assert_allclose(np.mean(found), expected, atol=0.01)


@pytest.mark.parametrize("metric", [Kernel(), SlicedWasserstein(), Precision(), Recall(), Density(), Coverage()])
def test_chunks_do_not_change_the_value(metric, monkeypatch):
    fake, real = cloud(0, 37, 3), cloud(1, 53, 3)
    whole = metric(fake, real)
    monkeypatch.setattr(distances, "ENTRIES", 200)
    assert len(list(distances.row_slices(37, 53))) == 13
    assert_allclose(metric(fake, real), whole, rtol=1e-12)


# -------------------------------------------------------------------------------------------------------- modes

SQUARE = SimpleNamespace(centres=np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]]), sigma=1.0)


def test_modes_by_hand():
    fake = np.array([[0, 0], [0, 2.9], [7.0, 0], [6.9, 0], [10, 10], [0, 5.5]])
    real = np.repeat(SQUARE.centres, 5, axis=0)
    assert (
        ModesCovered(SQUARE)(fake, real) == 3
    )  # (7, 0) is at exactly 3σ of the second, (0, 5.5) only nearest to the third
    assert HighQuality(SQUARE)(fake, real) == 4 / 6
    p = np.array([2, 2, 1, 1]) / 6  # nearest modes: 0, 0, 1, 1, 3, 2
    assert_allclose(ReverseKL(SQUARE)(fake, real), (p * np.log(p / 0.25)).sum(), rtol=1e-12)


def test_reverse_kl_extremes():
    real = np.repeat(SQUARE.centres, 5, axis=0)
    assert ReverseKL(SQUARE)(real + 0.1, real) == 0
    assert_allclose(ReverseKL(SQUARE)(real[:5], real), np.log(4), rtol=1e-12)
    with pytest.raises(DataError, match="nearest to mode 0: 10 are too few"):
        ReverseKL(SQUARE)(real, real[10:])


def test_real_gaussians_reach_the_known_high_quality_share():
    rng = np.random.default_rng(0)
    x = SQUARE.centres[rng.integers(4, size=20_000)] + rng.standard_normal((20_000, 2))
    assert_allclose(HighQuality(SQUARE)(x, x), 1 - np.exp(-4.5), atol=0.002)


def test_modes_need_a_source_that_knows_them():
    with pytest.raises(UsageError, match="does not know its modes"):
        ModesCovered(SimpleNamespace(centres=None, sigma=None))
    with pytest.raises(DataError, match="3 coordinates, the modes have 2"):
        ModesCovered(SQUARE)(cloud(0, 5, 3), cloud(1, 5, 3))


def test_class_kl_by_hand():
    real = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    fake = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    assert_allclose(ClassKL()(fake, real), 0.75 * np.log(3) + 0.25 * np.log(0.5), rtol=1e-12)
    assert ClassKL()(real, real) == 0


# -------------------------------------------------------------------------------------------------------- errors


def test_clouds_that_carry_no_distance_are_refused():
    good, bad = cloud(0, 10, 2), cloud(1, 10, 2)
    bad[4, 1] = np.nan
    with pytest.raises(DivergedError, match="1 of 10 generated rows are not finite, first row 4"):
        Frechet()(bad, good)
    with pytest.raises(DataError, match="1 of 10 reference rows are not finite, first row 4"):
        Frechet()(good, bad)
    with pytest.raises(DataError, match=r"\[10, 2\] and \[10, 3\]"):
        Kernel()(good, cloud(0, 10, 3))
    with pytest.raises(DataError, match="1 generated samples; this metric needs at least 2"):
        Frechet()(good[:1], good)
    with pytest.raises(DataError, match="3 reference samples; this metric needs at least 4"):
        Precision()(good, good[:3])
    assert Precision()(good, good[:4]) <= 1
    with pytest.raises(DataError, match="3 generated samples; this metric needs at least 4"):
        Recall()(good[:3], good)


@pytest.mark.parametrize(
    ("part", "option"), [(Precision, {"k": 0}), (Density, {"k": -1}), (SlicedWasserstein, {"directions": 0})]
)
def test_options_out_of_range(part, option):
    with pytest.raises(UsageError, match="="):
        part(**option)
