"""The explorer's routes on runs that were trained for a few steps, and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from gannet import api
from gannet.cli import main
from gannet.core.errors import UsageError
from gannet.lab import explorer as exploring
from gannet.lab.app import Room, create_app
from gannet.lab.explorer import Explorer
from gannet.lab.shelf import Shelf

pytestmark = pytest.mark.filterwarnings("ignore")
HOST = "127.0.0.1:7860"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    """A folder of short runs: two that can be explored, and one each of the kinds that cannot."""
    folder = tmp_path_factory.mktemp("runs")
    for preset, data in (("cgan", "digits"), ("stylegan2", "digits"), ("gan", "points(n=200)"), ("pix2pix-mini", None)):
        more = {} if data is None else {"data": data}
        api.train(preset, tiny(preset, steps=8, **more), folder / preset)
    (folder / "begun").mkdir()
    (folder / "begun" / "experiment.yaml").write_text((folder / "cgan" / "experiment.yaml").read_text())
    return folder


@pytest.fixture
def page(runs, tmp_path):
    room = Room(tmp_path)
    app = create_app(tmp_path, [HOST], room=room, prepare=room.ready.set, shelf=Shelf(runs))
    with TestClient(app, base_url=f"http://{HOST}") as found:
        yield found


def seed(n: int, **more):
    return {"point": {"seed": n}, **more}


def post(page, what: str, run: str = "cgan", **body):
    answer = page.post(f"/api/explore/{what}?run={run}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


# ----------------------------------------------------------------------------------------------------------- facts


def test_facts_say_what_can_be_done(page, runs):
    facts = page.get("/api/explore/facts?run=cgan").json()
    assert facts["name"] == "cgan"
    assert facts["title"] == "cgan · digits"
    assert facts["shape"] == [1, 8, 8]
    assert (facts["step"], facts["samples"]) == (8, 64)
    assert facts["latent"] == {"size": 4, "distribution": "normal"}
    assert facts["classes"] == [str(n) for n in range(10)]
    assert facts["styles"] == 0
    assert facts["layers"][0] == {"name": "stem", "shape": [8, 4, 4]}
    assert facts["train"]["count"] > 0
    grids = sorted(p.name for p in (runs / "cgan" / "samples").glob("0*.png"))
    assert [f"{s['samples']:09d}.png" for s in facts["saved"]] == grids
    mapped = page.get("/api/explore/facts?run=stylegan2").json()
    assert mapped["styles"] == 4
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    ("run", "status", "says"),
    [
        ("gan", 400, "playground"),
        ("pix2pix-mini", 400, "translates pictures"),
        ("begun", 400, "no checkpoint yet"),
        ("nothing", 404, "no such run"),
        ("../cgan", 404, "no such run"),
        ("", 404, "no such run"),
    ],
)
def test_what_cannot_be_explored_says_why(page, run, status, says):
    answer = page.get(f"/api/explore/facts?run={run}")
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_data_that_are_not_at_hand_are_no_reason_to_refuse_the_rest(page, runs, monkeypatch):
    def gone(*_, **__):
        raise UsageError("the folder is gone.\nMore.")

    monkeypatch.setattr(exploring.registry.SOURCES, "build", gone)
    assert page.get("/api/explore/facts?run=cgan").json()["train"] == {"why": "the folder is gone."}
    post(page, "images", looks=[seed(1)])
    answer = page.post("/api/explore/nearest?run=cgan", json={"look": seed(1)})
    assert answer.status_code == 400


# ---------------------------------------------------------------------------------------------------------- images


def test_a_seed_is_the_first_sample_of_the_command_line(page, runs, tmp_path):
    for run, label in (("cgan", None), ("cgan", 3), ("stylegan2", None)):
        for n in (0, 5, 123):
            out = tmp_path / f"{run}-{label}-{n}"
            words = ["sample", str(runs / run), "--seed", str(n), "--n", "1", "--out", str(out)]
            assert main(words + ([] if label is None else ["--label", str(label)])) == 0
            answer = post(page, "images", run, looks=[seed(n, **{"class": label})])
            assert answer.headers["content-type"] == "image/png"
            assert answer.content == (out / "000000.png").read_bytes()


def test_the_plane_has_seeds_at_its_lattice(page):
    at = post(page, "images", looks=[{"point": {"x": 23, "y": 1}}]).content
    assert at == post(page, "images", looks=[seed(123)]).content
    assert at != post(page, "images", looks=[{"point": {"x": 23.5, "y": 1}}]).content


def test_a_grid_has_no_margins_and_is_enlarged_whole(page):
    looks = [seed(n) for n in range(5)]
    sheet = image(post(page, "images", looks=looks, columns=3).content)
    assert sheet.shape == (16, 24)
    alone = image(post(page, "images", looks=[seed(4)]).content)
    assert np.abs(sheet[8:, 8:16].astype(int) - alone).max() <= 1
    assert not sheet[8:, 16:].any()
    large = image(post(page, "images", looks=looks, columns=3, enlarge=True).content)
    assert (large[::16, ::16] == sheet).all()
    assert large.shape == (256, 384)


def test_every_part_of_a_look_has_its_effect(page):
    plain = post(page, "images", "stylegan2", looks=[seed(1)]).content
    for more in (
        {"truncation": 0.3},
        {"directions": [[0, 3]]},
        {"style": {"point": {"seed": 2}, "layers": [0, 1]}},
        {"point": {"between": [{"seed": 1}, {"seed": 2}], "t": 0.5}},
    ):
        assert post(page, "images", "stylegan2", looks=[{**seed(1), **more}]).content != plain, more
    classes = {post(page, "images", looks=[seed(1, **{"class": k})]).content for k in range(10)}
    assert len(classes) > 5


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "1 to 64"),
        ({"looks": []}, "1 to 64"),
        ({"looks": [seed(0)] * 65}, "1 to 64"),
        ({"looks": {"point": 1}}, "1 to 64"),
        ({"looks": ["x"]}, "a look is an object"),
        ({"looks": [seed(0, **{"class": "cat"})]}, "unknown label"),
        ({"looks": [seed(0, **{"class": 10})]}, "unknown label"),
        ({"looks": [seed(0, directions=[[99, 1]])]}, "direction 99"),
        ({"looks": [seed(0)], "columns": 0}, "columns 0"),
        ({"looks": [seed(0)], "columns": True}, "columns True"),
    ],
)
def test_images_refuse_what_is_out_of_range(page, body, says):
    answer = page.post("/api/explore/images?run=cgan", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_pixels_are_capped(page, monkeypatch):
    monkeypatch.setattr(exploring, "PIXELS", 200)
    answer = page.post("/api/explore/images?run=cgan", json={"looks": [seed(0)] * 4})
    assert "Ask for 3 or fewer" in answer.json()["error"]


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(page, content):
    answer = page.post("/api/explore/images?run=cgan", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400


# ------------------------------------------------------------------------------------------------------ the others


def test_directions_neighbours_and_activations(page, runs):
    found = post(page, "directions", method="pca").json()
    assert found["space"] == "activations"
    shares = [d["share"] for d in found["directions"]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.0001
    assert post(page, "directions", "stylegan2").json()["space"] == "w"
    assert page.post("/api/explore/directions?run=cgan", json={"method": "x"}).status_code == 400

    near = post(page, "nearest", look=seed(1), n=3).json()
    away = [row["distance"] for row in near["neighbours"]]
    assert away == sorted(away)
    assert near["ratio"] == pytest.approx(away[0] / near["typical"])
    sample = image(post(page, "images", looks=[seed(1)]).content).astype(float)
    picture = image(base64.b64decode(near["neighbours"][0]["png"])).astype(float)
    assert np.sqrt(((sample - picture) ** 2).sum()) / 127.5 == pytest.approx(away[0], rel=0.02)
    assert page.post("/api/explore/nearest?run=cgan", json={"look": seed(1), "n": 17}).status_code == 400

    said = post(page, "activations", look=seed(1), layer="stem").json()
    assert (said["channels"], said["shape"]) == (8, [8, 4, 4])
    assert 0 <= said["dead"] <= 1
    assert image(base64.b64decode(said["png"])).shape == (3 * 32 + 2 * 2, 3 * 32 + 2 * 2)
    answer = page.post("/api/explore/activations?run=cgan", json={"look": seed(1), "layer": "stm"})
    assert "stem" in answer.json()["error"]


def test_numbers_of_a_layer():
    import torch

    h = torch.tensor([[[0.0, 0.0]], [[1.0, 3.0]]])
    found = exploring.numbers(h)
    assert found == {
        "channels": 2,
        "shape": [2, 1, 2],
        "mean": 1.0,
        "sd": pytest.approx(1.5**0.5),
        "max": 3.0,
        "dead": 0.5,
    }
    assert exploring.numbers(h * float("inf"))["max"] is None
    drawn = np.asarray(exploring.channels(h))
    assert drawn[0, 0] == 0
    assert (drawn[0, 34], drawn[0, -1]) == (0, 255)


def test_saved_grids_are_the_runs_own(page, runs):
    grids = sorted((runs / "cgan" / "samples").glob("0*.png"))
    for index, path in enumerate(grids):
        assert page.get(f"/api/explore/saved?run=cgan&index={index}").content == path.read_bytes()
    for index in (len(grids), -1, "x", "", "../0"):
        assert page.get(f"/api/explore/saved?run=cgan&index={index}").status_code == 404


# ---------------------------------------------------------------------------------------------------------- export

WAYS = {
    "seeds": [seed(1), seed(2), seed(3)],
    "a class": [seed(1, **{"class": 3}, truncation=0.5), seed(2, **{"class": 3}, truncation=0.5)],
    "looks": [{"point": {"x": 0.5, "y": 2.25}, "class": 1}, seed(4, directions=[[0, -1.5]])],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_commands_make_the_very_same_files(page, way, tmp_path, monkeypatch):
    looks = WAYS[way]
    text = post(page, "export", kind="command", looks=looks, frames=6, fps=10).text
    assert ("--looks" in text) == (way == "looks")
    monkeypatch.chdir(tmp_path)
    for line in text.splitlines():
        words = shlex.split(line)
        assert words[0] == "gannet"
        assert main(words[1:]) == 0
    walk = post(page, "export", kind="gif", looks=looks, frames=6, fps=10)
    assert walk.headers["content-type"] == "image/gif"
    assert walk.headers["content-disposition"] == 'attachment; filename="walk.gif"'
    assert walk.content == (tmp_path / "walk.gif").read_bytes()
    for number, look in enumerate(looks):
        own = post(page, "export", kind="png", looks=[look]).content
        assert own == (tmp_path / "pictures" / f"{number:06d}.png").read_bytes()


def test_the_program_makes_the_very_same_frames(page, tmp_path, monkeypatch):
    looks = WAYS["looks"]
    text = post(page, "export", kind="python", looks=looks, frames=6).text
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(text, "explore.py", "exec"), names)
    assert (tmp_path / "walk.gif").read_bytes() == post(page, "export", kind="gif", looks=looks, frames=6).content
    assert (names["samples"][1] == image(post(page, "images", looks=looks[1:]).content)[..., None]).all()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"kind": "exe"}, "unknown kind of export"),
        ({"kind": "gif", "frames": 241}, "1 to 240"),
        ({"kind": "gif", "frames": 2.5}, "frames 2.5"),
        ({"kind": "gif", "fps": 31}, "1 to 30"),
        ({"kind": "gif", "looks": [seed(n) for n in range(17)]}, "1 to 16"),
    ],
)
def test_exports_refuse_what_is_out_of_range(page, body, says):
    answer = page.post("/api/explore/export?run=cgan", json={"looks": [seed(1)], **body})
    assert answer.status_code == 400
    assert says in answer.json()["error"]


# ------------------------------------------------------------------------------------------------------- what is held


def test_four_are_held_and_one_that_trained_on_is_loaded_anew(runs, tmp_path, monkeypatch):
    loaded = []

    class Fake:
        def __init__(self, path, name):
            loaded.append(name)

    monkeypatch.setattr(exploring, "Explored", Fake)
    latest = {}
    monkeypatch.setattr(exploring, "_newest", lambda path: latest.get(path.name, "000000001"))
    for name in "abcde":
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.yaml").write_text("")
    explorer = Explorer(Shelf(tmp_path))
    first = explorer.get("a")
    for name in "bcd":
        explorer.get(name)
    assert explorer.get("a") is first
    explorer.get("e")  # b was asked for longest ago
    assert list(explorer.held) == ["c", "d", "a", "e"]
    assert loaded == list("abcde")
    latest["a"] = "000000002"
    assert explorer.get("a") is not first
    assert loaded[-1] == "a"


def test_a_run_that_trained_on_is_seen_with_its_new_weights(page, runs, tiny, tmp_path):
    place = runs / "growing"
    api.train("dcgan", tiny("dcgan", steps=4, data="digits"), place)
    first = post(page, "images", "growing", looks=[seed(1)]).content
    before = page.get("/api/explore/facts?run=growing").json()["samples"]
    api.resume(place, ["stop.samples=96", "stop.minutes=none"])
    assert page.get("/api/explore/facts?run=growing").json()["samples"] == 96 > before
    assert post(page, "images", "growing", looks=[seed(1)]).content != first
