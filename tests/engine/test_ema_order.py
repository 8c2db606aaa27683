"""What a run is made of beside its steps: averages, orders, pools, and the signs of health."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.random import Draw
from gannet.data.digits import Digits
from gannet.data.pairs import Inverted
from gannet.engine import health
from gannet.engine.ema import Average, Ema
from gannet.engine.feed import Feed
from gannet.engine.health import Health, p_above, spread
from gannet.engine.order import Order
from gannet.engine.pool import Pool
from gannet.networks.layers import spectral_norm

CPU = torch.device("cpu")

# ------------------------------------------------------------------------------------------------------------- ema


def constant(value: float) -> nn.Module:
    module = nn.Linear(2, 2).double()
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(value)
    return module


@pytest.mark.parametrize("moved", [1, 8, 50, 100])
def test_after_one_halflife_half_of_the_old_weights_is_left(moved):
    live = constant(0.0)
    ema = Average({"generator": live}, halflife=100, ramp=None)
    with torch.no_grad():
        live.weight.fill_(1.0)
    seen = 0
    for _ in range(0, 100 - 100 % moved, moved):
        seen += moved
        ema.update(moved, seen)
    expected = 1 - 0.5 ** (seen / 100)
    assert_close(ema.modules["generator"].weight, torch.full((2, 2), expected, dtype=torch.float64), rtol=1e-12, atol=0)
    assert_close(ema.modules["generator"].bias, torch.zeros(2, dtype=torch.float64))


def test_the_ramp_shortens_the_halflife_to_its_share_of_the_samples_seen():
    live = constant(1.0)
    ema = Average({"generator": live}, halflife=1000, ramp=0.05)
    with torch.no_grad():
        live.weight.fill_(2.0)
    ema.update(10, 200)  # half-life 0.05 · 200 = 10
    assert_close(ema.modules["generator"].weight, torch.full((2, 2), 1.5, dtype=torch.float64))
    ema.update(1000, 10**6)  # the half-life proper
    assert_close(ema.modules["generator"].weight, torch.full((2, 2), 1.75, dtype=torch.float64))


def test_without_a_halflife_it_is_an_exact_copy():
    live = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), spectral_norm(nn.Linear(3, 3)))
    ema = Average({"generator": live}, halflife=None, ramp=None)
    live(torch.randn(8, 3))
    with torch.no_grad():
        live[0].weight.mul_(1 / 3)
    advance(live[2])
    ema.update(8, 8)
    for name, value in live.state_dict().items():
        assert torch.equal(ema.modules["generator"].state_dict()[name], value)


def advance(layer: nn.Module) -> None:
    layer.parametrizations.weight[0].advance()


def test_spectral_norm_is_of_the_averaged_weights_however_fast_their_vectors_turn():
    torch.manual_seed(0)
    live = nn.Linear(32, 32, bias=False).double()
    nn.init.orthogonal_(live.weight)  # all singular values are alike, so that u may turn to anywhere
    spectral_norm(live)
    ema = Average({"generator": live}, halflife=200, ramp=None)
    for step in range(200):
        with torch.no_grad():
            live.parametrizations.weight.original.add_(0.02 * torch.randn(32, 32, dtype=torch.float64))
        advance(live)
        ema.update(10, 10 * (step + 1))
    averaged = ema.modules["generator"]
    norm = averaged.parametrizations.weight[0]
    assert float(norm.u.norm()) == pytest.approx(1)
    assert float(norm.v.norm()) == pytest.approx(1)
    assert float(torch.linalg.matrix_norm(averaged.weight, 2)) == pytest.approx(1, abs=0.1)


def test_statistics_of_batch_norm_are_averaged_and_counters_copied():
    live = nn.BatchNorm1d(2)
    ema = Average({"generator": live}, halflife=8, ramp=None)
    live(torch.randn(64, 2) + 3)
    ema.update(8, 8)
    averaged = ema.modules["generator"]
    assert_close(averaged.running_mean, live.running_mean / 2)
    assert_close(averaged.running_var, (1 + live.running_var) / 2)
    assert int(averaged.num_batches_tracked) == int(live.num_batches_tracked) == 1
    assert not averaged.training
    assert not any(p.requires_grad for p in averaged.parameters())
    assert live.training


def test_several_averages_go_on_as_each_would_alone_whichever_is_sampled():
    torch.manual_seed(0)
    live = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), spectral_norm(nn.Linear(3, 3)))
    several = Ema({"generator": live}, halflife=[10, 40, 160], ramp=None)
    alone = {halflife: Average({"generator": live}, halflife, None) for halflife in (10, 40, 160)}
    sampled = several.modules["generator"]
    for step in range(1, 13):
        live(torch.randn(8, 3))
        with torch.no_grad():
            for p in live.parameters():
                p.add_(0.1 * torch.randn_like(p))
        for average in (several, *alone.values()):
            average.update(8, 8 * step)
        several.choose((2, 0, 1)[step % 3])
    assert sorted(several.halflives) == [10, 40, 160] != several.halflives
    assert several.modules["generator"] is sampled, "who holds the sampled network need not hear of it"
    for average in several.averages:
        expected = alone[average.halflife].modules["generator"].state_dict()
        for name, value in average.modules["generator"].state_dict().items():
            assert torch.equal(value, expected[name]), (average.halflife, name)


# ------------------------------------------------------------------------------------------------- orders and feeds


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_every_pass_is_a_permutation_of_its_own(length):
    rows = Order(length, 3, "train/discriminator").rows(range(3 * length))
    passes = rows.split(length)
    for one in passes:
        assert sorted(one.tolist()) == list(range(length))
    if length > 6:
        assert not torch.equal(passes[0], passes[1])


def test_an_order_is_a_pure_function_of_seed_stream_and_position():
    order = Order(50, 3, "a")
    whole = order.rows(range(200))
    again = torch.cat([Order(50, 3, "a").rows(range(start, start + 20)) for start in range(180, -1, -20)][::-1])
    assert torch.equal(whole, again)
    assert torch.equal(order.rows(range(45, 55)), whole[45:55])  # across the border of two passes
    assert not torch.equal(whole, Order(50, 4, "a").rows(range(200)))
    assert not torch.equal(whole, Order(50, 3, "b").rows(range(200)))
    assert len(order.rows(range(5, 5))) == 0


def test_players_see_the_data_in_orders_of_their_own():
    feed = Feed(Digits(limit=64), "train", 0, CPU, torch.float32, False)
    one, other = (feed.take(name, range(64)) for name in ("discriminator", "generator"))
    assert not torch.equal(one["y"], other["y"])
    assert torch.equal(one["y"].sort().values, other["y"].sort().values)


def test_an_unpaired_field_is_drawn_in_an_order_of_its_own():
    feed = Feed(Inverted(limit=64), "train", 0, CPU, torch.float64, True)
    batch = feed.take("discriminator", range(64))
    assert batch["given"].dtype == torch.float64
    assert batch["x"].is_contiguous(memory_format=torch.channels_last)
    # The inverted picture of x has its ink where x has none; rows that belonged together would show it in every row.
    correlation = [
        float(torch.corrcoef(torch.stack([x.flatten(), g.flatten()]))[0, 1])
        for x, g in zip(batch["x"], batch["given"], strict=True)
    ]
    assert max(correlation) > -0.5
    paired = feed.data.take_own("given", feed.orders["train/discriminator"].rows(range(64))).double()
    together = [
        float(torch.corrcoef(torch.stack([x.flatten(), g.flatten()]))[0, 1])
        for x, g in zip(batch["x"], paired, strict=True)
    ]
    assert max(together) < -0.5


# ------------------------------------------------------------------------------------------------------------ pools


def test_a_pool_fills_then_exchanges_about_half():
    pool, shown, given = Pool(20), [], []
    for turn in range(100):
        fakes = torch.arange(turn * 10, turn * 10 + 10, dtype=torch.float32)[:, None]
        given.append(fakes)
        shown.append(pool.exchange(fakes, Draw(0, "pool", turn, range(turn * 10, turn * 10 + 10))))
    assert torch.equal(torch.cat(shown[:2]), torch.cat(given[:2]))  # until it is full everything passes
    old = torch.cat(shown[2:]) != torch.cat(given[2:])
    assert 0.42 < float(old.float().mean()) < 0.58
    assert (torch.cat(shown) <= torch.cat(given)).all()  # only earlier ones come back
    # Nothing is lost: a fake was shown or is still inside.
    assert {int(v) for v in torch.cat([*shown, pool.rows])} == set(range(1000))
    assert len(pool.rows) == 20


def test_a_pool_depends_on_nothing_but_its_rows_and_the_draw():
    fakes = torch.randn(64, 3)
    one, other = Pool(8), Pool(8)
    draw = range(64)
    whole = one.exchange(fakes, Draw(0, "pool", 0, draw))
    assert torch.equal(whole, other.exchange(fakes, Draw(0, "pool", 0, draw)))
    assert torch.equal(one.rows, other.rows)
    assert not whole.requires_grad


# ----------------------------------------------------------------------------------------------------------- health


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([1.0, 2.0], [0.0, -1.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 0.5),
        ([0.0], [1.0], 0.0),
        ([1.0, 3.0], [0.0, 2.0], 0.75),
        ([1.0, 2.0], [1.0, 0.0], 0.875),
        ([2.0, 3.0], [5.0, 0.0, 2.0], 7 / 12),
    ],
)
def test_p_above_in_closed_form(real, fake, expected):
    assert p_above(torch.tensor(real), torch.tensor(fake)) == expected


def test_spread_is_the_ratio_of_standard_deviations():
    x = torch.randn(32, 1, 4, 4)
    assert spread(x, 0.25 * x + 7) == pytest.approx(0.25, rel=1e-5)
    assert spread(x, x[:1].expand(32, -1, -1, -1)) == pytest.approx(0.0, abs=1e-6)
    assert spread(torch.ones(4, 2), x.flatten(1)[:, :2]) == 1.0  # constant reals say nothing


EQUILIBRIUM = 1.386
AHEAD = {"spread": 0.9, "p_real_above_fake": 0.999, "loss_above_equilibrium": -0.95 * EQUILIBRIUM}
BAD, GOOD = {"spread": 0.2, "p_real_above_fake": 0.7}, {"spread": 0.9, "p_real_above_fake": 0.7}


def test_an_alarm_stands_after_a_window_of_bad_lines_and_clears_after_one_of_good():
    watch = Health(EQUILIBRIUM)
    said = [watch.alarms(BAD) for _ in range(health.WINDOW + 3)]
    assert [bool(s) for s in said] == [False] * (health.WINDOW - 1) + [True] + [False] * 3  # said once
    assert "0.20 times" in said[health.WINDOW - 1][0]
    for _ in range(health.WINDOW - 1):
        watch.alarms(GOOD)
    assert watch.standing == ["collapse"]
    watch.alarms(GOOD)
    assert watch.standing == []


def test_one_good_line_starts_the_count_anew():
    watch = Health(EQUILIBRIUM)
    for line in [BAD] * (health.WINDOW - 1) + [GOOD] + [BAD] * (health.WINDOW - 1):
        assert watch.alarms(line) == []


def test_a_young_run_raises_no_alarm_and_a_strong_discriminator_does():
    watch = Health(EQUILIBRIUM)
    for _ in range(3 * health.WINDOW):
        assert watch.alarms(BAD, early=True) == []
    texts = [watch.alarms(AHEAD) for _ in range(health.WINDOW)][-1]
    assert len(texts) == 1
    assert re.search("far ahead.* 0.999, its loss 0.05 of the value", texts[0])
    nothing_left = AHEAD | {"loss_above_equilibrium": -EQUILIBRIUM}  # a hinge loss may be 0 exactly
    watch = Health(EQUILIBRIUM)
    assert [watch.alarms(nothing_left) for _ in range(health.WINDOW)][-1]


@pytest.mark.parametrize(
    ("equilibrium", "line"),
    [
        (EQUILIBRIUM, AHEAD | {"loss_above_equilibrium": -0.8 * EQUILIBRIUM}),  # all told apart by a small margin
        (EQUILIBRIUM, AHEAD | {"p_real_above_fake": 0.9}),
        (0.0, AHEAD | {"loss_above_equilibrium": -50.0}),  # a Wasserstein critic should be ahead
    ],
)
def test_a_discriminator_that_is_ahead_in_a_healthy_way_raises_no_alarm(equilibrium, line):
    watch = Health(equilibrium)
    assert [watch.alarms(line) for _ in range(2 * health.WINDOW)] == [[]] * (2 * health.WINDOW)


def test_means_are_over_the_lines_since_the_last_and_survive_a_restart():
    watch = Health(EQUILIBRIUM)
    watch.add(loss=1.0, norm=4.0)
    watch.add(loss=2.0)
    copy = Health(EQUILIBRIUM)
    copy.state = watch.state
    for one in (watch, copy):
        one.add(loss=6.0)
        assert one.flush() == {"loss": 3.0, "norm": 4.0}
        assert one.flush() == {}
