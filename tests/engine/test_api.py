"""Python's door: arrays in, arrays out, networks of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gannet import api
from gannet.api import GAN
from gannet.core.errors import DataError, UsageError
from gannet.engine.run import Run

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


def plain(latent=3):
    """A generator that takes z and nothing else."""
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    if latent is not None:
        module.latent = latent
    return module


def test_plain_sequences_are_networks(cloud, place):
    gan = GAN("points", data=cloud, generator=plain(), discriminator=judge(), run=place("run"), **SMALL)
    made = gan.fit(samples=32).sample(6)
    assert made.shape == (6, 2)
    saved = gan.save(place("saved"))
    loaded = GAN.load(saved, generator=plain(), discriminator=judge(), data=cloud)
    assert np.array_equal(loaded.sample(6), made)
    assert loaded.fit(samples=16).outcome.samples == 48
    assert not np.array_equal(loaded.sample(6), made)


class Conditional(nn.Module):
    """Shifts z by the label."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.shift = nn.Embedding(3, 2)

    def forward(self, z, y):
        return z + self.shift(y)


class ConditionalJudge(Conditional):
    def forward(self, x, y):
        return (x * self.shift(y)).sum(1)


def test_networks_of_ones_own_take_labels_next(cloud, place):
    data = (cloud, np.arange(64) % 3)
    gan = GAN("points", data=data, generator=Conditional(), discriminator=ConditionalJudge(), run=place("run"), **SMALL)
    gan.fit(samples=32)
    ones, twos = gan.sample(6, label=1), gan.sample(6, label=2)
    shift = gan.model.task.networks["generator"].module.shift.weight.detach().numpy()
    np.testing.assert_allclose(twos - ones, np.tile(shift[2] - shift[1], (6, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"generator": plain(None)}, ["Sequential", "generator.latent = 64"]),
        ({"generator": Conditional()}, ["called with (z)", "takes (z, y)", "no labels"]),
        ({"discriminator": ConditionalJudge()}, ["called with (x)", "takes (x, y)"]),
    ],
)
def test_networks_of_ones_own_that_cannot_play_are_refused_before_anything_is_written(
    own, words, cloud, place, refused
):
    text = refused(UsageError, GAN("points", data=cloud, run=place("run"), **own, **SMALL).fit, samples=32)
    assert [word for word in words if word not in text] == []
    assert not place("run").exists()


@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_labels_for_a_network_that_takes_none_say_how_to_do_without(role, cloud, place, refused):
    both = {"generator": plain(), "discriminator": judge()}
    data, one = (cloud, np.arange(64) % 3), {role: both[role]}
    text = refused(UsageError, GAN("points", data=data, run=place("run"), **one, **SMALL).fit, samples=32)
    assert 'task__labels="ignore"' in text
    assert role in text
    gan = GAN("points", data=data, **both, run=place("run"), task__labels="ignore", **SMALL).fit(samples=32)
    assert gan.sample(4).shape == (4, 2)


def test_samples_and_scores_of_another_shape_are_named(cloud, place, refused):
    wide, odd = nn.Linear(3, 5), nn.Sequential(nn.Linear(2, 1), nn.Flatten(0), nn.Unflatten(0, (2, -1)))
    wide.latent = 3
    text = refused(UsageError, GAN("points", data=cloud, generator=wide, run=place("a"), **SMALL).fit, samples=8)
    assert "gave [8, 5]" in text
    assert "need [8, 2]" in text
    text = refused(UsageError, GAN("points", data=cloud, discriminator=odd, run=place("b"), **SMALL).fit, samples=8)
    assert "scores [B]" in text


def test_an_array_given_again_trains_on(cloud, place, refused):
    options = {**SMALL, "generator__width": 8, "discriminator__width": 8}
    gan = GAN("points", data=cloud, run=place("run"), **options).fit(samples=32)
    saved = gan.save(place("saved"))
    assert "data=array" in refused(UsageError, GAN.load(saved).fit, samples=16)
    on = GAN.load(saved, data=cloud).fit(samples=16)
    assert on.outcome.samples == 48
    assert np.array_equal(on.sample(8), gan.fit(samples=16).sample(8))
    assert "other data" in refused(DataError, GAN.load(saved, data=cloud + 1).fit, samples=64)
    assert "Give arrays" in refused(UsageError, GAN.load, saved, data="digits")


def test_fitting_a_trained_gan_for_nothing_more_is_refused(cloud, place, refused):
    gan = GAN("points", data=cloud, run=place("run"), **SMALL, generator__width=8, discriminator__width=8)
    made = gan.fit(samples=32).sample(4)
    for trained in (gan, GAN.load(gan.save(place("saved")), data=cloud)):
        text = refused(UsageError, trained.fit)
        assert "fit(minutes=" in text
        assert "fit(samples=" in text
        assert np.array_equal(trained.sample(4), made)


def test_labels_that_are_ignored_are_ignored_in_pictures_too(tiny, place):
    run, outcome = api.train("quick", tiny("quick", 4, task="synthesis(labels=ignore)"), place("run"))
    assert isinstance(run, Run)
    assert outcome.reason == "samples"
    assert outcome.grid.exists()
    assert api.load(run.path).sample(3).shape == (3, 8, 8, 1)


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


@pytest.mark.parametrize(("data", "told"), [("edges(of=digits)", True), ("digits", False)])
def test_what_lies_beside_the_samples_and_is_not_used_is_told(data, told, tiny, place):
    run, _ = api.train("gan", tiny("gan", steps=1, data=data), place("run"))
    plans = [line["text"] for line in run.read_log() if line["kind"] == "plan"]
    assert [("edges has a `given`" in text, "task=translation" in text) for text in plans] == [(True, True)] * told


def test_a_task_that_uses_what_lies_beside_the_samples_says_nothing(tiny, place):
    run, _ = api.train("pix2pix-mini", tiny("pix2pix-mini", steps=1), place("run"))
    assert [line for line in run.read_log() if line["kind"] == "plan"] == []
