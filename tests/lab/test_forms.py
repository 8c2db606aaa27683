"""Forms are made from signatures: every part that can be played is there, and every default is accepted again."""

from __future__ import annotations

import json

import pytest

from gannet.core.overrides import resolve
from gannet.core.registry import OBJECTIVES, Option
from gannet.core.schedule import Constant, Schedule
from gannet.data.points import SHAPES
from gannet.lab.changes import amended, checked
from gannet.lab.forms import PARTS, catalog, form

TYPES = {"number", "integer", "boolean", "choice", "schedule", "text"}


def names(kind: str) -> list[str]:
    return [entry["name"] for entry in catalog()[kind]]


def test_the_catalog_is_json_and_every_entry_is_whole():
    found = json.loads(json.dumps(catalog()))
    for kind in ("data", *PARTS):
        assert found[kind], kind
        for entry in found[kind]:
            assert {"name", "doc", "formula", "options", "live"} <= set(entry)
            assert entry["doc"]
            for option in entry["options"]:
                assert option["type"] in TYPES
                assert ("choices" in option) == (option["type"] == "choice")


def test_what_points_can_have_is_there_and_what_they_cannot_is_not():
    assert names("data") == [name for name in SHAPES if name != "dirac"]
    assert names("objectives") == OBJECTIVES.names()
    assert {"r1", "r2", "wgan-gp", "dragan", "lecam", "historical-averaging"} <= set(names("regularizers"))
    assert names("augment") == ["noise"]
    assert "path-length" not in names("regularizers"), "there is no mapping network"
    assert {"adam", "sgd", "rmsprop", "adamw"} <= set(names("optimisers"))
    assert names("generators") == names("discriminators") == ["mlp"]
    assert {"synthesis", "infogan"} <= set(names("tasks"))
    assert "translation" not in names("tasks")


def test_objectives_show_their_losses():
    formulas = {entry["name"]: entry["formula"] for entry in catalog()["objectives"]}
    assert formulas["hinge"][0].startswith("L_D = relu(1 − r) + relu(1 + f), L_G = −f")
    assert formulas["wasserstein"][1].endswith("−(r − f̄) + (f − r̄), doubles the gradients."), "whole sentences"
    assert len(formulas["top-k"]) == 2
    assert all(formulas[name] for name in ("nonsaturating", "wasserstein", "leastsquares", "saturating"))


@pytest.mark.parametrize("kind", ["objectives", "regularizers", "constraints", "augment", "optimisers", "opponents"])
def test_a_form_filled_with_its_defaults_is_accepted(kind):
    key, _, place = PARTS[kind]
    for entry in catalog()[kind]:
        said = ", ".join(f"{o['name']}={_text(o)}" for o in entry["options"])
        path = f"{place}.{entry['name']}" if key in ("regularizers", "constraints", "augment") else place
        amended(resolve("lab").experiment, *checked(path, f"{entry['name']}({said})"))
        assert entry["live"] is True


def _text(option: dict) -> str:
    if option["default"] is None:
        return "none"
    return json.dumps(option["default"]) if option["type"] in ("choice", "boolean") else str(option["default"])


@pytest.mark.parametrize(
    ("type_", "default", "wanted"),
    [
        (int, 3, {"type": "integer", "default": 3}),
        (bool, True, {"type": "boolean", "default": True}),
        (float, 0.5, {"type": "number", "default": 0.5}),
        (int | None, None, {"type": "integer", "default": None, "optional": True}),
        (Schedule, Constant(2.0), {"type": "schedule", "default": "2"}),
        (tuple[float, float], (0.5, 0.9), {"type": "text", "default": "[0.5, 0.9]"}),
        (str, Option.required, {"type": "text", "default": None}),
    ],
)
def test_types_become_fields(type_, default, wanted):
    assert form(Option("x", type_, default)) == {"name": "x", **wanted}


def test_settings_have_bounds():
    settings = {entry["path"]: entry for entry in catalog()["settings"]}
    assert settings["batch"]["default"] == 150
    assert settings["batch"]["most"] == 4096
    assert settings["players.discriminator.repeats"] == {
        "name": "players.discriminator.repeats",
        "path": "players.discriminator.repeats",
        "type": "integer",
        "default": 1,
        "live": True,
        "least": 1,
        "most": 50,
    }
    assert settings["seed"]["live"] is False
    assert settings["share"]["choices"] == ["nothing", "fakes", "scores"]
