"""Compositions that cannot mean what they say are refused with the reason, before anything is started."""

from __future__ import annotations

import pytest
import torch

from gannet.core.errors import DataError, UsageError
from gannet.core.overrides import resolve
from gannet.core.presets import preset_names
from gannet.engine.assembly import assemble, pick_device, structure


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
    "a processor with a number": ("gan", {"device": "cpu:x"}, ["cpu:x", "Did you mean: cpu"]),
    "one row through batch norm": (
        "gan",
        {"discriminator": "mlp(norm=batch)", "batch": 1},
        ["batch norm", "discriminator", "batch=1", "batch=2", "norm=none"],
    ),
    "one row a micro-batch through batch norm": (
        "dcgan",
        {"accumulate": 8, "share": "nothing"},
        ["generator and discriminator", "leaves 1", "batch=16"],
    ),
    "a rate below 0": (
        "gan",
        {"optim": {"generator": "adam(lr=-1e-3)"}},
        ["optim.generator", "lr=-0.001", "0 or above"],
    ),
    "a rate that ends below 0": ("gan", {"optim": {"generator": "sgd(lr=linear(1, -1))"}}, ["linear(1, -1", "-1;"]),
    "a warm-up to below 0": ("gan", {"optim": {"generator": "sgd(lr=warmup(-2))"}}, ["falls to -2"]),
    "a rate that dips": ("gan", {"optim": {"generator": 'sgd(lr=piecewise(1, ["50%", -3], ["60%", 1]))'}}, ["to -3"]),
    "a penalty that is a reward": ("gan", {"regularizers": ["r1(weight=-1)"]}, ["regularizers.r1", "weight=-1"]),
    "a penalty that becomes a reward": ("gan", {"regularizers": ["lecam(weight=cosine(1, -1))"]}, ["falls to -1"]),
    "a lazy of 0": (
        "gan",
        {"optim": {"discriminator": "adam(lazy=0)"}},
        ["optim.discriminator", "lazy=0", "1 or more"],
    ),
    "no eps": ("gan", {"optim": {"discriminator": "adamw(eps=0)"}}, ["eps=0", "above 0"]),
    "weights that grow": ("gan", {"optim": {"discriminator": "adamw(decay=-0.1)"}}, ["decay=-0.1", "0 or more"]),
    "a mean that forgets nothing": (
        "gan",
        {"optim": {"discriminator": "rmsprop(decay=1)"}},
        ["decay=1.0", "not including 1"],
    ),
    "a push that grows": (
        "gan",
        {"optim": {"discriminator": "sgd(momentum=1.5)"}},
        ["momentum=1.5", "not including 1"],
    ),
    "betas of 1": (
        "gan",
        {"optim": {"discriminator": "adam(betas=[0.5, 1])"}},
        ["betas=[0.5, 1.0]", "not including 1"],
    ),
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
    assert game.networks["generator"].module is own
    assert game.networks["generator"].latent == 3
    assert own.training


def test_a_judge_of_pairs_takes_pairs(tiny, refused):
    experiment = resolve("pix2pix-mini", tiny("pix2pix-mini")).experiment
    text = refused(UsageError, assemble, experiment, modules={"discriminator": torch.nn.Flatten()})
    assert "called with (x, given)" in text
    assert "labels" not in text


def test_a_module_for_a_role_nobody_plays_is_refused(tiny, refused):
    experiment = resolve("cycle-mini", tiny("cycle-mini")).experiment
    text = refused(UsageError, assemble, experiment, modules={"generator": torch.nn.Identity()})
    assert "to_x, to_given, judge_x, judge_given" in text


# ---------------------------------------------------------------------------------------------------------- devices


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(n)`: a machine with n of them."""

    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return have


def test_a_gpu_that_is_not_there_is_refused(gpus, refused):
    gpus(2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("auto") == torch.device("cuda")
    text = refused(UsageError, pick_device, "cuda:99")
    assert "cuda:99" in text
    assert "cuda:0 … cuda:1" in text
    gpus(0)
    assert "has none" in refused(UsageError, pick_device, "cuda:0")
    for name in ("cpu:1", "cuda:x", "mps:0", "cuda:", "meta"):
        assert f"unknown device '{name}'" in refused(UsageError, pick_device, name)


def test_every_process_of_torchrun_takes_its_own_gpu(gpus, monkeypatch, refused):
    gpus(2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert pick_device("auto") == pick_device("cuda") == torch.device(f"cuda:{rank}")
    assert pick_device("cpu") == torch.device("cpu")
    # All of them refuse, so that none waits for the others.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert "3 processes on this machine need a GPU each, and it has 2" in refused(UsageError, pick_device, "auto")


def test_what_only_describes_has_shapes_and_no_numbers(build):
    assert {p.device.type for p in build("gan", device="meta").networks.parameters()} == {"meta"}


def test_none_takes_one_part_out_and_leaves_the_others(build):
    said = resolve("quick", ["regularizers.r1=none", "regularizers.r2.weight=3"])
    assert set(said.experiment.regularizers) == {"r2"}
    assert (
        resolve("quick", ["regularizers.r1=r1(weight=2)", "regularizers.r1=none"]).experiment
        == resolve("quick", ["regularizers.r1=none"]).experiment
    )
    with pytest.raises(UsageError, match=r"no regularizer 'wgan-gp'.*Present: r1, r2"):
        resolve("quick", ["regularizers.wgan-gp=none"])
    with pytest.raises(UsageError, match=r"there is none.*remove it with controllers\.rollback=none"):
        build("dcgan", controllers="[steer-rate, rollback]")


def test_a_structure_is_that_of_the_weights_and_of_nothing_else():
    def of(*changed: str):
        return structure(resolve("dcgan", ["data=digits", *changed]).experiment)

    assert of() == of("seed=3") == of("optim.generator=sgd") == of("generator.slope=0.1")
    assert len({of(), of("generator.width=9"), of("discriminator.width=9"), of("discriminator.depth=3")}) == 4
