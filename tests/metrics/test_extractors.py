"""What every registered extractor keeps, and the ones that need no labels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from gannet.core.errors import UsageError
from gannet.core.registry import EXTRACTORS, SOURCES
from gannet.data.memory import MemorySource
from gannet.metrics.distances import Frechet
from gannet.metrics.fitting import Recipe

SHAPES = {"mnist-classifier": (1, 28, 28)}
OFFLINE = [name for name in EXTRACTORS.names() if name != "inception"]
"""Inception needs weights that do not ship: tests/metrics/test_inception.py."""


def source_of(shape: tuple[int, ...], rows: int = 200, seed: int = 0) -> MemorySource:
    """Random images of three classes that differ in brightness."""
    rng = torch.Generator().manual_seed(seed)
    splits = []
    for count in (rows, 20):
        y = torch.arange(count) % 3
        x = torch.randint(0, 120, (count, *shape), generator=rng) + 60 * y.view(-1, *[1] * len(shape))
        splits.append({"x": x.to(torch.uint8), "y": y})
    return MemorySource(*splits, names=["dark", "grey", "light"])


@pytest.fixture(autouse=True)
def _own_cache_and_short_training(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("gannet.metrics.classifiers.Recipe", partial(Recipe, samples=1000))


def build(spec: str, shape: tuple[int, ...], source: MemorySource | None = None):
    part = EXTRACTORS.get(spec.split("(")[0])
    return EXTRACTORS.build(spec, (source or source_of(shape)) if getattr(part, "wants_source", False) else shape)


@pytest.mark.parametrize("name", OFFLINE)
def test_extractor_contract(name):
    shape = SHAPES.get(name, (1, 8, 8))
    extractor, again = build(name, shape), build(name, shape)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = extractor.features(x)
    assert features.dim() == 2
    assert len(features) == 5
    assert extractor.name == name
    assert extractor.protocol.startswith(name)
    assert extractor.protocol == again.protocol
    assert torch.equal(again.features(x), features)
    torch.testing.assert_close(torch.cat([extractor.features(row[None]) for row in x]), features, rtol=1e-4, atol=1e-5)
    assert (features.std(0) > 0).all()
    probabilities = extractor.probabilities(x)
    if probabilities is not None:
        torch.testing.assert_close(probabilities.sum(1), torch.ones(5))


@pytest.mark.parametrize("name", OFFLINE)
def test_what_it_suits_is_the_name_of_a_source_it_reads(name):
    for source in EXTRACTORS.get(name).suits:
        assert source.split("-")[-1] == name.split("-")[0]


# --------------------------------------------------------------------------------------------- random convolution


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (1, 28, 28), (4, 33, 20), (3, 64, 64)])
def test_random_convolution_reads_any_image(shape):
    features = build("random-conv", shape).features(torch.rand(2, *shape))
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


def test_random_convolution_is_fixed_by_its_options():
    of = [build(spec, (1, 8, 8)).protocol for spec in ("random-conv", "random-conv(seed=1)", "random-conv(width=4)")]
    assert len(set(of)) == 3
    # Weights come from a counter-free generator of PyTorch: this pins them, so stored numbers keep their meaning.
    assert of[0] == "random-conv@94e7ef32,8x8"


def test_extractors_refuse_what_they_cannot_read():
    with pytest.raises(UsageError, match=r"reads 1×8×8 digits, the samples are 1×28×28. Use random-conv"):
        build("digits-classifier", (1, 28, 28))
    with pytest.raises(UsageError, match="Use pixels"):
        build("random-conv", (2,))
    with pytest.raises(UsageError, match="width=0"):
        build("random-conv(width=0)", (1, 8, 8))


# --------------------------------------------------------------------------------------------------------------- pca


def test_principal_components_of_an_ellipse():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((4000, 3)) * [1.0, 5.0, 0.2] + [7, 8, 9]).float()
    extractor = build("pca(components=2)", (3,), MemorySource({"x": x}, {"x": x[:5]}))
    features = extractor.features(x)
    assert features.dtype == torch.float64
    assert_allclose(features.mean(0), [0, 0], atol=1e-12)
    assert_allclose(features.std(0), x.double().std(0)[[1, 0]], rtol=1e-3)  # largest first
    assert_allclose((features.T @ features)[0, 1], 0, atol=1e-8 * 4000)
    assert_allclose(extractor.basis.T @ extractor.basis, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("rows", [30, 200])  # fewer and more rows than the 64 numbers of a sample
def test_principal_components_keep_as_much_as_any_can(rows):
    source = source_of((1, 8, 8), rows)
    x = source.split("train").take(torch.arange(rows))["x"].double().flatten(1)
    singular = torch.linalg.svdvals(x - x.mean(0))
    features = build("pca(components=20)", (1, 8, 8), source).features(x.view(-1, 1, 8, 8))
    assert_allclose(features.norm(dim=0), singular[:20], rtol=1e-9)


def test_all_principal_components_leave_distances_as_they_are_in_pixels():
    source = source_of((1, 4, 4))
    a, b = (source_of((1, 4, 4), seed=s).split("train").take(torch.arange(100))["x"] for s in (1, 2))
    whole, pixels = build("pca(components=16)", (1, 4, 4), source), build("pixels", (1, 4, 4))
    expected = Frechet()(pixels.features(a).numpy(), pixels.features(b).numpy())
    assert_allclose(Frechet()(whole.features(a).numpy(), whole.features(b).numpy()), expected, rtol=1e-6)


def test_protocol_of_pca_names_components_and_rows():
    protocols = {
        build(f"pca(components={n})", (1, 8, 8), source_of((1, 8, 8), seed=s)).protocol for n in (3, 4) for s in (0, 1)
    }
    assert len(protocols) == 4
    assert build("pca", (1, 8, 8), SOURCES.build("digits")).protocol == "pca(64)@153818ed,8x8"


@pytest.mark.parametrize("components", [0, 65])
def test_pca_refuses_components_that_are_not_there(components):
    with pytest.raises(UsageError, match=rf"components={components}; 200 training rows of 64 numbers have 1 … 64"):
        build(f"pca(components={components})", (1, 8, 8))
