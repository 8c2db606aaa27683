"""The two alarms of the laboratory: raised on their failure, silent on a healthy game, the same in a replay."""

from __future__ import annotations

import numpy as np
import pytest

from gannet.engine.run import Run
from gannet.lab.alarms import WINDOW, circles
from gannet.lab.playground import Playground
from gannet.lab.share import State, beginning

SEEDS = (0, 1, 2)
DIRAC = {
    "data": "points(name=dirac)", "generator": "dirac", "discriminator": "dirac", "objective": "saturating",
    "optim.discriminator": "sgd(lr=0.1)", "optim.generator": "sgd(lr=0.1)", "batch": 4,
}  # fmt: skip
FROZEN = {
    "objective": "saturating", "optim.generator.lr": 1e-6, "optim.discriminator.lr": 0.02, "batch": 64,
    "data": "points(name=ring, n=2000)",
}  # fmt: skip


def played(tmp_path, values, seed, until):
    playground = Playground(Run.at(tmp_path / f"run-{seed}"), State(beginning(values, seed=seed)))
    while playground.step < until:
        playground.advance()
    return playground


def names(playground):
    return [alarm["name"] for alarm in playground.alarms()]


def swing(amplitude, periods, decay=1.0, noise=0.1, seed=0):
    t = np.linspace(0, 1, WINDOW)
    u = amplitude * np.sin(2 * np.pi * periods * t) * decay**t
    return u[:, None] * [0.8, 0.6] + noise * np.random.default_rng(seed).standard_normal((WINDOW, 2))


@pytest.mark.parametrize("periods", [2.5, 4, 9])
def test_a_lasting_swing_is_a_circle(periods):
    assert circles(swing(1.0, periods))
    assert circles(swing(1.0, periods)[:, :1])


@pytest.mark.parametrize(
    "means",
    [
        swing(0.0, 4),  # noise of batches alone
        swing(0.3, 4),  # too small to matter
        swing(1.0, 4, decay=0.1),  # comes to rest
        swing(1.0, 0.5),  # a way, not a circle
        swing(1.0, 4)[1:],  # not yet a window
        np.full((WINDOW, 2), np.nan),
        np.zeros((WINDOW, 2)),
    ],
)
def test_what_is_no_circle_is_none(means):
    assert not circles(means)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_dirac_gan_circles_until_r1_brings_it_to_rest(tmp_path, seed):
    game = played(tmp_path, DIRAC, seed, 700)
    (alarm,) = game.alarms()
    assert (alarm["name"], alarm["remedy"]["path"]) == ("oscillation", "regularizers.r1")
    assert len(alarm["text"]) > 40
    game.set("regularizers.r1", "r1(weight=1)")
    while game.step < 1250:
        game.advance()
    assert names(game) == []


def test_the_dirac_gan_with_r1_raises_nothing(tmp_path):
    assert names(played(tmp_path, DIRAC | {"regularizers": "[r1(weight=0.2)]"}, 0, 800)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_frozen_generator_under_the_saturating_loss_has_no_gradient(tmp_path, seed):
    game = played(tmp_path, FROZEN, seed, 450)
    found = {alarm["name"]: alarm["remedy"] for alarm in game.alarms()}
    assert found["vanishing gradients"] == {"path": "objective", "value": "nonsaturating"}
    game.set("objective", "nonsaturating")
    while game.step < 600:
        game.advance()
    assert "vanishing gradients" not in names(game)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_preset_is_well(tmp_path, seed):
    game = played(tmp_path, {"batch": 64, "data": "points(name=ring, n=5000)"}, seed, 800)
    assert names(game) == []


def test_a_replay_says_the_same_and_another_future_forgets(tmp_path):
    game = played(tmp_path, DIRAC, 0, 800)
    assert names(game) == ["oscillation"]
    game.rewind(400)
    assert names(game) == []
    while game.step < 720:
        game.advance()
    assert names(game) == ["oscillation"]
    game.rewind(500)
    game.set("optim.generator.lr", 0.05)
    assert max(game.watch.judged) <= 500
    assert names(game) == []
