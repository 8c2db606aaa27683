"""The contract of a turn, against steps written by hand in plain torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import RoundRegularizer
from gannet.core.presets import preset_names
from gannet.core.random import Draw, installed
from gannet.core.registry import REGULARIZERS
from gannet.core.types import Clock, Comparison, Inputs
from gannet.engine.assembly import assemble
from gannet.engine.feed import Feed
from gannet.engine.trainer import Trainer
from gannet.engine.turn import NonFinite, Table, _adversarial

SGD = {"optim": {"discriminator": "sgd(lr=0.1)", "generator": "sgd(lr=0.1)"}}
B = 8


@pytest.fixture
def game(tiny):
    """`game(preset, **overrides)`: an assembled game; dots as double underscores."""
    return lambda preset, **more: assemble(resolve(preset, tiny(preset, **more)).experiment)


def weights(module):
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def drawn(game, stream, turn, positions):
    """The latents the engine draws for these rows."""
    draw = Draw(game.experiment.seed, stream, turn, positions, "cpu", game.dtype)
    return draw.child("generate").normal(game.networks["generator"].latent)


# ------------------------------------------------------------------------------------- the step, written by hand


@pytest.mark.parametrize("share", ["nothing", "fakes", "scores"])
@pytest.mark.parametrize("pairing", ["none", "paired"])
def test_three_steps_with_r1_and_r2_are_the_hand_written_ones(share, pairing, game):
    options = {"objective": f"nonsaturating(pairing={pairing})", "regularizers": ["r1(weight=0.7)", "r2(weight=0.3)"]}
    played = game("points", precision="fp64", share=share, **SGD, **options)
    mine = game("points", precision="fp64", share=share, **SGD, **options)
    trainer = Trainer(played)
    for _ in range(3):
        trainer._step(False)

    g, d = mine.networks["generator"], mine.networks["discriminator"]
    feed = Feed(mine.source, "train", 0, mine.device, mine.dtype, False)

    def score(x):
        return d(x).score[0]

    def move(module, loss):
        parameters = list(module.parameters())
        grads = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, grad in zip(parameters, grads, strict=True):
                p -= 0.1 * grad

    def slope(x):
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
        return grad.square().sum(1).mean() / 2

    for turn in range(3):
        positions = range(turn * B, turn * B + B)
        x, z = feed.take("discriminator", positions)["x"], drawn(mine, "discriminator", turn, positions)
        fake = g(z).detach()
        r, f = score(x), score(fake)
        adversarial = softplus(-r).mean() + softplus(f).mean() if pairing == "none" else softplus(f - r).mean()
        old = r.detach()
        move(d, adversarial + 0.7 * slope(x) + 0.3 * slope(fake))
        if share == "nothing":
            x, z = feed.take("generator", positions)["x"], drawn(mine, "generator", turn, positions)
        f, r = score(g(z)), old if share == "scores" else score(x).detach()
        move(g, softplus(-f).mean() if pairing == "none" else softplus(r - f).mean())

    for role in ("generator", "discriminator"):
        assert_close(weights(played.networks[role]), weights(mine.networks[role]), rtol=1e-9, atol=1e-12)
    fresh = game("points", precision="fp64", **SGD, **options).networks["generator"]
    assert (fresh.output.weight - g.output.weight).abs().max() > 1e-5  # three steps did move something


def test_a_batch_norm_discriminator_judges_the_sides_apart(game):
    played = game("points", discriminator__norm="batch", regularizers=[], precision="fp64", objective="nonsaturating")
    table = Table(played)
    d = played.networks["discriminator"]
    before = weights(d)
    table.turn("discriminator", played.players["discriminator"], Clock(), None)
    found = {n: p.grad.clone() for n, p in d.named_parameters()}
    d.load_state_dict(before)
    table.optimisers["discriminator"].zero_grad()
    x = table.feed.take("discriminator", range(B))["x"]
    fake = played.networks["generator"](drawn(played, "discriminator", 0, range(B))).detach()

    def gradients(r, f):
        grads = torch.autograd.grad(softplus(-r).mean() + softplus(f).mean(), list(d.parameters()))
        return dict(zip(found, grads, strict=True))

    assert_close(found, gradients(d(x).score[0], d(fake).score[0]), rtol=1e-8, atol=1e-12)
    mixed = gradients(*d(torch.cat([x, fake])).score[0].chunk(2))
    assert max((mixed[n] - g).abs().max() for n, g in found.items()) > 1e-3


@pytest.mark.parametrize("preset", ["points", "wgan-gp"])
def test_accumulation_is_the_big_batch_where_rows_do_not_mix(preset, game):
    ends = []
    for parts in (1, 2, 4):
        played = game(
            preset, accumulate=parts, share="nothing", precision="fp64", generator="mlp", discriminator="mlp", **SGD
        )
        trainer = Trainer(played)
        for _ in range(2):
            trainer._step(False)
        ends.append(weights(played.networks))
    assert_close(ends[1], ends[0], rtol=1e-10, atol=1e-12)
    assert_close(ends[2], ends[0], rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------ who moves, when


@pytest.mark.parametrize("share", ["nothing", "fakes"])
def test_only_the_mover_moves_and_gets_gradients(share, game):
    played = game("gan", share=share)
    table, networks = Table(played), played.networks
    for name, other in (("discriminator", "generator"), ("generator", "discriminator")):
        following = played.players["generator"] if share == "fakes" and name == "discriminator" else None
        idle, own = weights(networks[other]), weights(networks[name])
        for p in networks[other].parameters():
            p.grad = None
        table.turn(name, played.players[name], Clock(), following)
        assert_close(weights(networks[other]), idle, rtol=0, atol=0)
        assert all(p.grad is None for p in networks[other].parameters())
        assert any(not torch.equal(v, own[k]) for k, v in weights(networks[name]).items())


def test_spectral_norm_advances_once_a_turn_of_its_own_player_and_by_nothing_else(game):
    played = game("hinge")
    trainer, d = Trainer(played), played.networks["discriminator"]
    layer = d.head.linear.parametrizations.weight
    norm, raw = layer[0], layer.original
    u = norm.u.clone()
    matrix = raw.detach().clone()
    v = torch.nn.functional.normalize(matrix.T @ u, dim=0)
    expected = torch.nn.functional.normalize(matrix @ v, dim=0)
    table = trainer.table
    table.turn("discriminator", played.players["discriminator"], Clock(), None)
    assert_close(norm.v, v)
    assert_close(norm.u, expected)
    after = norm.v.clone()
    table.turn("generator", played.players["generator"], Clock(), None)
    trainer._heldout()
    with torch.no_grad():
        d(table.feed.take("discriminator", range(4))["x"], torch.zeros(4, dtype=torch.long))
    assert torch.equal(norm.v, after)
    table.turn("discriminator", played.players["discriminator"], Clock(), None)
    assert not torch.equal(norm.v, after)


def test_the_numbers_of_turns_follow_repeats_start_and_until(game):
    players = {"discriminator": {"repeats": 3, "until": "75%"}, "generator": {"start": "25%"}}
    played = game("gan", stop__samples=24 * 8, players=players)
    trainer, seen = Trainer(played), []
    while trainer.clock.samples < trainer.planned:
        trainer._step(False)
        seen.append((trainer.clock.samples, *trainer.table.turns.values()))
    # 192 samples: steps of 24 while the discriminator moves (until 144), of 8 after; the generator begins at 48.
    assert [s for s, *_ in seen] == [24, 48, 72, 96, 120, 144, *range(152, 193, 8)]
    assert seen[5][1:] == (18, 4)
    assert seen[-1][1:] == (18, 10)


def test_shared_fakes_are_the_same_tensor_and_unshared_ones_are_new(game):
    def fakes(share):
        played = game("quick", share=share)
        table = Table(played)
        following = played.players["generator"] if share != "nothing" else None
        one = table.turn("discriminator", played.players["discriminator"], Clock(), following).rounds[0]
        kept = table.shared
        other = table.turn("generator", played.players["generator"], Clock(), None).rounds[0]
        assert table.shared is None
        return one, other, kept, table

    one, other, kept, table = fakes("fakes")
    assert other.fake.x is kept.generated.x
    assert torch.equal(one.fake.x, other.fake.x)
    assert torch.equal(one.real.x, other.real.x)
    assert not torch.equal(one.verdicts["real"].score[0], other.verdicts["real"].score[0])  # judged anew
    assert table.cursors == {"discriminator": 8, "generator": 0}
    one, other, _, _ = fakes("scores")
    assert torch.equal(one.verdicts["real"].score[0], other.verdicts["real"].score[0])
    one, other, kept, table = fakes("nothing")
    assert kept is None
    assert not torch.equal(one.fake.x, other.fake.x)
    assert table.cursors == {"discriminator": 8, "generator": 8}


@pytest.mark.parametrize(("share", "generated", "judged"), [("nothing", 2, 3), ("fakes", 1, 3), ("scores", 1, 2)])
def test_sharing_saves_forwards(share, generated, judged, game):
    played = game("quick", share=share, regularizers=[])
    counts = dict.fromkeys(played.networks, 0)
    for name, module in played.networks.items():
        module.register_forward_hook(lambda *_, name=name: counts.__setitem__(name, counts[name] + 1))
    Trainer(played)._step(False)
    assert counts == {"generator": generated, "discriminator": judged}


# ----------------------------------------------------------------------------------------------- terms and steps


def test_a_lazy_term_is_due_every_kth_turn_and_weighs_k_times_as_much(game):
    lazy = game("points", regularizers=["r1(weight=2, every=3)"])
    plain = game("points", regularizers=["r1(weight=2)"])
    tables, player = (Table(lazy), Table(plain)), lazy.players["discriminator"]
    first = [table.turn("discriminator", player, Clock(), None).terms["r1"] for table in tables]
    assert first[0] == pytest.approx(3 * first[1], rel=1e-6)
    due = ["r1" in tables[0].turn("discriminator", player, Clock(), None).terms for _ in range(6)]
    assert due == [False, False, True, False, False, True]


def test_a_scheduled_weight_follows_the_clock(game):
    played = game("points", regularizers=['r1(weight=linear(1, 0, over="100%"))'])
    plain = game("points", regularizers=["r1(weight=1)"])
    player = played.players["discriminator"]
    at = Clock(samples=75, total=100)
    scheduled, constant = (Table(p).turn("discriminator", player, at, None).terms["r1"] for p in (played, plain))
    assert scheduled == pytest.approx(0.25 * constant, rel=1e-5)


def test_clipping_limits_the_norm_and_leaves_small_gradients_alone(game):
    played = game("gan", clip={"discriminator": 1e-3})
    free = game("gan", clip={"discriminator": 1e6})
    norms = []
    for one in (played, free):
        report = Table(one).turn("discriminator", one.players["discriminator"], Clock(), None)
        grads = [p.grad.flatten() for p in one.networks["discriminator"].parameters()]
        norms.append((report.grad_norm, float(torch.cat(grads).norm())))
    assert norms[0][0] == pytest.approx(norms[1][0])  # what is reported is the norm before
    assert norms[0][1] == pytest.approx(1e-3, rel=1e-4)
    assert norms[1][1] == pytest.approx(norms[1][0], rel=1e-5)


def test_the_rate_of_the_moment_is_schedule_times_lazy_factor_times_rollback(game):
    recipe = 'adam(lr=linear(1e-3, 0, over="100%"), lazy=4)'
    played = game("gan", optim={"discriminator": recipe})
    table = Table(played)
    table.rate = 0.5
    table.turn("discriminator", played.players["discriminator"], Clock(samples=50, total=100), None)
    assert table.optimisers["discriminator"].param_groups[0]["lr"] == pytest.approx(0.5e-3 * 0.8 * 0.5)


def test_the_opponent_goes_on_from_the_optimiser_of_the_discriminator_it_stands_for(game, monkeypatch):
    played = game("cycle-mini")
    table, given = Table(played), []
    monkeypatch.setattr(
        played.opponent, "ahead", lambda module, loss, optimiser: given.append((module, optimiser)) or module
    )
    table.turn("generator", played.players["generator"], Clock(samples=50, total=100), None)
    trains = {id(w): o for o in table.optimisers.values() for w in o.param_groups[0]["params"]}
    assert {id(module) for module, _ in given} == {id(played.networks[n]) for n in played.discriminators}
    assert all(trains[id(w)] is optimiser for module, optimiser in given for w in module.parameters())


def test_constraints_hold_after_every_step_of_their_side(game):
    played = game("gan", constraints="clip(limit=0.01)")
    Trainer(played)._step(False)
    largest = {n: max(float(p.detach().abs().max()) for p in m.parameters()) for n, m in played.networks.items()}
    assert largest["discriminator"] == pytest.approx(0.01)
    assert largest["generator"] > 0.05


def test_the_state_of_a_regularizer_moves_once_a_turn_by_the_mean_over_micro_batches(game):
    ends = []
    for parts in (1, 4):
        played = game("gan", regularizers="lecam(warmup=1)", accumulate=parts, share="nothing", precision="fp64")
        Table(played).turn("discriminator", played.players["discriminator"], Clock(), None)
        ends.append(weights(played.regularizers["lecam"]))
    assert int(ends[0]["turns"]) == int(ends[1]["turns"]) == 1
    assert abs(float(ends[0]["real"])) > 1e-6
    assert_close(ends[1], ends[0], rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------- half precision


@pytest.mark.parametrize("preset", preset_names())
def test_half_precision_ends_where_penalties_and_objectives_begin(preset, game):
    played = game(preset, precision="bf16")
    trainer, seen = Trainer(played), []
    whole = trainer.table._losses

    def watched(name, player, batch, generated, rounds, *rest):
        seen.append(generated.x)
        for round in rounds:
            scores = [s for v in round.verdicts.values() for s in v.score]
            seen.extend([round.real.x, round.fake.x, *scores])
        return whole(name, player, batch, generated, rounds, *rest)

    trainer.table._losses = watched
    trainer._step(False)
    assert {t.dtype for t in seen} == {torch.float32}
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in played.networks.parameters())


@pytest.mark.parametrize(
    "regularizers",
    [["r2(share=0.5)"], ["r2(estimator=finite-difference)"], ["r1", "consistency(where=both)"], ["wgan-gp", "lecam"]],
)
def test_half_precision_goes_with_every_penalty(regularizers, game):
    report = Table(played := game("hinge", regularizers=regularizers, precision="bf16")).turn(
        "discriminator", played.players["discriminator"], Clock(), None
    )
    exact = Table(played := game("hinge", regularizers=regularizers)).turn(
        "discriminator", played.players["discriminator"], Clock(), None
    )
    assert report.terms.keys() == exact.terms.keys()
    assert report.terms == pytest.approx(exact.terms, rel=0.1, abs=0.02)


# --------------------------------------------------------------------------------------- rows that belong together


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"regularizers": ["wgan-gp"], "objective": "wasserstein"},
            ["regularizers.wgan-gp:", "regularizers.wgan-gp=r1"],
        ),
        ({"regularizers": [], "objective": "nonsaturating(pairing=paired)"}, ["the objective:", "pairing=average"]),
    ],
)
def test_rows_set_against_each_other_must_share_their_condition(options, words, game, monkeypatch):
    def shifted(batch, generated):
        y = batch["y"]
        return [Comparison("discriminator", Inputs(batch["x"], y), Inputs(generated.x, y.roll(1)))]

    played = game("hinge", **options)
    free = game("hinge", regularizers=["r1"])
    for some in (played, free):
        monkeypatch.setattr(some.task, "comparisons", shifted)
    with pytest.raises(UsageError) as caught:
        Table(played).turn("discriminator", played.players["discriminator"], Clock(), None)
    assert [word for word in words if word not in str(caught.value)] == []
    Table(free).turn("discriminator", free.players["discriminator"], Clock(), None)  # a sum over sides may differ
    # Equal labels in other tensors are no difference.
    monkeypatch.setattr(
        played.task,
        "comparisons",
        lambda b, g: [Comparison("discriminator", Inputs(b["x"], b["y"]), Inputs(g.x, b["y"].clone()))],
    )
    Table(played).turn("discriminator", played.players["discriminator"], Clock(), None)


def test_an_interpolating_penalty_is_asked_only_when_it_is_due(game, monkeypatch):
    played = game("hinge", regularizers=["wgan-gp(every=2)"])
    monkeypatch.setattr(
        played.task,
        "comparisons",
        lambda b, g: [Comparison("discriminator", Inputs(b["x"], b["y"]), Inputs(g.x, b["y"].roll(1)))],
    )
    table = Table(played)
    table.turns["discriminator"] = 1
    table.turn("discriminator", played.players["discriminator"], Clock(), None)
    with pytest.raises(UsageError, match="wgan-gp"):
        table.turn("discriminator", played.players["discriminator"], Clock(), None)


def test_a_discriminator_that_moves_without_reals_is_a_defect_and_not_a_generator(game):
    played = game("gan")
    table = Table(played)
    round = table.turn("discriminator", played.players["discriminator"], Clock(), None).rounds[0]
    fakes = replace(round, verdicts={"fake": round.verdicts["fake"]})
    with pytest.raises(KeyError, match="real"):
        _adversarial(played.objective, fakes.verdicts, True)
    assert _adversarial(played.objective, fakes.verdicts, False).isfinite()


# ------------------------------------------------------------------------------------------ what is not a number


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_poisoned_weight_is_named_in_the_first_turn(player, game):
    played = game("gan")
    with torch.no_grad():
        played.networks[player].layers[0].linear.weight[0, 0] = float("nan")
    before = weights(played.networks)
    with pytest.raises(NonFinite, match="adversarial is not finite") as caught:
        Table(played).turn(player, played.players[player], Clock(), None)
    assert caught.value.player == player
    assert all(torch.equal(v, before[k]) or not v.isfinite().all() for k, v in weights(played.networks).items())


@pytest.fixture
def registered():
    """A term whose loss is fine and whose gradient is not, and one that is infinite."""

    @REGULARIZERS.register("bad-gradient")
    class BadGradient(RoundRegularizer):
        def __init__(self, *, every: int = 1):
            super().__init__(1.0, every)

        def forward(self, round):
            return (round.verdicts["real"].per_sample() * 0).abs().sqrt()  # 0, with an infinite slope

    @REGULARIZERS.register("infinite")
    class Infinite(RoundRegularizer):
        def __init__(self, *, every: int = 1):
            super().__init__(1.0, every)

        def forward(self, round):
            return round.verdicts["real"].per_sample() / 0

    @REGULARIZERS.register("huge")
    class Huge(RoundRegularizer):
        def __init__(self, *, every: int = 1):
            super().__init__(1.0, every)

        def forward(self, round):
            return round.verdicts["real"].per_sample() * 1e30

    yield
    for name in ("bad-gradient", "infinite", "huge"):
        del REGULARIZERS._parts[name]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("bad-gradient", "the gradient is not finite .first in discriminator.layers.0.linear.weight"),
        ("infinite", "infinite is not finite .first in loss"),
        ("huge", "first in the norm of all gradients"),
    ],
)
def test_the_term_and_the_tensor_are_named(name, named, game, registered):
    played = game("gan", regularizers=name)
    before = weights(played.networks)
    with pytest.raises(NonFinite, match=named):
        Table(played).turn("discriminator", played.players["discriminator"], Clock(), None)
    assert_close(weights(played.networks), before, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------- augmentation, judging


def test_real_and_fake_rows_are_augmented_apart_and_the_same_side_alike(game):
    played = game("quick", augment="noise(std=0.5)", regularizers=[])
    table = Table(played)
    round = table.turn("discriminator", played.players["discriminator"], Clock(), None).rounds[0]
    seen = []
    round.module.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    x = replace(round.real, x=torch.zeros_like(round.real.x))
    with torch.no_grad(), installed(round.draw):
        for side in ("real", "real", "fake"):
            round.judge(x, side)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert seen[0].std() > 0.1
