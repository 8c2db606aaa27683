"""Metrics of pixels: pyramid and spectrum, closed forms and hand cases."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gannet.core.errors import UsageError
from gannet.core.types import DataSpec, Field
from gannet.metrics import distances
from gannet.metrics.pyramid import Pyramid, _band, _expand, _reduce
from gannet.metrics.spectrum import Spectrum


def source(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(spec=DataSpec({"x": Field(shape)}))


def noise(seed: int, n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, int(np.prod(shape))))


# ------------------------------------------------------------------------------------------------------ spectrum


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 9), (1, 6, 10), (2, 5, 16), (1, 1, 7)])
def test_profile_holds_all_the_power(shape):
    x = noise(0, 20, *shape)
    spectrum, side = Spectrum(source(*shape)), max(shape[1:])
    profile = spectrum.profile(x)
    y, x_ = np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2])
    members = np.bincount(np.rint(np.hypot(y, x_) * side).astype(int).ravel())
    assert (members > 0).all()  # no frequency without a member, so none is undefined
    # Parseval: Σ|FFT|² = pixels · Σ|x|²
    assert_allclose((profile * members).sum(), (x**2).sum() / 20 / shape[0] * np.prod(shape[1:]), rtol=1e-10)


def test_a_wave_is_at_its_frequency():
    y, x = np.mgrid[:8, :12]
    for image, k in (
        (np.cos(2 * np.pi * 3 * x / 12), 3),  # cycles over the longer side
        (np.cos(2 * np.pi * 2 * y / 8), 3),  # 2 cycles in 8 pixels are 3 in 12
        (np.ones((8, 12)), 0),
    ):
        profile = Spectrum(source(1, 8, 12)).profile(image.reshape(1, -1))
        assert profile.argmax() == k
        assert profile[k] > 1e20 * np.delete(profile, k).max()


def test_twice_the_contrast_is_log_four():
    spectrum = Spectrum(source(3, 8, 6))
    x = noise(0, 9, 3, 8, 6)
    assert_allclose(spectrum(2 * x, x), np.log(4), rtol=1e-12)
    assert_allclose(spectrum(x, 2 * x), np.log(4), rtol=1e-12)
    assert spectrum(x, x) == 0
    assert_allclose(spectrum(np.roll(x.reshape(9, 3, 8, 6), 3, axis=2).reshape(9, -1), x), 0, atol=1e-12)


def test_a_checkerboard_left_by_upsampling_shows():
    x = noise(0, 50, 1, 8, 8)
    grid = 0.5 * (-1.0) ** np.indices((8, 8)).sum(0).ravel()
    gap = np.log(Spectrum(source(1, 8, 8)).profile(x + grid)) - np.log(Spectrum(source(1, 8, 8)).profile(x))
    assert gap.argmax() == 6  # √2 · 4 rounded: the corner
    assert gap[6] > 10 * np.abs(gap[:6]).max()


def test_images_without_power_are_finite():
    spectrum = Spectrum(source(1, 4, 4))
    x = noise(0, 30, 1, 4, 4)
    q = spectrum.profile(x)
    assert_allclose(spectrum(0 * x, x), np.log(q / (1e-12 * q.max())).mean(), rtol=1e-12)
    assert spectrum(0 * x, 0 * x) == 0
    assert np.isfinite(spectrum(x, 0 * x))


# ------------------------------------------------------------------------------------------------------- pyramid


@pytest.mark.parametrize(("shape", "levels"), [((1, 8, 8), 1), ((3, 31, 40), 1), ((1, 32, 32), 2), ((1, 65, 130), 3)])
def test_levels_reach_down_to_sixteen(shape, levels):
    pyramid = Pyramid(source(*shape), patches=4, directions=8)
    assert len(pyramid.levels(noise(0, 5, *shape), noise(1, 5, *shape))) == levels


def test_one_level_is_the_distance_of_the_patches_themselves():
    # Patches as large as the image, two channels: nothing is drawn but directions.
    x, y = noise(0, 40, 2, 3, 3), noise(1, 40, 2, 3, 3) ** 3
    pyramid = Pyramid(source(2, 3, 3), patches=1, directions=50, seed=4)

    def normal(rows):
        images = rows.reshape(40, 2, 9)
        return ((images - images.mean((0, 2))[:, None]) / images.std((0, 2))[:, None]).reshape(40, 18)

    u = np.random.default_rng([4, 0, 1]).standard_normal((18, 50))
    u /= np.linalg.norm(u, axis=0)
    expected = np.abs(np.sort(normal(x) @ u, axis=0) - np.sort(normal(y) @ u, axis=0)).mean()
    assert_allclose(pyramid(x, y), 1000 * expected, rtol=1e-10)


def test_reduce_and_expand_keep_what_is_even_and_the_bands_add_up():
    even = np.full((1, 1, 33, 20), 0.7)
    assert_allclose(_reduce(even), np.full((1, 1, 17, 10), 0.7), rtol=1e-12)
    inner = _expand(_reduce(even), (33, 20))
    assert inner.shape == even.shape
    assert_allclose(inner[:, :, :-2, :-2], 0.7, rtol=1e-12)
    images = noise(0, 2, 3, 32, 48).reshape(2, 3, 32, 48)
    fine, coarse = _band(images, 0, last=False), _band(images, 1, last=True)
    assert coarse.shape == (2, 3, 16, 24)
    assert_allclose(fine + _expand(coarse, (32, 48)), images, rtol=1e-10)
    impulse = np.zeros((1, 1, 9, 9))
    impulse[0, 0, 4, 4] = 256
    taps = np.array([1, 6, 1])  # what falls on every second pixel of [1 4 6 4 1]
    assert_allclose(_reduce(impulse)[0, 0, 1:4, 1:4], np.outer(taps, taps), atol=1e-12)


def blocks(seed: int, n: int, side: int, size: int) -> np.ndarray:
    """Squares of `size` pixels, each even, in images of `side`."""
    values = noise(seed, n, side // size, side // size).reshape(n, side // size, side // size)
    return np.kron(values, np.ones((size, size))).reshape(n, -1)


def test_only_structure_counts():
    pyramid = Pyramid(source(2, 32, 32), patches=16, directions=32)
    x, y = noise(0, 60, 2, 32, 32), noise(1, 60, 2, 32, 32)
    contrast = np.repeat([3.0, 0.5], 1024)  # another for each channel
    assert pyramid(x, x) == 0
    assert_allclose(pyramid(x * contrast + 7, x), 0, atol=1e-8)
    near, far = pyramid(y, x), pyramid(np.hstack([blocks(2, 60, 32, 16)] * 2), x)
    assert near < 0.3 * far
    assert_allclose(pyramid(x, np.hstack([blocks(2, 60, 32, 16)] * 2)), far, rtol=1e-10)
    assert_allclose(pyramid(y[:40], x), near, rtol=0.5)  # sets of other sizes


def test_structure_is_found_at_its_own_scale():
    pyramid = Pyramid(source(1, 64, 64), patches=16, directions=32)
    x, y = noise(0, 100, 1, 64, 64), noise(1, 100, 1, 64, 64)
    alike = pyramid.levels(x + blocks(2, 100, 64, 32), y + blocks(3, 100, 64, 32))
    other = pyramid.levels(x + blocks(2, 100, 64, 32), y)
    assert other[2] > 3 * alike[2]
    assert_allclose(other[0], alike[0], rtol=0.3)


def test_even_images_and_single_pixels_are_finite():
    assert Pyramid(source(1, 8, 8))(np.zeros((3, 64)), np.ones((4, 64))) == 0  # neither has any structure
    assert np.isfinite(Pyramid(source(1, 1, 1))(noise(0, 9, 1), noise(1, 9, 1)))


def test_seeds_and_chunks(monkeypatch):
    x, y = noise(0, 20, 1, 32, 32), noise(1, 20, 1, 32, 32)
    few = [Pyramid(source(1, 32, 32), patches=4, directions=8, seed=seed)(x, y) for seed in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0] != few[2]
    spectrum = Spectrum(source(1, 32, 32))(x, y)
    monkeypatch.setattr(distances, "ENTRIES", 3000)
    assert_allclose(Pyramid(source(1, 32, 32), patches=4, directions=8)(x, y), few[0], rtol=1e-10)
    assert_allclose(Spectrum(source(1, 32, 32))(x, y), spectrum, rtol=1e-10)


@pytest.mark.parametrize("part", [Pyramid, Spectrum])
def test_only_images_are_read(part):
    with pytest.raises(UsageError, match=r"gives samples \[2\]; this metric reads images"):
        part(source(2))


@pytest.mark.parametrize("option", [{"patches": 0}, {"directions": 0}])
def test_options_out_of_range(option):
    with pytest.raises(UsageError, match="=0"):
        Pyramid(source(1, 8, 8), **option)
