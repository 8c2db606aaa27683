"""Controllers: each decides by hand as written, one moves at a time, the engine does what was decided."""

from __future__ import annotations

import re

import pytest

from gannet import api
from gannet.core.errors import Problems, UsageError
from gannet.core.overrides import resolve
from gannet.core.parts import Decision
from gannet.core.registry import CONTROLLERS
from gannet.core.types import Clock
from gannet.engine import checkpoint
from gannet.engine.assembly import assemble
from gannet.engine.controllers import ORDER, Pilot
from gannet.engine.trainer import Trainer
from gannet.engine.turn import Table


def lines(count: int, each: int = 1000, **signals: float) -> list[dict[str, float]]:
    return [{"samples": (i + 1) * each, **signals} for i in range(count)]


def build(spec: str):
    return CONTROLLERS.build(spec)


@pytest.mark.parametrize(
    ("loss", "factor", "expected"),
    [
        (0.11, 1.0, None),
        (0.09, 1.0, 2.0),
        (0.02, 1.0, 8.0),
        (0.09, 10_000.0, None),
        (0.02, 5_000.0, 10_000.0),
    ],
)
def test_the_penalty_follows_how_far_the_discriminator_is_ahead(loss, factor, expected):
    decision = build("steer-penalty").decide(lines(6, loss_over_equilibrium=loss, p_real_above_fake=1.0), factor)
    assert (decision and decision.factor) == expected


@pytest.mark.parametrize(
    ("share", "factor", "expected"),
    [(0.55, 8.0, None), (0.53, 8.0, 4.0), (0.53, 1.5, 1.0), (0.53, 1.0, None), (0.5, 1.0, None)],
)
def test_the_penalty_is_let_go_to_where_it_began_and_no_further(share, factor, expected):
    decision = build("steer-penalty").decide(lines(6, loss_over_equilibrium=0.99, p_real_above_fake=share), factor)
    assert (decision and decision.factor) == expected


def test_a_discriminator_that_orders_every_pair_by_little_is_not_ahead():
    seen = lines(6, loss_over_equilibrium=0.4, p_real_above_fake=1.0)
    assert build("steer-penalty").decide(seen, 1.0) is None


def test_a_loss_on_its_way_back_up_is_left_alone():
    controller = build("steer-penalty")
    rising = [{**line, "loss_over_equilibrium": 0.02 + 0.005 * i} for i, line in enumerate(lines(6))]
    assert controller.decide(rising, 1.0) is None
    assert controller.decide(rising[::-1], 1.0).factor == 2.0
    assert build("steer-penalty(patience=1)").decide(rising[:1], 1.0).factor == 8.0, "one line has no way"


def test_an_objective_without_an_equilibrium_never_raises_the_penalty():
    assert build("steer-penalty").decide(lines(6, p_real_above_fake=1.0), 1.0) is None
    assert build("steer-penalty").decide(lines(6, p_real_above_fake=0.5), 4.0).factor == 2.0


def test_a_decision_waits_for_its_lines_and_says_what_it_saw():
    controller = build("steer-penalty")
    assert controller.decide(lines(5, loss_over_equilibrium=0.09), 1.0) is None
    seen = lines(6, each=5000, loss_over_equilibrium=0.09)
    said = "the discriminator's loss is 0.09 of its value at equilibrium for 30k samples: penalty × 2"
    assert controller.decide(seen, 1.0) == Decision(2.0, said)
    assert controller.decide([{"samples": 0, "loss_over_equilibrium": 9.0}, *seen], 1.0).factor == 2.0, (
        "the last lines count"
    )
    assert controller.decide(lines(6, each=5000, p_real_above_fake=0.53), 2.0).text == (
        "P(real > fake) 0.53 for 30k samples: penalty ÷ 2"
    )
    assert controller.decide(lines(9, spread=1.0), 1.0) is None, "nothing is known of what was not logged"


