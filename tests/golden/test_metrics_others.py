"""Fréchet from statistics, kernel subsets, classifier score, path length, histogram divergences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.types import DataSpec, Field
from gannet.metrics import distances
from gannet.metrics.distances import Frechet, Kernel, KernelSubsets, frechet_from, moments
from gannet.metrics.diversity import ClassifierScore
from gannet.metrics.histogram import HistogramJS, HistogramKL
from gannet.metrics.smoothness import PathLength


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


# ------------------------------------------------------------------------------------------------------- Fréchet


@pytest.mark.parametrize("rows", [(200, 300), (200, 9), (12, 13), (13, 12), (5, 4), (2, 300)])
def test_rows_and_their_statistics_have_one_distance(rows):
    d = 12
    fake, real = cloud(0, rows[0], d) @ cloud(5, d, d), cloud(1, rows[1], d) @ cloud(6, d, d) + 0.3
    by_factors = Frechet()(fake, real)
    assert_allclose(frechet_from(*moments(fake), *moments(real)), by_factors, rtol=1e-7)
    sx, sy = np.cov(fake.T), np.cov(real.T)
    values, vectors = np.linalg.eigh(sx)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    traced = np.sqrt(np.linalg.eigvalsh(root @ sy @ root).clip(0)).sum()
    expected = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * traced
    assert_allclose(by_factors, expected, rtol=1e-6)


def test_moments_are_those_of_numpy_in_any_chunks_and_precision(monkeypatch):
    rows = cloud(0, 500, 7) @ cloud(1, 7, 7) + 1e4
    for chunk in (distances.ENTRIES, 30):
        monkeypatch.setattr(distances, "ENTRIES", chunk)
        for given in (rows, rows.astype(np.float32)):
            mean, cov = moments(given)
            assert mean.dtype == cov.dtype == np.float64
            assert_allclose(mean, given.astype(np.float64).mean(0), rtol=1e-12)
            assert_allclose(cov, np.cov(given.astype(np.float64).T), rtol=1e-9)


def test_features_that_never_vary_cost_no_digits():
    fake, real = np.maximum(cloud(0, 100, 8), 0), np.maximum(cloud(1, 90, 8) + 0.1, 0)
    dead = np.zeros((1, 20))
    wide = [np.hstack([x, np.repeat(dead, len(x), axis=0)]) for x in (fake, real)]
    assert_allclose(Frechet()(*wide), Frechet()(fake, real), rtol=1e-12)
    assert_allclose(Frechet()(*(np.hstack([x, x]) for x in (fake, real))), 2 * Frechet()(fake, real), rtol=1e-7)
    assert_allclose(Frechet()(wide[0], wide[0]), 0, atol=1e-12)


def test_a_long_tail_of_small_variances_is_kept():
    scale = 10.0 ** -np.linspace(0, 6, 30)
    fake, real = cloud(0, 400, 30) * scale, cloud(1, 400, 30) * scale
    qr = [np.linalg.qr((x - x.mean(0)) / np.sqrt(399), mode="r") for x in (fake, real)]
    root = np.linalg.svd(qr[0] @ qr[1].T, compute_uv=False).sum()
    shift = fake.mean(0) - real.mean(0)
    assert_allclose(Frechet()(fake, real), shift @ shift + sum((r**2).sum() for r in qr) - 2 * root, rtol=1e-9)


def test_statistics_that_carry_no_distance_are_refused():
    mean, cov = moments(cloud(0, 9, 3))
    with pytest.raises(DataError, match=r"\[\[3\], \[3, 3\], \[2\], \[2, 2\]\]"):
        frechet_from(mean, cov, mean[:2], cov[:2, :2])
    with pytest.raises(DataError, match="not finite"):
        frechet_from(mean, cov, mean * np.nan, cov)


def test_a_report_of_frechet_needs_a_covariance_of_full_rank():
    assert Frechet().report_rows(2048) == 2049
    for rows, full in ((64, False), (65, True)):
        assert (np.linalg.matrix_rank(moments(cloud(0, rows, 64))[1]) == 64) == full


# -------------------------------------------------------------------------------------------------------- kernel


def test_kernel_subsets_estimate_the_kernel_distance():
    fake, real = cloud(0, 300, 5), cloud(1, 200, 5) * 1.4
    metric = KernelSubsets(subsets=400, size=50)
    values = metric.values(fake, real)
    assert values.shape == (400,)
    assert metric(fake, real) == values.mean()
    assert len(np.unique(values)) == 400
    assert_allclose(metric(fake, real), Kernel()(fake, real), atol=4 * values.std() / 20)
    assert metric(fake, real) == KernelSubsets(subsets=400, size=50, seed=0)(fake, real)
    assert metric(fake, real) != KernelSubsets(subsets=400, size=50, seed=1)(fake, real)


def test_a_subset_never_has_a_row_twice():
    # Of all rows but one, a kernel that saw a row twice would be far off.
    fake, real = cloud(0, 20, 3), cloud(1, 20, 3)
    alone = [Kernel()(np.delete(fake, i, 0), np.delete(real, j, 0)) for i in range(20) for j in range(20)]
    for value in KernelSubsets(subsets=5, size=19)(fake, real), *KernelSubsets(subsets=5, size=19).values(fake, real):
        assert min(alone) - 1e-12 <= value <= max(alone) + 1e-12


@pytest.mark.parametrize("option", [{"subsets": 0}, {"size": 1}])
def test_subsets_out_of_range(option):
    with pytest.raises(UsageError, match="100 of 1000 are usual"):
        KernelSubsets(**option)
    with pytest.raises(DataError, match="40 generated samples; this metric needs at least 50"):
        KernelSubsets(size=50)(cloud(0, 40, 2), cloud(1, 60, 2))


# ---------------------------------------------------------------------------------------------- classifier score


def test_classifier_score_extremes():
    sure, none = np.eye(4), np.full((8, 4), 0.25)
    assert_allclose(ClassifierScore()(sure, none), 4, rtol=1e-12)  # clear samples of every class
    assert_allclose(ClassifierScore()(sure[[0, 0, 0]], none), 1, rtol=1e-12)  # of one class
    assert_allclose(ClassifierScore()(none, sure), 1, rtol=1e-12)  # of no class
    assert_allclose(ClassifierScore()(sure[[0, 0, 1]], none), 3 / 4 ** (1 / 3), rtol=1e-12)


def test_classifier_score_splits_are_contiguous_parts():
    p = np.random.default_rng(0).dirichlet(np.ones(5), 23)
    parts = [p[0:7], p[7:15], p[15:23]]
    assert_allclose(ClassifierScore(splits=3)(p, p), np.mean([ClassifierScore()(x, x) for x in parts]), rtol=1e-12)
    with pytest.raises(DataError, match="23 generated samples; this metric needs at least 24"):
        ClassifierScore(splits=24)(p, p)
    with pytest.raises(UsageError, match="splits=0"):
        ClassifierScore(splits=0)


@pytest.mark.parametrize("bad", [[[0.5, 0.6]], [[1.5, -0.5]]])
def test_classifier_score_reads_probabilities(bad):
    with pytest.raises(DataError, match="does not sum to 1"):
        ClassifierScore()(np.array(bad), np.array([[0.5, 0.5]]))


# --------------------------------------------------------------------------------------------------- path length


def test_path_length_drops_the_outer_percentiles():
    # |Δ|² = 0 … 300, a length every hundredth: percentile 1 is 3 and 99 is 297, both kept.
    steps = np.stack([np.sqrt(np.arange(301.0)) * 0.6, np.sqrt(np.arange(301.0)) * 0.8], axis=1)
    assert_allclose(PathLength()(steps, steps), 150, rtol=1e-12)
    heavy = steps.copy()
    heavy[-3:] *= 1e6
    assert_allclose(PathLength()(heavy, steps), 150, rtol=1e-12)
    heavy[-4:] *= 1e6
    assert PathLength()(heavy, steps) > 1e9


def test_path_length_percentiles_are_lengths_that_occur():
    # Of 10 the first percentile is between the least two and the last between the greatest two: all are kept.
    lengths = np.sqrt([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 1000])
    assert_allclose(PathLength()(lengths[:, None], lengths[:, None]), 104.5, rtol=1e-12)
    assert PathLength()(column(3), column()) == 9  # no reals are needed


def test_path_length_of_a_linear_generator():
    # f(G(z)) = Az along unit directions u: the mean of |Au|² is |A|²/d.
    a, rng = cloud(0, 6, 4), np.random.default_rng(1)
    u = rng.standard_normal((20_000, 4))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    assert_allclose(PathLength()(u @ a.T, u), (a**2).sum() / 4, rtol=0.02)


def test_path_length_refuses_what_has_no_length():
    with pytest.raises(DivergedError, match="1 of 2 generated rows are not finite, first row 1"):
        PathLength()(np.array([[0.0], [np.nan]]), column())
    with pytest.raises(DataError, match=r"steps \[n, d\]; received \[3\]"):
        PathLength()(np.ones(3), column())
    with pytest.raises(DataError, match="at least 1"):
        PathLength()(np.ones((0, 3)), column())


# ---------------------------------------------------------------------------------------------------- histograms

LINE = SimpleNamespace(spec=DataSpec({"x": Field((1,), kind="points", range=None)}))
PLANE = SimpleNamespace(spec=DataSpec({"x": Field((2,), kind="points", range=None)}))


def test_histogram_divergences_by_hand():
    # Cells of [0, 4]: below 1, 1 … 2, 2 … 3, from 3. −9 and 99 fall into the outer ones, an edge to its right.
    real, fake = column(0, 0.5, 2.5, 4), column(-9, 99, 1, 1.5)
    fakes, reals = HistogramKL(LINE, bins=4).counts(fake, real)
    assert fakes.tolist() == [1, 2, 0, 1]
    assert reals.tolist() == [2, 0, 1, 1]
    p, q = np.array([2.5, 0.5, 1.5, 1.5]) / 6, np.array([1.5, 2.5, 0.5, 1.5]) / 6
    assert_allclose(HistogramKL(LINE, bins=4)(fake, real), (p * np.log(p / q)).sum(), rtol=1e-12)
    # Shares without smoothing: ½, 0, ¼, ¼ and ¼, ½, 0, ¼.
    js = (np.log(4 / 3) / 2 + np.log(2) / 4 + np.log(2 / 3) / 4 + np.log(2) / 2) / 2
    assert_allclose(HistogramJS(LINE, bins=4)(fake, real), js, rtol=1e-12)
    assert_allclose(HistogramJS(LINE, bins=4)(real, np.array([[0.0], [4.0], [2.5], [0.5]])), 0, atol=1e-15)


def test_no_edge_cuts_the_modes_in_the_middle_of_symmetric_data():
    """Eight modes of deviation 0.01 on the unit circle, four of them on an axis: shifted by half that deviation they
    fall into the same cells. An edge through the middle cuts those four and reads ten times as much."""
    angle = np.pi / 4 * (np.arange(4000) % 8)
    modes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    real, fake = (modes + 0.01 * cloud(seed, 4000, 2) for seed in (0, 1))
    assert HistogramJS(PLANE)(fake + 0.005, real) < 0.003 < 0.015 < HistogramJS(PLANE, bins=20)(fake + 0.005, real)


@pytest.mark.parametrize("part", [HistogramKL, HistogramJS])
def test_no_sample_is_dropped_in_the_plane(part):
    fake, real = cloud(0, 100, 2) * 50, cloud(1, 130, 2)
    fakes, reals = part(PLANE).counts(fake, real)
    assert fakes.shape == reals.shape == (441,)
    assert (fakes.sum(), reals.sum()) == (100, 130)
    assert fakes.reshape(21, 21)[0, 0] == (fake < real.min(0) + np.ptp(real, axis=0) / 21).all(1).sum()


def test_histogram_divergences_at_their_ends():
    real = cloud(0, 2000, 2)
    away = np.tile(real.max(0) + 1, (2000, 1))
    assert HistogramJS(PLANE)(real, real) == 0
    assert HistogramKL(PLANE)(real, real) == 0
    below = real[(real < real.max(0) - np.ptp(real, axis=0) / 20).any(1)]
    assert_allclose(HistogramJS(PLANE)(np.tile(away[:1], (len(below), 1)), real), np.log(2), rtol=2e-3)
    assert HistogramKL(PLANE)(away, real) > 3
    assert HistogramKL(PLANE)(real[real[:, 0] > 0], real) > 1.5 * HistogramKL(PLANE)(cloud(1, 1000, 2), real)
    constant = np.ones((30, 2))  # an extent of no size
    assert HistogramKL(PLANE)(constant, constant) == 0
    assert HistogramJS(PLANE)(constant - 1, constant) == pytest.approx(np.log(2))


def test_many_samples_come_near_the_closed_form():
    # Uniform on [0, 1] against density 2x: cell i of 20 has 1/20 of the reals and (2i + 1)/400 of the fakes.
    rng = np.random.default_rng(0)
    real, fake = rng.random((200_000, 1)), np.sqrt(rng.random((200_000, 1)))
    p, q = np.full(20, 1 / 20), (2 * np.arange(20) + 1) / 400
    assert_allclose(HistogramKL(LINE)(fake, real), (p * np.log(p / q)).sum(), atol=0.004)
    m = (p + q) / 2
    js = (p * np.log(p / m) + q * np.log(q / m)).sum() / 2
    assert_allclose(HistogramJS(LINE)(fake, real), js, atol=0.001)


def test_histograms_are_refused_where_cells_would_be_empty():
    space = SimpleNamespace(spec=DataSpec({"x": Field((1, 8, 8))}))
    with pytest.raises(UsageError, match="64 coordinates; histograms are taken of 1 or 2"):
        HistogramKL(space)
    with pytest.raises(UsageError, match="bins=1"):
        HistogramJS(PLANE, bins=1)
