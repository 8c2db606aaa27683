"""Frames: what is packed is what the game holds, small, and looking at a game does not move it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.engine.run import Run
from gannet.lab import frames, overlays
from gannet.lab.frames import LAYERS, MOST, Frame, Painter, Reader, pack, unpack
from gannet.lab.look import FAKES, PROBED, Probe
from gannet.lab.playground import Playground
from gannet.lab.share import Given, State, beginning

SMALL = {"generator.width": 6, "discriminator.width": 6, "batch": 16, "data": "points(name=ring, n=2000)"}
STATUS = {"playing": True, "busy": None, "step": 0}


def playground(tmp_path, given=None, **more) -> Playground:
    values = SMALL | {k.replace("__", "."): v for k, v in more.items()}
    return Playground(Run.at(tmp_path / "run"), State(beginning(values), given=given))


def painter(*layers: str) -> Painter:
    found = Painter()
    found.layers = {name: name in layers for name in LAYERS}
    return found


def shown(game: Playground, look: Painter, reader: Reader | None = None, version: int = 1):
    return unpack(look.paint(game, STATUS, version).packed(reader or Reader()))


def test_packing_is_undone_by_unpacking():
    arrays = {
        "a": np.arange(5, dtype=np.uint8),
        "b": np.array([[1.5, -2]], dtype=np.float16),
        "c": np.array([3e9], dtype=np.float32),
        "none": np.empty((0, 2), dtype=np.float16),
    }
    data = pack({"x": float("nan"), "y": [np.float32(0.5)], "ü": None}, arrays)
    header, found = unpack(data)
    assert header["x"] is None
    assert header["y"] == [0.5]
    assert [a["name"] for a in header["arrays"]] == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert len(data) % 4 == 0
    length = int.from_bytes(data[:4], "little")
    assert length % 4 == 0
    json.loads(data[4 : 4 + length])


def test_every_layer_has_its_shape_and_no_other_is_sent(tmp_path):
    game = playground(tmp_path)
    for _ in range(5):
        game.advance()
    shapes = {
        "heat": {"heat": (50, 50), "probability": (1000,), "probability_real": (450,)},
        "manifold": {"manifold": (21, 21, 2), "folds": (20, 20)},
        "arrows": {"arrows": (300, 4)},
        "optimal": {"optimal": (50, 50)},
        "r1": {"r1": (50, 50)},
        "field": {"field": (20, 20, 2)},
        "trajectories": {"trajectories": (40, 1, 2)},
    }
    assert tuple(shapes) == LAYERS
    for layer, wanted in shapes.items():
        header, arrays = shown(game, painter(layer))
        assert header["unavailable"] == {}, layer
        found = {name: array.shape for name, array in arrays.items()}
        assert found == {"real": (450, 2), "fake": (1000, 2), **wanted}
    assert set(shown(game, painter())[1]) == {"real", "fake"}


def test_the_heat_map_is_the_discriminator_at_the_cells_centres(tmp_path):
    game = playground(tmp_path)
    _, arrays = shown(game, painter("heat"))
    x = torch.tensor([(2 * 7 + 1) / 100, (2 * 33 + 1) / 100])[None]  # cell 7 to the right, 33 up, of the unit square
    score = game.trainer.game.networks["discriminator"](x).score[0]
    assert arrays["heat"][33, 7] == round(255 * torch.sigmoid(score).item())


def test_the_arrows_are_those_of_the_objective_that_is_trained(tmp_path):
    game = playground(tmp_path)
    for _ in range(20):
        game.advance()
    before = shown(game, painter("arrows"))[1]["arrows"].astype(float)
    game.set("objective", "wasserstein")
    after = shown(game, painter("arrows"))[1]["arrows"].astype(float)
    assert np.array_equal(before[:, :2], after[:, :2]), "the fakes are where they were"
    x = torch.tensor(after[:, :2], dtype=torch.float32).requires_grad_()
    game.trainer.game.networks["discriminator"](x).score[0].sum().backward()
    assert np.allclose(after[:, 2:], x.grad, atol=2e-2 * float(x.grad.abs().max()))  # L_G = −f
    assert not np.allclose(before[:, 2:], after[:, 2:], rtol=0.05)


def test_looking_does_not_move_the_game(tmp_path):
    games = [playground(tmp_path / str(n), discriminator__dropout=0.2, generator__norm="batch") for n in range(2)]
    look = painter(*LAYERS)
    for _ in range(6):
        for game in games:
            game.advance()
        shown(games[0], look)
    one, two = (g.trainer.game.networks.state_dict() for g in games)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert games[0].trainer.game.networks["discriminator"].training


def test_the_largest_frame_fits(tmp_path):
    game = playground(tmp_path)
    look = painter(*LAYERS)
    for step in range(60):
        look.trails.add(step, torch.rand(40, 2))
        game.advance()
    game.rows = [(k, *np.random.default_rng(k).normal(size=3)) for k in range(2000)]
    status = {**STATUS, "snapshots": list(range(0, 1_000_000, 1000)), "alarms": [{"text": "x" * 300}] * 3}
    reader = Reader()
    look.paint(game, status, 1)
    for step in range(60, 110):
        look.trails.add(step, torch.rand(40, 2))
    data = look.paint(game, status, 1).packed(reader)
    assert len(data) <= MOST
    header, _ = unpack(data)
    assert header["history"][0][0] == 0
    assert reader.seen == 0, "it lacks rows, so it gets another frame at once"
    rows = list(header["history"])
    while reader.seen == 0:
        data = look.paint(game, status, 1).packed(reader)
        assert len(data) <= MOST
        rows += unpack(data)[0]["history"]
    assert [row[0] for row in rows] == list(range(2000))


def test_a_reader_gets_what_it_lacks_once(tmp_path):
    game, look, reader = playground(tmp_path), painter(), Reader()
    for _ in range(3):
        game.advance()
    header, arrays = shown(game, look, reader)
    assert "real" in arrays
    assert "measures" in header
    assert [row[0] for row in header["history"]] == [1, 2, 3]
    game.advance()
    header, arrays = shown(game, look, reader, 2)
    assert "real" not in arrays
    assert [row[0] for row in header["history"]] == [4]
    game.reset()
    header, arrays = shown(game, look, reader, 3)
    assert "real" in arrays
    assert header["history"] == []
    other, _ = shown(game, look, Reader(), 3)
    assert "measures" in other, "another reader has nothing yet"


def test_after_another_future_the_rows_come_again_from_there(tmp_path):
    game, look, reader = playground(tmp_path), painter(), Reader()
    for _ in range(60):
        game.advance()
    shown(game, look, reader)
    game.rewind(50)
    game.set("batch", 8)
    game.advance()
    header, _ = shown(game, look, reader, 2)
    assert header["forked"] == 50
    assert [row[0] for row in header["history"]] == [51]
    game.advance()
    header, _ = shown(game, look, reader, 3)
    assert header["forked"] is None
    assert [row[0] for row in header["history"]] == [52]


def test_measures_come_with_their_floor(tmp_path):
    game = playground(tmp_path, data="points(name=ring-8, n=3000)")
    look = painter()
    header, _ = shown(game, look)
    assert header["measures"]["floor"] == {}, "the band is scored bit by bit, so that no frame waits for it"
    while look.unfinished:
        header, _ = shown(game, look)
    found = header["measures"]
    assert found["of"] == 8
    assert {"kl", "js", "sliced"} <= set(found["floor"])
    assert found["kl"] > found["floor"]["kl"][1], "an untrained generator is worse than fresh reals"


def test_fakes_outside_are_counted_and_sent(tmp_path):
    game = playground(tmp_path)
    with torch.no_grad():
        for parameter in game.trainer.ema.modules["generator"].parameters():
            parameter.fill_(3.0)
    header, arrays = shown(game, painter())
    x = arrays["fake"].astype(float)
    assert header["outside"] == int(((x < 0) | (x > 1)).any(1).sum()) > 500


def test_numbers_that_half_precision_cannot_hold_are_sent_as_fp32(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 2)) + 5_000
    game = playground(tmp_path, Given.of("rows", rows))
    _, arrays = shown(game, painter("heat"))
    assert arrays["real"].dtype == np.float32
    assert np.abs(arrays["real"] - 5_000).std() > 0.3
    assert arrays["heat"].dtype == np.uint8


def test_the_line_has_its_layers_too(tmp_path):
    game = playground(tmp_path, data="points(name=mixture-1d, n=2000)", generator__latent=1)
    header, arrays = shown(game, painter(*LAYERS))
    assert header["unavailable"] == {}
    assert header["dimensions"] == 1
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes["real"] == (450, 1)
    assert shapes["heat"] == shapes["optimal"] == shapes["r1"] == (50,)
    assert shapes["arrows"] == (300, 2)
    assert shapes["manifold"] == (21, 1)


def test_a_layer_that_a_game_cannot_have_is_said_and_the_others_come(tmp_path, monkeypatch):
    game = playground(tmp_path)

    def refuse(*_):
        raise UsageError("not this one.\nMore.")

    monkeypatch.setattr(overlays, "gradient_norm", refuse)
    header, arrays = shown(game, painter("r1", "heat"))
    assert header["unavailable"] == {"r1": "not this one."}
    assert "heat" in arrays
    assert "r1" not in arrays


@pytest.mark.parametrize("task", ["infogan(categories=[4], continuous=1)", "vae(latent=2)", "synthesis(pack=2)"])
def test_other_games_are_shown_as_far_as_they_can_be(tmp_path, task):
    more = {
        "infogan": {"generator.latent": 8},
        "vae": {"encoder": "mlp(width=6)", "optim": {"generator": "adam"}},
        "synthesis": {},
    }[task.partition("(")[0]]
    game = playground(tmp_path, task=task, **more)
    game.advance()
    header, arrays = shown(game, painter(*LAYERS))
    assert "fake" in arrays
    assert all(header["unavailable"].values())


def test_labels_are_bound_where_a_game_has_them(tmp_path):
    game = playground(tmp_path, data="points(name=moons, n=2000, classes=true)")
    header, arrays = shown(game, painter(*LAYERS))
    assert header["unavailable"] == {}
    assert "heat" in arrays


def test_a_frame_without_pictures_still_says_the_status(tmp_path):
    game = playground(tmp_path)
    frame = Painter().blank(game, {"error": "x"}, 3)
    assert isinstance(frame, Frame)
    header, arrays = unpack(frame.packed(Reader()))
    assert header["status"]["error"] == "x"
    assert arrays == {}
    assert frames.MOST == 65_536


def test_codes_are_those_the_fakes_were_made_from_and_a_held_one_is_shown(tmp_path):
    game = playground(
        tmp_path, data="points(name=disjoint, n=500)", task="infogan(categories=[3], continuous=1)", generator__latent=5
    )
    task, generator = game.trainer.game.task, game.trainer.game.networks["generator"]
    look = painter()
    _, arrays = shown(game, look)
    z = task.latents(Draw(game.trainer.experiment.seed, "evaluate", 0, range(FAKES)))
    assert (arrays["codes"] == z[:, :3].argmax(1).numpy()).all()
    np.testing.assert_allclose(arrays["fake"], generator(z).detach().numpy(), atol=2e-3)
    assert "probe" not in arrays
    look.probe = Probe(2, 0.5)
    _, arrays = shown(game, look)
    z = z[:PROBED]
    z[:, :3], z[:, 3] = torch.tensor([0.0, 0.0, 1.0]), 0.5
    np.testing.assert_allclose(arrays["probe"], generator(z).detach().numpy(), atol=2e-3)
    _, plain = shown(playground(tmp_path / "plain"), look)
    assert not {"codes", "probe"} & set(plain)
