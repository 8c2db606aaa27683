"""A session's game: live changes, rewinding and replaying to the bit, step mode, slow motion, and its thread."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
import torch

from gannet import api
from gannet.core.errors import UsageError
from gannet.engine import checkpoint, state
from gannet.engine.run import Run
from gannet.engine.turn import NonFinite
from gannet.lab.frames import Reader, unpack
from gannet.lab.playground import Playground
from gannet.lab.session import Session
from gannet.lab.share import State, beginning, export

SMALL = {"generator.width": 6, "discriminator.width": 6, "batch": 16, "data": "points(name=ring, n=500)"}


def begun(**more) -> State:
    return State(beginning(SMALL | {k.replace("__", "."): v for k, v in more.items()}))


def weights(playground: Playground) -> dict[str, torch.Tensor]:
    """Everything that makes the future: networks, averages, optimisers and regularizers."""
    tensors, values = state.capture(playground.trainer)
    found = {f"{group}/{k}": v.clone() for group, named in tensors.items() for k, v in named.items()}
    places = [*values["turns"].values(), *values["cursors"].values(), values["samples"], values["step"]]
    return found | {"places": torch.tensor(places)}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def playground(tmp_path) -> Playground:
    return Playground(Run.at(tmp_path / "run"), begun())


def play(playground: Playground, until: int) -> None:
    while playground.step < until:
        playground.advance()


def to(playground: Playground, step: int) -> None:
    playground.rewind(step)
    play(playground, step)


CHANGES = [
    (20, "objective", "hinge(pairing=average)"),
    (35, "batch", "24"),
    (55, "optim.discriminator", "sgd(lr=0.05, momentum=0.9)"),
    (55, "turn.generator", "3"),
    (70, "regularizers", "[r1(weight=0.1), historical-averaging, lecam(warmup=1)]"),
    (85, "optim.generator.lr", "0.002"),
    (85, "players.discriminator.repeats", "2"),
    (110, "ema.halflife", "300"),
    (115, "augment.noise", "noise(std=0.2)"),
    (130, "regularizers", "none"),
    (135, "constraints.clip", "clip(limit=0.1)"),
    (140, "opponent", "unrolled(steps=2, lr=0.01)"),
    (150, "optim.discriminator", "adam(lr=0.003)"),
    (155, "turn.discriminator", "2"),
]


def change_all(playground: Playground) -> dict[int, dict[str, torch.Tensor]]:
    """Play to step 180 with `CHANGES` made on the way; the weights every ten steps."""
    seen = {}
    for step in range(181):
        play(playground, step)
        for at, path, value in CHANGES:
            if at == step and path.startswith("turn."):
                playground.lone_turns(path.removeprefix("turn."), int(value))
            elif at == step:
                playground.set(path, value)
        if step % 10 == 0:
            seen[step] = weights(playground)
    return seen


def test_rewinding_and_replaying_across_every_kind_of_change_is_exact(playground):
    seen = change_all(playground)
    assert playground.snapshots.steps() == [0, 50, 100, 150]
    for step in (0, 180, 10, 60, 50, 120, 150, 90, 160, 20, 180):
        to(playground, step)
        assert same(weights(playground), seen[step]), step
    assert len({str(weights_of["weights/generator.output.bias"]) for weights_of in seen.values()}) == len(seen)


def test_a_loaded_state_is_the_saved_one(playground, tmp_path):
    seen = change_all(playground)
    saved = json.loads(json.dumps(playground.state().to_json()))
    loaded = State.from_json(saved)
    other = Playground(Run.at(tmp_path / "other"), replace(loaded, step=0))
    play(other, loaded.step)
    assert same(weights(other), seen[180])
    assert other.state().to_json() == saved
    assert (other.run.path / "changes.jsonl").read_text() == (playground.run.path / "changes.jsonl").read_text()


def test_another_seed_is_another_game(tmp_path):
    one, two = (Playground(Run.at(tmp_path / str(n)), State(beginning(SMALL, seed=n))) for n in (0, 1))
    play(one, 3), play(two, 3)
    assert not torch.equal(
        weights(one)["weights/generator.output.weight"], weights(two)["weights/generator.output.weight"]
    )


def test_training_without_the_laboratory_gives_the_same_weights(playground, tmp_path):
    play(playground, 40)
    words = {**SMALL, "stop.samples": 40 * 16}
    run, _ = api.train("lab", words, tmp_path / "plain")
    plain = checkpoint.latest(run.checkpoints).tensors
    for key, value in weights(playground).items():
        group, _, name = key.partition("/")
        if group in ("weights", "training"):
            assert torch.equal(plain[group][name], value), key
    assert len(plain["weights"]) > 8


def test_the_exported_command_trains_the_same(playground, tmp_path):
    import shlex

    playground.set("regularizers.r1", "r1(weight=0.3)")
    playground.set("optim.generator.lr", 0.003)
    play(playground, 25)
    text = export("command", playground.state(), playground.trainer.experiment, 25 * 16, [])
    words = shlex.split(text.splitlines()[-1])
    assert words[:3] == ["gannet", "train", "lab"]
    run, _ = api.train("lab", words[3:], tmp_path / "plain")
    plain = checkpoint.latest(run.checkpoints).tensors["weights"]
    assert all(torch.equal(plain[k], weights(playground)[f"weights/{k}"]) for k in plain)


def test_a_live_change_keeps_what_fits_and_says_what_does_not(playground):
    play(playground, 5)
    before = weights(playground)
    _, notes = playground.set("objective", "wasserstein")
    assert notes == []
    assert same(weights(playground), before)
    _, notes = playground.set("optim.discriminator", "sgd(lr=0.1)")
    assert notes == ["the optimiser of discriminator starts fresh, as it is of another kind"]
    after = weights(playground)
    assert not any(k.startswith("training/optim/discriminator") for k in after)
    assert all(torch.equal(before[k], v) for k, v in after.items())
    assert any(k.startswith("training/optim/generator") for k in after)
    assert playground.trainer.game.objective.__class__.__name__ == "Wasserstein"


def test_the_loss_that_is_chosen_is_the_one_that_is_trained(tmp_path):
    """From the same weights two objectives give two updates; a change of structure does not lose the choice."""
    games = []
    for number, objective in enumerate(("nonsaturating", "leastsquares")):
        game = Playground(Run.at(tmp_path / str(number)), begun())
        play(game, 3)
        game.set("objective", objective)
        game.set("generator.width", 8)
        assert game.step == 0
        assert str(game.trainer.experiment.objective) == objective
        play(game, 3)
        games.append(weights(game))
    assert not same(*games)


def test_a_structural_change_starts_anew_at_the_same_seed(playground):
    beginning_weights = weights(playground)
    play(playground, 60)
    playground.set("objective", "hinge")
    assert playground.set("discriminator.width", "7") == (True, [])
    assert (playground.step, playground.record.changes, playground.rows) == (0, [], [])
    assert playground.run.read_log() == []
    now = weights(playground)
    kept = [k for k in now if k.startswith("weights/generator")]
    assert all(torch.equal(now[k], beginning_weights[k]) for k in kept)
    assert playground.state().to_json()["experiment"]["objective"] == "hinge"


def test_a_change_after_rewinding_is_a_new_future(playground):
    play(playground, 130)
    playground.set("objective", "hinge")
    play(playground, 160)
    playground.commit()
    to(playground, 120)
    assert len(playground.record.changes) == 1, "rewinding alone forgets nothing"
    playground.set("batch", 8)
    assert [c.path for c in playground.record.changes] == ["batch"]
    assert playground.snapshots.steps() == [0, 50, 100]
    assert max(row[0] for row in playground.rows) == 120
    files = (playground.run.path / "changes.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in files[1:]] == ["batch"]
    log = playground.run.read_log()
    assert [line["step"] for line in log if line["kind"] == "step"] == [50, 100]
    assert [line["text"] for line in log if line["kind"] == "note"] == ["batch=8"]
    assert checkpoint_names(playground) == []
    play(playground, 160)
    assert playground.trainer.experiment.objective.name == "nonsaturating"
    assert [line["step"] for line in playground.run.read_log() if line["kind"] == "step"] == [50, 100, 150]


def checkpoint_names(playground: Playground) -> list[str]:
    return [path.name for path in playground.run.checkpoints.iterdir() if path.is_dir()]


def test_replaying_writes_no_line_twice_and_the_same_alarms_stand(playground):
    play(playground, 160)
    lines = playground.run.log.read_text()
    health = json.dumps(playground.trainer.health.state, sort_keys=True)
    to(playground, 70)
    to(playground, 160)
    assert playground.run.log.read_text() == lines
    assert json.dumps(playground.trainer.health.state, sort_keys=True) == health


def test_a_refused_change_changes_nothing(playground):
    play(playground, 10)
    before, trainer = weights(playground), playground.trainer
    for path, value in (("objective", "hing"), ("generator.width", 0), ("optim.nobody.lr", 1), ("batch", 0)):
        with pytest.raises(UsageError):
            playground.set(path, value)
    assert playground.trainer is trainer
    assert same(weights(playground), before)
    assert playground.record.changes == []


def test_the_run_directory_is_an_ordinary_run(playground):
    play(playground, 30)
    playground.set("objective", "hinge")
    play(playground, 60)
    playground.commit()
    model = api.load(playground.run.path)
    assert model.sample(4).shape == (4, 2)
    run, outcome = api.resume(playground.run.path, {"stop.samples": 80 * 16})
    assert outcome.samples == 80 * 16
    play(playground, 80)
    resumed = checkpoint.latest(run.checkpoints).tensors["weights"]
    assert all(torch.equal(resumed[k], weights(playground)[f"weights/{k}"]) for k in resumed)


# ------------------------------------------------------------------------------------------------------ the thread


@pytest.fixture
def opened(tmp_path):
    session = Session(Run.at(tmp_path / "run"), begun())
    yield session
    session.close()


def settle(session: Session, timeout: float = 60) -> dict:
    end = time.monotonic() + timeout
    while (status := session.status())["busy"]:
        assert time.monotonic() < end, status
        time.sleep(0.01)
    return status


def wait(session: Session, reached, timeout: float = 60) -> dict:
    end = time.monotonic() + timeout
    while not reached(status := session.status()):
        assert time.monotonic() < end, status
        time.sleep(0.005)
    return status


def test_it_plays_pauses_steps_seeks_and_loads(opened, tmp_path):
    assert opened.status()["playing"] is False
    assert opened.do("play")["status"]["playing"] is True
    wait(opened, lambda s: s["step"] >= 60)
    at = opened.do("pause")["status"]["step"]
    time.sleep(0.05)
    assert opened.status()["step"] == at
    opened.do("step", n=7)
    assert settle(opened)["step"] == at + 7
    turned = opened.do("step", who="generator", n=2)
    assert turned["status"]["step"] == at + 7
    assert turned["state"]["changes"] == [{"step": at + 7, "path": "turn.generator", "value": "2"}]
    end = weights(opened.playground)
    opened.do("seek", step=3)
    assert settle(opened)["step"] == 3
    opened.do("seek", step=at + 7)
    assert settle(opened)["step"] == at + 7
    assert same(weights(opened.playground), end)
    saved = opened.state()
    opened.do("reset", seed=5)
    assert opened.state()["seed"] == 5
    opened.do("load", state=saved)
    assert settle(opened)["step"] == at + 7
    assert opened.state() == saved
    assert same(weights(opened.playground), end)
    other = Session(Run.at(tmp_path / "other"), State.from_json(saved))
    settle(other)
    assert same(weights(other.playground), end)
    other.close()


def test_speed_is_kept(opened):
    opened.do("speed", steps_per_second=20)
    opened.do("play")
    time.sleep(0.6)
    assert 3 <= opened.do("pause")["status"]["step"] <= 16


def test_slow_motion_shows_ten_stages_and_plays_the_same_game(opened, tmp_path):
    opened.do("slow", milliseconds=5000)
    before, moved = weights(opened.playground), []
    for stage in range(10):
        opened._inside(opened._next_stage)
        assert opened.status()["stage"] == stage
        now = opened._inside(lambda: weights(opened.playground))
        changed = [k for k in before if k.startswith("weights") and not torch.equal(before[k], now[k])]
        moved.append({k.split("/")[1].split(".")[0] for k in changed})
    assert moved == [set()] * 4 + [{"discriminator"}] * 5 + [{"discriminator", "generator"}]
    assert opened.status()["step"] == 1
    opened.do("slow", milliseconds=2)
    opened.do("play")
    wait(opened, lambda s: s["step"] >= 3)
    opened.do("pause")
    at = opened.do("slow", milliseconds=0)["status"]["step"]
    assert opened.status()["stage"] is None
    plain = Playground(Run.at(tmp_path / "plain"), begun())
    play(plain, at)
    assert same(weights(opened.playground), weights(plain))


def test_a_change_in_the_middle_of_a_slow_step_waits_for_its_end(opened, tmp_path):
    opened.do("slow", milliseconds=5000)
    opened.do("play")
    opened._inside(lambda: [opened._next_stage() for _ in range(6)])
    assert opened.playground.step == 0
    answer = opened.do("set", path="objective", value="hinge")
    assert answer["state"]["changes"] == [{"step": 1, "path": "objective", "value": "hinge"}]
    opened.do("slow", milliseconds=0)
    opened.do("pause")
    at = opened.status()["step"]
    plain = Playground(Run.at(tmp_path / "plain"), begun())
    play(plain, 1)
    plain.set("objective", "hinge")
    play(plain, at)
    assert same(weights(opened.playground), weights(plain))


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("dance", {}),
        ("step", {"who": "nobody"}),
        ("step", {"n": 1001}),
        ("step", {"n": 0}),
        ("seek", {"step": -1}),
        ("seek", {"step": 10**9}),
        ("seek", {}),
        ("speed", {"steps_per_second": "fast"}),
        ("slow", {"milliseconds": 5001}),
        ("reset", {"seed": "x"}),
        ("load", {"state": {"version": 2}}),
        ("layers", {"heat": 1}),
        ("layers", {"moon": True}),
        ("data", {"kind": "points", "name": "no-such"}),
        ("data", {"kind": "folder", "path": "/etc"}),
        ("data", {"kind": "csv", "text": "a,b\nx,y"}),
        ("data", {"kind": "density", "png": "!!"}),
        ("data", {"kind": "drawing", "points": [[0, "x"]]}),
        ("play", {"faster": True}),
    ],
)
def test_what_no_session_does_is_refused_in_words(opened, command, values):
    with pytest.raises(api.GannetError) as refused:
        opened.do(command, **values)
    assert str(refused.value).strip()
    assert opened.status()["error"] is None


def test_drawn_points_are_trained_on_and_shared(opened):
    answer = opened.do("data", kind="drawing", points=[[0.1, 0.1], [0.9, 0.85]])
    assert answer["restarted"] is True
    assert "data" not in answer["state"]["experiment"]
    opened.do("step", n=5)
    settle(opened)
    end, saved = weights(opened.playground), json.loads(json.dumps(opened.state()))
    opened.do("data", kind="points", name="moons")
    assert "points" not in opened.state()
    opened.do("load", state=saved)
    settle(opened)
    assert same(weights(opened.playground), end)
    with pytest.raises(UsageError, match="have no options"):
        opened.do("set", path="data.limit", value=3)
    assert "points.npy" in opened.export("command")


def test_an_engine_that_fails_says_so_and_can_be_reset(opened, monkeypatch):
    opened.do("step", n=60)
    settle(opened)
    monkeypatch.setattr(opened.playground.trainer.table, "turn", raising(NonFinite("generator", "adversarial", "loss")))
    opened.do("play")
    status = wait(opened, lambda s: s["error"])
    assert "generator's turn: adversarial is not finite" in status["error"]
    assert status["playing"] is False
    with pytest.raises(UsageError, match="Go back to an earlier step, or reset"):
        opened.do("play")
    with pytest.raises(UsageError, match="Go back"):
        opened.do("set", path="objective", value="hinge")
    assert opened.do("reset")["status"]["error"] is None
    opened.do("step", n=3)
    assert settle(opened)["step"] == 3


def test_after_a_failure_an_earlier_step_is_whole_again(opened, monkeypatch, tmp_path):
    opened.do("step", n=60)
    settle(opened)
    real, count = opened.playground.trainer.table.turn, []

    def once(*arguments, **named):
        count.append(1)
        if len(count) == 2:  # the discriminator has moved, the generator has not
            raise RuntimeError("out of luck")
        return real(*arguments, **named)

    monkeypatch.setattr(opened.playground.trainer.table, "turn", once)
    opened.do("step")
    assert "RuntimeError: out of luck" in settle(opened)["error"]
    opened.do("seek", step=60)
    assert settle(opened)["error"] is None
    plain = Playground(Run.at(tmp_path / "plain"), begun())
    play(plain, 60)
    assert same(weights(opened.playground), weights(plain))


def raising(error: Exception):
    def fail(*_, **__):
        raise error

    return fail


def test_sessions_that_are_closed_leave_no_thread(tmp_path):
    before = threading.active_count()
    sessions = [Session(Run.at(tmp_path / str(n)), begun()) for n in range(5)]
    for session in sessions:
        session.do("play")
        session.ask(Reader())
    for session in sessions:
        session.close()
    assert threading.active_count() == before
    with pytest.raises(UsageError, match="has ended"):
        sessions[0].status()


def test_nobody_waits_for_a_session_that_is_ending(tmp_path):
    session = Session(Run.at(tmp_path / "run"), begun())
    busy = threading.Event()
    session.jobs.put(busy.wait)
    ending = threading.Thread(target=session.close)
    ending.start()
    while not session.ended:
        time.sleep(0.001)
    late = session.ask(Reader())
    with pytest.raises(UsageError, match="has ended"):
        session.status()
    busy.set()
    ending.join()
    assert late.cancelled()


def test_closing_keeps_the_run(tmp_path):
    session = Session(Run.at(tmp_path / "run"), begun())
    session.do("step", n=20)
    settle(session)
    session.close()
    assert checkpoint.latest(session.playground.run.checkpoints).state["step"] == 20


def test_a_frame_comes_when_something_moved_and_only_then(opened):
    reader = Reader()
    header, _ = unpack(opened.ask(reader).result(10))
    assert header["step"] == 0
    while opened.painter.unfinished:  # the band of reals against reals comes bit by bit
        unpack(opened.ask(reader).result(10))
    later = opened.ask(reader)
    time.sleep(0.15)
    assert not later.done()
    opened.do("step", n=2)
    header, _ = unpack(later.result(10))
    rows = [row[0] for row in header["history"]]
    while header["step"] < 2:  # a frame may come between the steps
        header, _ = unpack(opened.ask(reader).result(10))
        rows += [row[0] for row in header["history"]]
    assert rows == [1, 2]
