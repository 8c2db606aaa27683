"""What goes in and out of the playground: own data, links, files, pictures, and text that the real programs read."""

from __future__ import annotations

import ast
import csv
import io
import json
import shlex
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from typer.main import get_command

from gannet.cli import app
from gannet.core.experiment import Experiment
from gannet.core.overrides import resolve


def points(lab) -> np.ndarray:
    """Every row that the engine has, to train on and to hold out, `[n, 2]`."""
    splits = [lab.trainer.game.source.split(name) for name in ("train", "test")]
    return np.concatenate([rows.take(torch.arange(len(rows)))["x"].numpy() for rows in splits])


def put(lab, accept: str, name: str, content: bytes) -> None:
    """Choose a file of one's own for one of the page's file fields."""
    field = lab.page.locator(f'input[type="file"][accept^="{accept}"]')
    field.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


# --------------------------------------------------------------------------------------------------------- own data


def test_points_are_drawn_erased_and_trained_on(visit):
    lab = visit()
    page = lab.page
    page.click('[data-density="drawing"]')
    sheet = page.locator(".sheet").bounding_box()

    def stroke(*places: tuple[float, float]) -> None:
        for k, (x, y) in enumerate(places):
            page.mouse.move(sheet["x"] + x * sheet["width"], sheet["y"] + (1 - y) * sheet["height"])
            if k == 0:
                page.mouse.down()
        page.mouse.up()

    stroke((0.2, 0.2), (0.25, 0.2), (0.3, 0.2), (0.35, 0.2))
    stroke((0.8, 0.8), (0.8, 0.75))
    many = page.inner_text(".drawing .row .hint")
    page.click('.drawing [data-tool="erase"]')
    stroke((0.8, 0.8), (0.8, 0.77), (0.8, 0.74))
    assert page.inner_text(".drawing .row .hint") != many
    lab.act(".drawing .primary")
    found = points(lab)
    assert found[:, 0].min() > 0.1
    assert found[:, 0].max() < 0.45, "what was erased is gone"
    assert abs(found[:, 1].mean() - 0.2) < 0.03, "the sheet's lower edge is y = 0"
    lab.act("#step-both")
    assert lab.get("state")["points"]["kind"] == "drawing"


def test_a_table_is_the_data(visit):
    lab = visit()
    rows = np.random.default_rng(0).normal([3, -2], [0.5, 0.1], (200, 2)).round(3)
    put(lab, ".csv", "mine.csv", ("x,y\n" + "\n".join(f"{x},{y}" for x, y in rows)).encode())
    lab.until(lambda: "points" in lab.get("state"))
    np.testing.assert_allclose(np.sort(points(lab), 0), np.sort(rows, 0), atol=1e-6)
    lab.act("#step-both")


def test_a_table_that_is_none_is_refused_in_words(visit):
    lab = visit()
    lab.forgiven = True  # the browser itself writes of the answer 400
    put(lab, ".csv", "mine.csv", b"one,two\nthree,four\n")
    lab.until(lambda: lab.page.locator("#toast").is_visible() and lab.page.inner_text("#toast"))
    assert "points" not in lab.get("state")


def test_an_image_is_a_density(visit):
    lab = visit()
    picture = Image.new("L", (600, 600), 255)
    picture.paste(0, (300, 0, 600, 300))  # dark above, on the right
    data = io.BytesIO()
    picture.save(data, "PNG")
    put(lab, "image", "mine.png", data.getvalue())
    lab.until(lambda: "points" in lab.get("state"))
    found = points(lab)
    low, high = lab.session.painter.bounds[:2], lab.session.painter.bounds[2:]
    assert len(found) == 4000
    assert np.abs(found.mean(0) - 0.5).max() < 0.03, "the plane is from −1 to 1, and row 0 of an image is above"
    assert found.min() > -0.02
    assert np.ptp(found, 0).min() > 0.9
    assert (found >= np.array(low)).all()
    assert (found <= np.array(high)).all()


# -------------------------------------------------------------------------------------------------- links and files


def busy(lab) -> None:
    """A game with a past: a change while it ran, a lone turn, layers other than at first."""
    lab.act('[data-density="moons"]')
    lab.play_to(60)
    lab.open("lossD")
    lab.enter(lab.page.get_by_role("combobox", name="Objective", exact=True), "hinge")
    lab.act("#step-generator")
    lab.play_to(lab.step + 30)
    lab.enter(lab.page.locator('#layers [name="manifold"]'), True)


def same(one, other) -> bool:
    """Whether two pages' games have the same state and, bit for bit, the same networks."""
    a, b = one.trainer.game.networks.state_dict(), other.trainer.game.networks.state_dict()
    return one.get("state") == other.get("state") and all(torch.equal(a[k], b[k]) for k in a)


