"""Metrics beside other people's code, on the same arrays.

Constants were made once with torch-fidelity 0.4.0, pytorch-fid 0.3.0 and clean-fid 0.1.35 (SciPy 1.17, NumPy 2.4) by
the call each of them names, of the arrays defined here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from gannet.metrics.distances import Frechet, Kernel, KernelSubsets, frechet_from, moments
from gannet.metrics.diversity import ClassifierScore
from gannet.metrics.manifold import Coverage, Density, Precision, Recall


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


FAKE, REAL = cloud(0, 300, 16), cloud(1, 250, 16) * 1.3 + 0.2
NEAR_FAKE, NEAR_REAL = cloud(0, 300, 5) * 0.8, cloud(1, 250, 5)
LOGITS = 2 * cloud(2, 100, 10)
CHANCES = torch.from_numpy(LOGITS).softmax(1).numpy()

FRECHET = {
    "torch-fidelity: fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real))": (
        2.765118041727547
    ),
    "pytorch-fid: calculate_frechet_distance(mean, np.cov(fake.T), mean, np.cov(real.T))": 2.7651180417275754,
    "clean-fid: frechet_distance(mean, np.cov(fake.T), mean, np.cov(real.T))": 2.7651180417275754,
}
KERNEL = {
    "torch-fidelity: kid_features_to_metric(fake[:250], real, kid_subsets=1, kid_subset_size=250)": 0.23200096873594678,
    "clean-fid: kernel_distance(fake[:250], real, 1, 250)": 0.23200096873594703,
}


@pytest.mark.parametrize("call", FRECHET)
def test_frechet(call):
    # torch-fidelity takes means in fp32.
    assert_allclose(Frechet()(FAKE, REAL), FRECHET[call], rtol=1e-9)
    assert_allclose(frechet_from(*moments(FAKE), *moments(REAL)), FRECHET[call], rtol=1e-9)


@pytest.mark.parametrize("call", KERNEL)
def test_kernel(call):
    assert_allclose(Kernel()(FAKE[:250], REAL), KERNEL[call], rtol=1e-12)


def test_kernel_subsets_of_everything_are_the_kernel_distance():
    whole = KernelSubsets(subsets=2, size=250)
    assert_allclose(
        whole.values(FAKE[:250], REAL), [KERNEL["clean-fid: kernel_distance(fake[:250], real, 1, 250)"]] * 2
    )


def test_precision_and_recall():
    # torch-fidelity: prc_features_to_metric(fake, real, prc_neighborhood=3)
    assert_allclose(Precision()(NEAR_FAKE, NEAR_REAL), 0.9733333587646484, rtol=1e-7)
    assert_allclose(Recall()(NEAR_FAKE, NEAR_REAL), 0.7799999713897705, rtol=1e-7)


def test_precision_recall_density_and_coverage_with_prdc():
    prdc = pytest.importorskip("prdc", reason="prdc is not installed: cross-check not made")
    for k in (1, 3, 5):
        theirs = prdc.compute_prdc(NEAR_REAL, NEAR_FAKE, k)  # its balls are all open; no distances tie here
        for metric, name in (
            (Precision, "precision"),
            (Recall, "recall"),
            (Density, "density"),
            (Coverage, "coverage"),
        ):
            assert_allclose(metric(k=k)(NEAR_FAKE, NEAR_REAL), theirs[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(("splits", "expected"), [(1, 2.8112257103885394), (7, 2.658990038970039)])
def test_classifier_score(splits, expected):
    # torch-fidelity: isc_features_to_metric(logits, splits=splits, shuffle=False)
    assert_allclose(ClassifierScore(splits=splits)(CHANCES, CHANCES), expected, rtol=1e-9)


class Identity(torch.nn.Module):
    num_features = 16

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed: cross-check not made")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    frechet = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    kernel = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=250)
    for metric in (frechet, kernel):
        metric.update(torch.from_numpy(REAL), real=True)
        metric.update(torch.from_numpy(FAKE[:250]), real=False)
    assert_allclose(Frechet()(FAKE[:250], REAL), float(frechet.compute()), rtol=1e-9)
    assert_allclose(Kernel()(FAKE[:250], REAL), float(kernel.compute()[0]), rtol=1e-5)  # its sums are in fp32
    score = InceptionScore(feature=Identity(), splits=1)
    score.update(torch.from_numpy(LOGITS))
    assert_allclose(ClassifierScore()(CHANCES, CHANCES), float(score.compute()[0]), rtol=1e-6)