@pytest.mark.parametrize(
    ("signal", "found", "factor", "expected"),
    [
        ("p_train_above_heldout", 0.76, 0.0, 0.1),
        ("p_train_above_heldout", 0.74, 0.3, None),
        ("p_train_above_heldout", 0.71, 0.3, None),
        ("p_train_above_heldout", 0.69, 0.3, 0.25),
        ("p_train_above_heldout", 0.69, 0.0, None),
        ("p_train_above_heldout", 0.9, 0.75, 0.8),
        ("p_train_above_heldout", 0.9, 0.8, None),
        ("sign_real", 0.9, 0.0, None),
    ],
)
def test_augmentation_follows_the_heldout_gap(signal, found, factor, expected):
    decision = build("steer-augmentation").decide(lines(4, **{signal: found}), factor)
    assert (decision and decision.factor) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("spread", "expected"), [(0.49, None), (0.5, 0.25), (1.2, 0.25)])
def test_augmentation_is_not_taken_from_fakes_that_are_all_alike(spread, expected):
    steer = build("steer-augmentation")
    decision = steer.decide(lines(4, p_train_above_heldout=0.5, spread=spread), 0.3)
    assert (decision and decision.factor) == (None if expected is None else pytest.approx(expected))
    assert steer.decide(lines(4, p_train_above_heldout=0.9, spread=spread), 0.3).factor == pytest.approx(0.4)


def test_augmentation_can_follow_the_sign_of_reals_as_ada_does():
    decision = build("steer-augmentation(signal=sign, target=0.6)").decide(lines(4, sign_real=0.7), 0.2)
    assert decision.factor == pytest.approx(0.3)
    assert decision.text == "E[sign D(real)] 0.70 for 4k samples: augmentation 20 → 30 %"


@pytest.mark.parametrize(
    ("share", "factor", "expected"),
    [(0.2, 1.0, 0.7), (0.2, 0.2, None), (0.3, 1.0, None), (0.6, 0.5, 0.5 / 0.7), (0.6, 1.0, None), (0.6, 0.9, 1.0)],
)
def test_the_rate_follows_the_loss_at_equilibrium(share, factor, expected):
    decision = build("steer-rate").decide(lines(6, loss_over_equilibrium=share), factor)
    assert (decision and decision.factor) == (None if expected is None else pytest.approx(expected))


def test_a_return_needs_every_line_of_its_patience_below_and_remembers_where_it_began():
    controller = build("rollback(patience=3, times=2)")
    fallen = [*lines(4, spread=0.9), *({"samples": 5000 + i, "spread": 0.3} for i in range(3))]
    assert controller.decide(fallen, 1.0).factor == 4
    assert controller.decide(fallen, 1.0).since == 5000
    assert controller.decide(fallen[:-1], 1.0) is None
    assert controller.decide(fallen, 4.0).factor == 16
    assert controller.decide(fallen, 16.0) is None, "after `times` it gives up"


# --------------------------------------------------------------------------------------------------------- the pilot


def record(step: int = 1000, **signals: float) -> dict[str, float]:
    return {"samples": 64 * step, "step": step, "loss_above_equilibrium": 0.0, **signals}


def test_one_controller_moves_at_a_time_in_the_order_of_the_house():
    specs = [
        "steer-rate(patience=1)",
        "steer-augmentation(patience=1)",
        "steer-penalty(patience=1)",
        "rollback(patience=1)",
    ]
    pilot = Pilot({spec.partition("(")[0]: build(spec) for spec in specs}, 1.0)
    assert [c.actuator for c in pilot.controllers.values()] == list(ORDER)
    bad = record(p_train_above_heldout=0.9, spread=0.1, loss_above_equilibrium=-0.92)
    moved = []
    for name in ("rollback", "steer-penalty", "steer-augmentation", "steer-rate"):
        found, _ = pilot.read(bad, 1.0)
        moved.append(found)
        assert pilot.lines == [], "what led to a decision leads to no second one"
        pilot.controllers.pop(name)
    assert moved == ["rollback", "steer-penalty", "steer-augmentation", "steer-rate"]
    assert pilot.factors == {"rollback": 4.0, "penalty": 2.0, "augmentation": 0.1, "discriminator.lr": 0.7}
    assert pilot.factor("penalty", "rollback") == 8.0


