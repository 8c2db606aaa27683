"""Python's door: arrays in, arrays out, networks of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gannet.api import GAN
from gannet.core.errors import DataError, UsageError

pytestmark = [
    pytest.mark.usefixtures("no_plots"),
    pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead"),
]
SMALL = {"batch": 8, "evaluate__metrics": [], "keep__log": 32, "keep__checkpoints": 1000, "keep__samples": 1000}
NARROW = {"generator__init": "default", "generator__width": 4, "generator__latent": 4, "discriminator__width": 4}


@pytest.fixture
def pictures():
    ink = np.random.RandomState(0).randint(0, 256, (48, 8, 8), dtype=np.uint8)
    return ink, np.arange(48) % 3


@pytest.fixture
def cloud():
    return np.random.RandomState(0).randn(64, 2).astype(np.float32)


class Generator(nn.Module):
    latent = 3

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, z, y=None):
        return self.layers(z)


def judge():
    return nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("shape", "out"),
    [((48, 8, 8), (8, 8, 1)), ((48, 8, 8, 3), (8, 8, 3)), ((48, 3, 8, 8), (8, 8, 3)), ((48, 12, 10), (12, 10, 1))],
)
def test_pictures_go_in_and_come_out_as_uint8(shape, out, place):
    images = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)
    made = GAN("quick", data=images, run=place("run"), **SMALL, **NARROW).fit(samples=32).sample(5)
    assert made.shape == (5, *out)
    assert made.dtype == np.uint8
    assert made.std() > 0


def test_points_go_in_and_come_out_as_floats(cloud, place):
    gan = GAN("points", data=cloud, run=place("run"), **SMALL, generator__width=8, discriminator__width=8)
    made = gan.fit(samples=32).sample(7)
    assert made.shape == (7, 2)
    assert made.dtype == np.float32


def test_the_same_seed_gives_the_same_bytes_however_many_are_asked_for(pictures, place):
    gan = GAN("quick", data=pictures, run=place("run"), **SMALL, **NARROW).fit(samples=32)
    assert np.array_equal(gan.sample(70, seed=3)[:9], gan.sample(9, seed=3))
    assert not np.array_equal(gan.sample(9, seed=3), gan.sample(9, seed=4))


def test_labels_choose_the_class(pictures, place, refused):
    gan = GAN("quick", data=pictures, run=place("run"), **SMALL, **NARROW).fit(samples=32)
    ones, again, twos = gan.sample(6, label=1), gan.sample(6, label="1"), gan.sample(6, label=2)
    assert np.array_equal(ones, again)
    assert not np.array_equal(ones, twos)
    assert "3" in refused(UsageError, gan.sample, 6, label=3)


def test_a_label_for_a_generator_without_any_is_refused(cloud, place, refused):
    gan = GAN("points", data=cloud, run=place("run"), **SMALL, generator__width=8, discriminator__width=8)
    assert "without labels" in refused(UsageError, gan.fit(samples=8).sample, 6, label=1)


def test_fitting_more_is_one_longer_run(cloud, place):
    options = {**SMALL, "generator__width": 8, "discriminator__width": 8, "regularizers": [], "optim": {}}
    parts = GAN("points", data=cloud, run=place("parts"), **options, ema__ramp=None).fit(samples=40).fit(samples=24)
    whole = GAN("points", data=cloud, run=place("whole"), **options, ema__ramp=None).fit(samples=64)
    assert parts.outcome.samples == 64
    assert np.array_equal(parts.sample(16), whole.sample(16))


def test_fitting_for_minutes_after_samples_trains_on(cloud, place):
    gan = GAN("points", data=cloud, run=place("run"), **SMALL, generator__width=8, discriminator__width=8)
    before = gan.fit(samples=80).outcome.samples
    assert gan.fit(minutes=0.01).outcome.samples > before


def test_networks_of_ones_own_are_trained_and_sampled(cloud, place):
    gan = GAN("points", data=cloud, generator=Generator(), discriminator=judge(), run=place("run"), **SMALL)
    first = gan.fit(samples=32).sample(6)
    assert first.shape == (6, 2)
    gan.fit(samples=320)
    assert not np.array_equal(gan.sample(6), first)


def test_networks_of_ones_own_learn_in_training_mode_after_sampling(cloud, place):
    apart = GAN("points", data=cloud, generator=Generator(), discriminator=judge(), run=place("apart"), **SMALL)
    start = {k: v.clone() for k, v in apart.modules["generator"].state_dict().items()}
    other = {k: v.clone() for k, v in apart.modules["discriminator"].state_dict().items()}
    apart.fit(samples=32).sample(4)
    apart.fit(samples=32)
    whole = GAN("points", data=cloud, generator=Generator(), discriminator=judge(), run=place("whole"), **SMALL)
    whole.modules["generator"].load_state_dict(start)
    whole.modules["discriminator"].load_state_dict(other)
    whole.fit(samples=32)
    whole.fit(samples=32)
    assert np.array_equal(apart.sample(8), whole.sample(8))


def test_saved_and_loaded_it_gives_the_same_bytes_and_trains_on(pictures, place):
    gan = GAN("quick", data=pictures, run=place("run"), **SMALL, **NARROW).fit(samples=32)
    saved = gan.save(place("saved"))
    loaded = GAN.load(saved)
    assert np.array_equal(loaded.sample(9, seed=5), gan.sample(9, seed=5))


def test_own_networks_are_loaded_into_modules_given_again(cloud, place):
    gan = GAN("points", data=cloud, generator=Generator(), discriminator=judge(), run=place("run"), **SMALL)
    gan.fit(samples=32)
    loaded = GAN.load(gan.save(place("saved")), generator=Generator(), discriminator=judge())
    assert np.array_equal(loaded.sample(4), gan.sample(4))


def test_what_cannot_be_trained_on_is_refused_at_the_door(refused, place):
    bad = np.full((32, 2), np.nan, dtype=np.float32)
    bad[0] = 1.0
    assert "not finite" in refused(DataError, GAN, "points", data=bad)
    assert "has not been trained" in refused(UsageError, GAN("points").sample)
    text = refused(UsageError, GAN("quick", data="digits", run=place("run"), widht=3).fit, samples=8)
    assert "widht" in text


def test_tensors_are_taken_as_arrays(place):
    x = torch.rand(32, 1, 8, 8)
    made = GAN("quick", data=x, run=place("run"), **SMALL, **NARROW).fit(samples=16).sample(2)
    assert made.shape == (2, 8, 8, 1)
