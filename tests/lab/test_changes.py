"""What may change live, what starts anew, what is refused, and the record of it."""

from __future__ import annotations

import json

import pytest

from gannet.core import registry
from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.spec import Spec
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer
from gannet.lab import changes
from gannet.lab.changes import Change, Record, Snapshots, admitted, amended, checked, is_live
from gannet.lab.remedies import remedy

LAB = resolve("lab").experiment


@pytest.mark.parametrize(
    ("path", "live"),
    [
        ("objective", True),
        ("objective.pairing", True),
        ("regularizers.r1", True),
        ("regularizers.r1.weight", True),
        ("constraints", True),
        ("augment.noise.std", True),
        ("optim.generator.lr", True),
        ("players.discriminator.repeats", True),
        ("players.generator.until", True),
        ("batch", True),
        ("ema.halflife", True),
        ("generator.width", False),
        ("discriminator", False),
        ("task", False),
        ("data", False),
        ("seed", False),
        ("stop.samples", False),
    ],
)
def test_which_changes_go_on_and_which_start_anew(path, live):
    assert is_live(path) is live


@pytest.mark.parametrize(
    "path",
    ["device", "threads", "start_from", "preset", "log", "keep.log", "evaluate.n", "controllers", "stop",
     "stop.minutes", "players", "players.generator", "players.generator.frozen", "seed.x", "precision", "nothing"],
)  # fmt: skip
def test_other_settings_are_not_changed_here(path):
    if path == "seed.x":
        with pytest.raises(UsageError):
            amended(LAB, path, "1")
        return
    with pytest.raises(UsageError, match="unknown setting of the laboratory"):
        is_live(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("objective", "hinge(path='a/b')"),
        ("objective", "a\\b"),
        ("objective", "hinge\n"),
        ("objective", "x" * 2001),
        ("objective", {"a": 1}),
        ("objective", ["hinge"]),
        ("data", "folder"),
        ("data", "x.npz"),
        ("data", "points(name=ring), x"),
        ("__class__", "x"),
        ("a..b", "x"),
        (3, "x"),
        ("x" * 101, "1"),
    ],
)
def test_text_that_could_be_more_than_a_value_is_refused(path, value):
    with pytest.raises(UsageError):
        checked(path, value)


def test_values_become_the_text_that_train_reads():
    assert checked("batch", 64) == ("batch", "64")
    assert checked("ema.halflife", None) == ("ema.halflife", "none")
    assert checked("data.classes", True) == ("data.classes", "true")
    assert checked("optim.generator.lr", 1e-3) == ("optim.generator.lr", "0.001")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("generator.width", "513", "at most 512"),
        ("generator", "mlp(513)", "generator.width=513"),
        ("discriminator.layers", "13", "at most 12"),
        ("batch", "4097", "at most 4,096"),
        ("data", "points(n=100001)", "at most 100,000"),
        ("players.discriminator.repeats", "51", "at most 50"),
        ("opponent", "unrolled(steps=21)", "at most 20"),
        ("generator", "stylegan2", "stylegan2 is not played here"),
        ("objective", "hing", "Did you mean: hinge"),
        ("batch", "many", "batch"),
    ],
)
def test_what_costs_too_much_or_does_not_exist_is_refused(path, value, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        amended(LAB, path, value)


def test_a_file_is_admitted_only_as_the_sessions_own():
    own = LAB.model_copy(update={"data": Spec("array", (), {"path": "/tmp/points.npy"})})
    assert admitted(own, given=True) is own
    with pytest.raises(UsageError, match="array is not played here"):
        admitted(own)


def trainer(**more) -> Trainer:
    small = {"generator.width": 4, "discriminator.width": 4, "batch": 8, "data": "points(name=ring, n=100)"}
    return Trainer(assemble(resolve("lab", small | more).experiment))


def test_a_change_keeps_the_trainer_it_came_from_untouched():
    game = trainer()
    game.advance()
    weight = next(game.game.networks.parameters())
    before = weight.detach().clone()
    follower, _ = changes.changed(game, amended(game.experiment, "batch", "16"))
    follower.advance()
    assert (weight == before).all()
    assert not (next(follower.game.networks.parameters()) == before).all()


def test_momentum_switched_on_starts_fresh_and_its_size_does_not():
    game = trainer(**{"optim.generator": "sgd(lr=0.1)"})
    game.advance()
    game, notes = changes.changed(game, amended(game.experiment, "optim.generator.momentum", "0.5"))
    assert notes
    game.advance()
    _, notes = changes.changed(game, amended(game.experiment, "optim.generator.momentum", "0.9"))
    assert not notes


def test_snapshots_thin_out_by_halves_and_stay_findable():
    game, held = trainer(), Snapshots(every=1, most=10)
    for _ in range(64):
        held.offer(game)
        game.advance()
    assert held.every == 8
    assert held.steps() == [0, 8, 16, 24, 32, 40, 48, 56]
    assert held.before(31).step == 24
    assert held.before(3).step == 0
    held.drop_after(20)
    assert held.steps() == [0, 8, 16]
    assert held.used == sum(s.size for s in held.held.values()) > 0


def test_snapshots_keep_to_their_memory():
    game, held = trainer(), Snapshots(every=1, most=1000)
    held.offer(game)
    held.room = 5 * held.used
    for _ in range(20):
        game.advance()
        held.offer(game)
    assert held.used <= held.room
    assert len(held.steps()) >= 2


def test_the_record_is_a_file_that_says_the_same(tmp_path):
    record = Record(path=tmp_path / "changes.jsonl", beginning={"version": 1})
    record.write()
    for step in (1, 5, 9):
        record.add(Change(step, "batch", str(step)))
    record.rewind(5)
    assert record.done == 1
    assert record.due(4) is None
    assert record.due(5) == Change(5, "batch", "5")
    record.add(Change(4, "objective", "hinge"))
    lines = [json.loads(line) for line in (tmp_path / "changes.jsonl").read_text().splitlines()]
    assert lines == [{"version": 1}, *(c.to_json() for c in record.changes)]
    assert [c.step for c in record.changes] == [1, 4]


def test_the_record_has_an_end(monkeypatch):
    monkeypatch.setattr(changes, "MOST_CHANGES", 2)
    record = Record()
    for step in range(2):
        record.check_room()
        record.add(Change(step, "batch", "1"))
    with pytest.raises(UsageError, match="Reset"):
        record.check_room()


def test_every_alarm_has_a_remedy_that_is_accepted():
    experiment = LAB
    for alarm in ("collapse", "discriminator ahead", "collapse", "collapse"):
        tried = remedy(experiment, alarm)
        after = amended(experiment, *checked(tried["path"], tried["value"]))
        assert after != experiment
        experiment = after
    weight = registry.REGULARIZERS.resolve(experiment.regularizers["r1"])["weight"]
    assert weight.lowest == pytest.approx(10.0)