def test_a_young_generator_is_not_called_collapsed():
    pilot = Pilot({"rollback": build("rollback(patience=2)")}, 1.0)
    assert all(pilot.read(record(1000 + 10 * i, spread=0.1), 0.1) is None for i in range(9)), "early in its run"
    pilot.lines = []
    assert all(pilot.read(record(10 * i, spread=0.1), 0.5) is None for i in range(30)), "a few hundred steps old"
    assert pilot.read(record(300, spread=0.1), 0.5)[0] == "rollback"


def test_the_loss_is_read_against_the_equilibrium_and_not_where_that_is_zero():
    pilot = Pilot({"steer-rate": build("steer-rate(patience=1)")}, 0.5)
    name, decision = pilot.read(record(loss_above_equilibrium=-0.4), 0.5)
    assert name == "steer-rate"
    assert decision.text.startswith("the discriminator's loss is 0.20 of its value at equilibrium")
    assert (
        Pilot({"steer-rate": build("steer-rate(patience=1)")}, 0.0).read(record(loss_above_equilibrium=-9), 1) is None
    )


def test_the_state_of_a_pilot_is_all_it_needs():
    specs = {"steer-augmentation": build("steer-augmentation(patience=3)")}
    one, other = Pilot(specs, 1.0), Pilot(specs, 1.0)
    for step in (1000, 1100):
        assert one.read(record(step, p_train_above_heldout=0.9), 0.3) is None
    other.state = one.state
    found = [pilot.read(record(1200, p_train_above_heldout=0.9), 0.3) for pilot in (one, other)]
    assert found[0] == found[1] is not None


# ---------------------------------------------------------------------------------------------------------- the engine


def game(**overrides):
    return assemble(resolve("quick", {"data": "digits", "batch": 8, **overrides}).experiment)


def test_factors_multiply_the_penalty_the_rate_and_the_augmentation():
    controllers = "[steer-penalty, steer-rate, steer-augmentation(start=0.25)]"
    played = game(controllers=controllers, augment="diffaugment", **{"augment.diffaugment.amount": 0.5})

    def turn(**factors: float) -> tuple[dict[str, float], float, list[float]]:
        table = Table(assemble(played.experiment))
        table.pilot.factors.update({"augmentation": 0.0, **factors})
        amounts = []
        augmentation = table.game.augmentations["diffaugment"]
        inner = augmentation.forward
        augmentation.forward = lambda x, draw, amount=1.0: (amounts.append(amount), inner(x, draw, amount))[1]
        report = table.turn("discriminator", table.game.players["discriminator"], Clock(0, 1000), None)
        return report.terms, table.optimisers["discriminator"].param_groups[0]["lr"], amounts

    plain, rate, amounts = turn()
    assert set(amounts) == {0.0}
    strong, slow, _ = turn(**{"penalty": 16.0, "discriminator.lr": 0.5})
    assert strong["r1"] == pytest.approx(16 * plain["r1"])
    assert strong["r2"] == pytest.approx(16 * plain["r2"])
    assert strong["adversarial"] == pytest.approx(plain["adversarial"])
    assert slow == pytest.approx(rate / 2)
    assert set(turn(augmentation=0.25)[2]) == {0.125}
    assert Table(played).pilot.factors["augmentation"] == 0.25


def test_only_the_discriminators_rate_is_steered():
    table = Table(game(controllers="steer-rate"))
    table.pilot.factors["discriminator.lr"] = 0.5
    rates = []
    for name, player in table.game.players.items():
        table.turn(name, player, Clock(0, 1000), None)
        rates.append(table.optimisers[name].param_groups[0]["lr"])
    assert rates == [pytest.approx(5e-4), pytest.approx(1e-3)]


@pytest.fixture
def steered(tiny, place, no_plots, monkeypatch):
    """A run whose controllers fire, and its log."""
    monkeypatch.setattr("gannet.engine.health.YOUNG", 0)  # it is over after twenty steps

    def train(controllers: str, **more):
        run, _ = api.train("quick", {**tiny("quick", steps=20), "controllers": controllers, **more}, place("run"))
        return run, run.read_log()

    return train


