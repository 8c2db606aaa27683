"""Compositions that cannot mean what they say are refused with the reason, before anything is started."""

from __future__ import annotations

import pytest
import torch

from gannet.core.errors import DataError, UsageError
from gannet.core.overrides import resolve
from gannet.core.presets import preset_names
from gannet.engine.assembly import assemble


@pytest.fixture
def build(tiny):
    return lambda preset, **more: assemble(resolve(preset, tiny(preset, **more)).experiment)


BAD = {
    "batch norm and a per-sample penalty": ("lsgan", {"regularizers": ["r1"]}, ["r1", "couple the batch", "norm=none"]),
    "a batch that does not divide": ("gan", {"accumulate": 3, "share": "nothing"}, ["batch=8", "6 or 9"]),
    "shared fakes of several micro-batches": ("gan", {"accumulate": 2}, ["share=fakes", "share=nothing"]),
    "points through an image augmentation": ("points", {"augment": "diffaugment"}, ["augment", "images", "point"]),
    "paths without a mapping network": ("gan", {"regularizers": ["path-length"]}, ["path-length", "mapping network"]),
    "a clip that stops everything": ("gan", {"clip": {"discriminator": 0}}, ["clip.discriminator", "above 0"]),
    "a player nobody knows": (
        "gan",
        {"optim": {"diskriminator": "adam"}},
        ["diskriminator", "Did you mean", "discriminator"],
    ),
    "turns of nobody": ("gan", {"players": {"critic": {"repeats": 2}}}, ["critic", "discriminator", "generator"]),
    "labels where there are none": ("points", {"task": "synthesis(labels=use)"}, ["labels", "ignore"]),
    "convolutions over points": ("points", {"generator": "dcgan"}, ["dcgan", "image"]),
    "a device that is not here": ("gan", {"device": "tpu"}, ["tpu", "cpu"]),
}


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_with_the_reason_and_the_way_out(case, build, refused):
    preset, overrides, words = BAD[case]
    text = refused(UsageError, build, preset, **overrides)
    assert [word for word in words if word not in text] == []


def test_a_translator_needs_something_to_translate(build, refused):
    text = refused(DataError, build, "pix2pix-mini", data="digits")
    assert "given" in text
    assert "edges" in text


def test_every_problem_is_said_at_once(build, refused):
    text = refused(UsageError, build, "lsgan", regularizers=["r1", "r2"], batch=7, accumulate=2)
    assert text.count("per-sample penalty") == 2
    assert "batch=7" in text
    assert "share=fakes" in text
    assert "nothing was started" in text


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_sound(preset, build):
    game = build(preset)
    assert game.networks.keys() == game.task.roles.keys()
    assert {r for p in game.players.values() for r in p.roles} == set(game.networks)
    assert all(count > 0 for count in game.parameter_counts().values())
    assert set(game.averaged()) == set(game.networks) - game.discriminators


def test_first_weights_depend_on_the_seed_and_on_their_own_network_alone(build):
    one, same = build("gan"), build("gan", discriminator__width=6)
    other = build("gan", seed=1)
    weights = [game.networks["generator"].output.weight for game in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    before = torch.get_rng_state()
    build("gan")
    assert torch.equal(torch.get_rng_state(), before)


def test_precision_and_memory_format_reach_every_tensor(build):
    game = build("hinge", precision="fp64", regularizers=["lecam"])
    tensors = [*game.networks.state_dict().values(), *game.regularizers["lecam"].state_dict().values()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}
    kernel = build("quick").networks["discriminator"].stages[0].conv.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_modules_of_ones_own_are_played_in_training_mode(tiny):
    own = torch.nn.Linear(3, 2).eval()
    own.latent = 3
    experiment = resolve("points", tiny("points", regularizers=[])).experiment
    game = assemble(experiment, modules={"generator": own})
    assert game.networks["generator"] is own
    assert own.training