def test_a_link_opens_the_same_state_elsewhere(visit):
    lab = visit()
    busy(lab)
    lab.page.click("#share-menu summary")
    lab.page.click("#export-link")
    lab.until(lambda: "#lab=" in lab.page.url and lab.page.inner_text("#said") == "Link copied")
    other = visit("/" + lab.page.url[lab.page.url.index("#") :])
    other.until(lambda: other.step == lab.step)
    assert same(lab, other)
    assert other.page.is_checked('#layers [name="manifold"]')
    other.until(lambda: other.page.inner_text(".game b") == "hinge")  # said with a frame after the last step's


def test_the_address_follows_the_settings(visit):
    lab = visit()
    lab.act('[data-density="spiral"]')
    lab.until(lambda: "#lab=" in lab.page.url)
    lab.page.reload()
    lab.page.wait_for_selector("body[data-ready]")
    assert lab.page.get_attribute('[data-density="spiral"]', "aria-pressed") == "true"


def test_a_damaged_link_is_said_and_opens_a_fresh_session(visit):
    lab = visit("/#lab=eNqrVkpUslJQ")
    assert "damaged" in lab.page.inner_text("#toast")
    assert lab.step == 0


def test_a_file_is_saved_and_loaded(visit):
    lab = visit()
    busy(lab)
    text = lab.choose("#export-save").read_bytes()
    assert json.loads(text)["sessions"][0]["experiment"]
    other = visit()
    put(other, ".json", "gannet-lab.json", text)
    other.until(lambda: other.step == lab.step and not other.get("status")["busy"])
    assert same(lab, other)


def test_a_file_of_something_else_is_refused_in_words(visit):
    lab = visit()
    put(lab, ".json", "x.json", b'{"a": 1}')
    lab.until(lambda: "no saved state" in lab.page.inner_text("#toast"))
    put(lab, ".json", "x.json", b"\x00\x01")
    assert lab.step == 0


# ---------------------------------------------------------------------------------------------------------- exports


def test_a_picture_and_the_history_are_handed_over(visit):
    lab = visit()
    lab.play_to(80)
    with Image.open(lab.choose("#export-png")) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 200
        assert min(picture.size) > 300
    heading, *rows = csv.reader(lab.choose("#export-csv").read_text().splitlines())
    assert heading == ["step", "discriminator", "generator", "p_real_above_fake"]
    assert [float(cell) for cell in rows[-1]] == [float(value) for value in lab.session.playground.rows[-1]]
    assert len(rows) == lab.step


def test_an_animation_has_frames_that_differ(visit):
    lab = visit()
    plane, recording = lab.page.locator("#plane-A"), lab.page.locator("#share-menu.recording")
    lab.act("#play")
    with lab.page.expect_download() as download:
        lab.page.click("#share-menu summary")
        lab.page.click("#export-gif")
        begun = plane.get_attribute("aria-label")
        lab.until(lambda: plane.get_attribute("aria-label") != begun)  # with the measures of a later step
        if recording.count():  # it ends by itself after twelve seconds, which a busy machine needs
            lab.page.click("#share-menu summary")
            lab.page.click("#export-gif")
    with Image.open(download.value.path()) as film:
        assert film.format == "GIF"
        assert film.size == (400, 400)
        assert film.n_frames >= 2
        first = np.asarray(film.convert("RGB"))
        film.seek(film.n_frames - 1)
        assert (np.asarray(film.convert("RGB")) != first).any()
    assert recording.count() == 0


def shown(lab, kind: str) -> str:
    """The text of an export, as the page shows it."""
    lab.page.click("#share-menu summary")
    lab.page.click(f"#export-{kind}")
    text = lab.page.inner_text("dialog.text pre")
    lab.page.click("dialog.text .primary")
    return text


def test_command_python_and_yaml_are_the_game_that_is_played(visit, tmp_path: Path):
    lab = visit()
    busy(lab)
    trained = lab.trainer.experiment

    def agrees(read: Experiment) -> None:
        assert read.model_copy(update={"stop": trained.stop}).canonical() | {"preset": ""} == (
            trained.canonical() | {"preset": ""}
        )

    (line,) = [x for x in shown(lab, "command").splitlines() if x and not x.startswith("#")]
    words = shlex.split(line)
    assert words[:2] == ["gannet", "train"]
    given = get_command(app).commands["train"].make_context("train", words[2:]).params  # type: ignore[attr-defined]
    agrees(resolve(given["preset"], given["words"]).experiment)
    call = next(n for n in ast.walk(ast.parse(shown(lab, "python"))) if isinstance(n, ast.Call))
    agrees(resolve(*map(ast.literal_eval, call.args)).experiment)
    path = tmp_path / "experiment.yaml"
    path.write_text(shown(lab, "yaml"), encoding="utf-8")
    agrees(resolve(str(path)).experiment)