def test_a_run_goes_back_to_a_snapshot_that_was_well(steered):
    run, log = steered("rollback(spread=0.99, patience=2, times=1)", **{"keep.checkpoints": 16})
    decisions = [i for i, r in enumerate(log) if r["kind"] == "decision"]
    assert len(decisions) == 1
    text, at = log[decisions[0]]["text"], log[decisions[0]]["samples"]
    if "no snapshot" not in text:
        assert re.search(rf"back at {at:,} samples$", text)
    steps = [r["samples"] for r in log if r["kind"] == "step"]
    assert steps == sorted(set(steps)), "the log has no two lines of one time"
    assert log[decisions[0]]["factor"] == 4
    assert checkpoint.latest(run.checkpoints).state["pilot"]["factors"] == {"rollback": 4.0}


def test_the_newest_snapshot_before_the_fall_is_taken(tiny, place, no_plots, monkeypatch):
    monkeypatch.setattr("gannet.engine.trainer.spread", lambda real, fake: 1.0)
    overrides = {**tiny("quick", steps=20), "controllers": "rollback", "keep.checkpoints": 16}
    experiment = resolve("quick", overrides).experiment
    trainer = Trainer(assemble(experiment), api.train("quick", overrides, place("run"))[0])
    trainer.resume(checkpoint.latest(trainer.run.checkpoints))
    ring = [entry["samples"] for entry in trainer.ring.entries]
    assert ring == sorted(ring)
    assert len(ring) >= 3
    before = trainer.ring.entries[-2]["samples"]
    assert trainer._return(trainer.ring.entries[-1]["samples"])
    assert trainer.clock.samples == before
    assert [entry["samples"] for entry in trainer.ring.entries] == ring[:-1]
    trainer.ring.entries = [{**entry, "well": False} for entry in trainer.ring.entries]
    assert not trainer._return(10**9), "a snapshot that was not well is no use"


def test_what_was_decided_is_in_the_log(steered):
    _, log = steered("steer-penalty(ahead=0.999, runaway=0.001, patience=1)")
    decisions = [r for r in log if r["kind"] == "decision"]
    assert decisions
    assert {r["controller"] for r in decisions} == {"steer-penalty"}
    assert all(re.match(r"the discriminator's loss is|P\(real > fake\) ", r["text"]) for r in decisions)


def test_a_controller_of_the_gap_has_trained_rows_judged_beside_held_out_ones(steered):
    _, log = steered("steer-augmentation", augment="diffaugment")
    found = [r["p_train_above_heldout"] for r in log if r["kind"] == "step"]
    assert len(found) >= 10
    assert all(0 <= value <= 1 for value in found)
    assert len(set(found)) > 5


def test_nobody_pays_for_a_signal_that_nobody_reads(steered):
    _, log = steered("steer-penalty")
    assert not any("p_train_above_heldout" in r for r in log)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"controllers": "steer-penalty", "regularizers": "[]"}, "there is none. Add regularizers=[r1, r2]"),
        ({"controllers": "rollback", "regularizers": "lecam"}, "there is none. Add regularizers=[r1, r2]"),
        ({"controllers": "steer-augmentation"}, "there is none. Add augment=diffaugment"),
        ({"controllers": "[rollback, rollback]"}, "both move the rollback. Keep one of them"),
    ],
)
def test_a_controller_without_its_actuator_is_refused(overrides, said):
    with pytest.raises((Problems, UsageError), match=re.escape(said)):
        game(**overrides)


@pytest.mark.parametrize(
    "spec",
    ["steer-penalty(low=0.4)", "steer-penalty(ahead=0.1, runaway=0.2)", "steer-penalty(ahead=1)",
     "steer-penalty(patience=0)", "steer-penalty(largest=0.5)",
     "steer-rate(low=0)", "steer-rate(smallest=0)", "steer-rate(smallest=2)", "rollback(spread=1)",
     "steer-augmentation(target=2)"],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec):
    with pytest.raises(UsageError):
        build(spec)
