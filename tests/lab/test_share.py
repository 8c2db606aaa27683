"""A session as text: saved and loaded without a loss, refused where it is not one, exported as what trains."""

from __future__ import annotations

import ast
import base64
import io
import json
import shlex
import zlib

import numpy as np
import pytest
from PIL import Image

from gannet.core.errors import GannetError, UsageError
from gannet.core.overrides import resolve
from gannet.lab import share
from gannet.lab.changes import Change, amended, checked
from gannet.lab.share import EXPORTS, Given, State, beginning, difference, export


def changed(**values):
    experiment = resolve("lab").experiment
    for path, value in values.items():
        experiment = amended(experiment, *checked(path.replace("__", "."), value))
    return experiment


EXPERIMENT = changed(
    objective="hinge(pairing=paired)",
    regularizers__r1="r1(weight=cosine(1, 0.1))",
    optim__generator="sgd(lr=0.1, momentum=0.5)",
    players__discriminator__repeats=3,
    ema__halflife=500,
    data="points(name=moons, seed=3)",
    generator__latent=3,
    seed=7,
    clip__generator=1,
    stop__samples=5000,
)
STATE = State(EXPERIMENT, (Change(3, "objective", "wasserstein"), Change(3, "turn.generator", "4")), 17)


def plain(**more) -> dict:
    return {"version": 1, "experiment": {}, "seed": 0, "changes": [], "step": 0} | more


def test_load_of_save_is_the_same():
    text = json.dumps(STATE.to_json())
    assert State.from_json(json.loads(text)) == STATE
    assert State.from_fragment(STATE.to_fragment()) == STATE
    assert set(STATE.to_fragment()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_state_says_only_what_differs():
    assert State(resolve("lab").experiment).to_json() == plain()
    assert difference(changed(batch=32)) == {"batch": 32}
    assert beginning(difference(EXPERIMENT)) == EXPERIMENT.model_copy(update={"seed": 0})


def test_removing_a_part_of_the_preset_survives():
    experiment = changed(optim="none")
    assert State.from_json(State(experiment).to_json()).experiment == experiment


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        plain(version=2),
        plain(extra=1),
        plain(step=-1),
        plain(step=1.5),
        plain(step=True),
        plain(step=10**9),
        plain(seed="0"),
        plain(seed=2**63),
        plain(experiment=[]),
        plain(experiment={"device": "cuda"}),
        plain(experiment={"data": "folder(path=x)"}),
        plain(experiment={"data": "x.npy"}),
        plain(experiment={"optim": {"generator": "sgd(lr='/')"}}),
        plain(experiment={"optim": {"generator": ["sgd"]}}),
        plain(experiment={"batch": 10**7}),
        plain(changes={}),
        plain(changes=[{"step": 1}]),
        plain(changes=[{"step": 1, "path": "generator.width", "value": "3"}]),
        plain(changes=[{"step": 1, "path": "turn.generator", "value": "1001"}]),
        plain(changes=[{"step": 1, "path": "turn.generator", "value": "-1"}]),
        plain(changes=[{"step": 2, "path": "batch", "value": "8"}, {"step": 1, "path": "batch", "value": "8"}]),
        plain(changes=[{"step": 1, "path": "batch", "value": "8"}] * 10_001),
        plain(points={"kind": "rows"}),
        plain(points={"kind": "files", "rows": [[1, 2], [3, 4]]}),
        plain(points={"kind": "rows", "rows": "x"}),
        plain(points={"kind": "rows", "rows": [[1, 2, 3]] * 3}),
        plain(points={"kind": "rows", "rows": [[1, 2]]}),
        plain(points={"kind": "rows", "rows": [[1, "x"], [1, 2]]}),
        plain(points={"kind": "rows", "rows": [[0.0, float("nan")], [1, 2]]}),
        plain(points={"kind": "rows", "rows": [[0.0, 1.0]] * 100_001}),
    ],
)
def test_what_is_no_state_is_refused_in_words(value):
    with pytest.raises(GannetError) as refused:
        State.from_json(value)
    assert len(str(refused.value)) > 20


def test_a_fragment_cannot_unpack_to_more_than_a_state(monkeypatch):
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000)).decode()
    for text in (bomb, "", "!", STATE.to_fragment()[:-8], "ä"):
        with pytest.raises(UsageError, match="no state"):
            State.from_fragment(text)


def test_given_points_are_the_same_bytes_after_sharing():
    rows = np.random.default_rng(0).normal(size=(50, 2)) * 1e-3
    for kind in ("rows", "drawing"):
        state = State(changed(), given=Given.of(kind, rows))
        again = State.from_json(json.loads(json.dumps(state.to_json())))
        assert again.given is not None
        assert again.given.source().fingerprint() == state.given.source().fingerprint()
        assert "data" not in state.to_json()["experiment"]
    assert np.array_equal(Given.of("rows", rows).source().rows, rows.astype(np.float32))


def test_a_drawing_of_one_point_is_a_blob():
    rows = Given.of("drawing", [[0.4, 0.6]]).source().rows
    assert np.allclose(rows.mean(0), [0.4, 0.6], atol=1e-3)
    assert rows.std() > 0


def test_pasted_text_and_pictures_become_points():
    assert Given.read("csv", {"text": "x,y\n1,2\n3,4\n"}).plain == [[1.0, 2.0], [3.0, 4.0]]
    image = np.full((20, 20), 255, dtype=np.uint8)
    image[:, :10] = 0
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    for said in (text, "data:image/png;base64," + text):
        found = Given.read("density", {"png": said})
        assert found.rows.shape == (share.SCATTERED, 2)
        assert (found.rows[:, 0] <= 0).all(), "the left half is dark"


# ---------------------------------------------------------------------------------------------------------- exports


def words_of(text: str) -> list[str]:
    return shlex.split(next(line for line in text.splitlines() if not line.startswith("#")))


def test_the_command_is_the_experiment_in_force():
    now = amended(EXPERIMENT, "objective", "wasserstein")
    text = export("command", STATE, now, 1700, [])
    words = words_of(text)
    assert words[:3] == ["gannet", "train", "lab"]
    wanted = now.model_copy(update={"stop": now.stop.model_copy(update={"samples": 1700})})
    assert resolve("lab", words[3:]).experiment == wanted
    assert "objective=wasserstein after step 3" in text


def is_training(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "api.train"


def test_the_program_and_the_yaml_say_the_same(tmp_path):
    (call,) = (n for n in ast.walk(ast.parse(export("python", STATE, EXPERIMENT, 1700, []))) if is_training(n))
    preset, values = map(ast.literal_eval, call.args)
    (tmp_path / "lab.yaml").write_text(export("yaml", STATE, EXPERIMENT, 1700, []), encoding="utf-8")
    assert resolve(str(tmp_path / "lab.yaml")).experiment == resolve(preset, values).experiment


def test_given_points_are_named_without_a_path_of_this_machine():
    state = State(EXPERIMENT, given=Given.of("rows", [[0.0, 1.0], [1.0, 0.0]]))
    own = EXPERIMENT.model_copy(update={"data": "array(path='/secret/points.npy')"})
    for kind in EXPORTS:
        text = export(kind, state, own, 100, [("step",), (1,)])
        assert "secret" not in text
        assert kind == "csv" or "points.npy" in text


def test_the_table_of_losses():
    text = export("csv", STATE, EXPERIMENT, 1, [("step", "generator"), (1, 0.5), (2, None)])
    assert text == "step,generator\n1,0.5\n2,\n"
    with pytest.raises(UsageError, match="Allowed: command, csv, python, yaml"):
        export("exe", STATE, EXPERIMENT, 1, [])
