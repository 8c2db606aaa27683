"""`gannet interpolate`, `directions` and the seeds of `gannet sample`, on a run of a few steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors
from PIL import Image

from gannet import api, explore
from gannet.cli import main
from gannet.core.errors import CheckpointError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    place = tmp_path_factory.mktemp("latent") / "run"
    api.train("cgan", tiny("cgan", steps=8, data="digits"), place)
    return place


def test_a_walk_is_an_animation_pictures_or_numbers(run, tmp_path, capsys):
    base = ["interpolate", str(run), "--seeds", "1,2,3", "--frames", "6", "--label", "3", "--truncation", "0.7"]
    for out in ("walk.gif", "folder", "grid.png", "walk.npy"):
        assert main([*base, "--out", str(tmp_path / out)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / out}\n"
    frames = np.load(tmp_path / "walk.npy")
    assert frames.shape == (6, 8, 8, 1)
    assert (tmp_path / "walk.gif").read_bytes() == explore.gif(frames, 20)
    assert len(list((tmp_path / "folder").iterdir())) == 6
    again = api.load(run).interpolate([1, 2, 3], 6, label=3, truncation=0.7)
    assert (again == frames).all()
    own = api.load(run).sample(1, seed=2, label=3, truncation=0.7)
    assert np.abs(frames[2].astype(int) - own[0]).max() <= 1


def test_a_walk_from_class_to_class_says_that_it_jumps(run, tmp_path, capsys):
    walk = ["interpolate", str(run), "--frames", "2", "--out", str(tmp_path / "walk.npy")]
    for more, told in (([], True), (["--label", "3"], False)):
        assert main([*walk, "--seeds", "1,2", *more]) == 0
        assert ("give --label K" in capsys.readouterr().err) == told
    assert main([*walk, "--looks", '[{"point": {"seed": 1}, "class": 3}, {"point": {"seed": 2}, "class": 3}]']) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_is_endless_enlarged_whole_and_true(tmp_path, channels):
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 6, channels), dtype=np.uint8)
    (tmp_path / "a.gif").write_bytes(explore.gif(frames, 10))
    with Image.open(tmp_path / "a.gif") as walk:
        assert (walk.n_frames, walk.size, walk.info["loop"], walk.info["duration"]) == (5, (96, 128), 0, 100)
        for number, frame in enumerate(frames):
            walk.seek(number)
            found = np.asarray(walk.convert("RGB"))
            assert (found[::16, ::16] == frame).all()
            assert (found[5::16, 15::16] == frame).all()


def test_pictures_in_a_grid_have_no_margins():
    frames = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    sheet = np.asarray(explore.tiled(frames, 2))
    assert sheet.shape == (6, 6, 3)
    assert (sheet[2:4, 3:6] == frames[3]).all()
    assert not sheet[4:, 3:].any()
    assert explore.tiled(frames).size == (9, 4)


def test_an_open_walk_ends_at_its_last_seed(run):
    model = api.load(run)
    frames = model.interpolate([1, 2], 5, label=0, closed=False)
    assert np.abs(frames[-1].astype(int) - model.sample(1, seed=2, label=0)[0]).max() <= 1
    closed = model.interpolate([1, 2], 5, label=0)
    assert (closed[-1] != frames[-1]).any()


def test_the_samples_of_seeds_are_those_seeds_first_ones(run, tmp_path):
    assert main(["sample", str(run), "--seeds", "0,3,5-7", "--out", str(tmp_path / "s.npy")]) == 0
    found = np.load(tmp_path / "s.npy")
    own = [api.load(run).sample(1, seed=n)[0] for n in (0, 3, 5, 6, 7)]
    assert (found == np.stack(own)).all()
    looks = json.dumps([{"point": {"seed": 5}}, {"point": {"x": 0.5, "y": 0}}])
    assert main(["sample", str(run), "--looks", looks, "--out", str(tmp_path / "l.npy")]) == 0
    assert (np.load(tmp_path / "l.npy")[0] == own[2]).all()


def test_directions_are_drawn_and_kept_with_the_weights_they_belong_to(run, tmp_path):
    assert main(["directions", str(run), "--out", str(tmp_path / "d"), "--count", "3"]) == 0
    names = sorted(p.name for p in (tmp_path / "d").iterdir())
    assert names == [*(f"direction-{n:02d}.png" for n in range(3)), "directions.safetensors"]
    with Image.open(tmp_path / "d" / "direction-00.png") as strip:
        assert strip.size == (7 * 128 + 6 * 16, 4 * 128 + 3 * 16), "each pixel 16 times, and one between samples"
    model = api.load(run)
    file = tmp_path / "d" / "directions.safetensors"
    found = explore.load_directions(file, model)
    assert (found.steps == model.directions(3).steps).all()
    with safetensors.safe_open(file, "pt") as raw:
        assert raw.metadata()["checkpoint"] == model.checkpoint
    first = next(iter(model.task.networks["generator"].parameters()))
    first.data[0] += 1
    with pytest.raises(CheckpointError, match="belongs to other weights"):
        explore.load_directions(file, model)


def test_without_a_place_they_stand_in_the_run(run, capsys):
    assert main(["interpolate", str(run), "--seeds", "1,2", "--frames", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "samples" / "walk.gif")
    assert main(["directions", str(run), "--count", "1"]) == 0
    assert (run / "directions" / "directions.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["interpolate", "RUN"], "no seeds were given"),
        (["interpolate", "RUN", "--seeds", "1,b"], "'b' is no seed"),
        (["interpolate", "RUN", "--seeds", "1,,2"], "'' is no seed"),
        (["interpolate", "RUN", "--seeds", "5-1"], "no range"),
        (["interpolate", "RUN", "--seeds", "0-5000"], "1,000"),
        (["interpolate", "RUN", "--seeds", "1", "--frames", "0"], "1 to 600"),
        (["interpolate", "RUN", "--seeds", "1", "--fps", "0"], "1 to 30"),
        (["interpolate", "RUN", "--seeds", "1", "--truncation", "3"], "truncation 3"),
        (["interpolate", "RUN", "--seeds", "1", "--label", "cat"], "unknown label"),
        (["interpolate", "RUN", "--seeds", "1", "--out", "x.mp4"], "unknown ending"),
        (["interpolate", "RUN", "--looks", "{"], "no JSON list"),
        (["interpolate", "RUN", "--looks", "[7]"], "a look is an object"),
        (["directions", "RUN", "--count", "0"], "1 to 64"),
        (["directions", "RUN", "--out", "x.png"], "is no folder"),
        (["sample", "RUN", "--seeds", "x"], "is no seed"),
    ],
)
def test_what_is_wrong_is_said(run, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_points_can_be_walked_as_numbers_but_not_drawn(tmp_path, tiny):
    place = tmp_path / "points"
    api.train("gan", tiny("gan", steps=4, data="points(n=200)"), place)
    assert api.load(place).interpolate([1, 2], 4).shape == (4, 2)
    assert main(["interpolate", str(place), "--seeds", "1,2", "--out", str(tmp_path / "w.npy")]) == 0
    for what in (lambda: explore.interpolate(place, seeds=[1]), lambda: explore.directions(place)):
        with pytest.raises(UsageError, match=r"no images|drawn of images"):
            what()


def test_seeds_are_numbers_and_ranges():
    assert api.seeds_of("0,3, 5-9") == [0, 3, 5, 6, 7, 8, 9]
    assert api.seeds_of("7") == [7]
