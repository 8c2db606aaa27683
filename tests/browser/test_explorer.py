"""The explorer in a browser: whatever is moved, the canvas has the very pixels that the model makes of that look."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gannet import api
from gannet.cli import main
from gannet.core import registry
from gannet.latent.neighbours import Training

PIXELS = """selector => {
  const canvas = document.querySelector(selector);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, btoa(Array.from(data, (v) => String.fromCharCode(v)).join(""))];
}"""
STATIC = Path(__file__).parents[2] / "gannet" / "lab" / "static"
LOOK = "#look canvas"
FRAMES = """async () => {
  for (let k = 0; k < 20; k++) await new Promise(requestAnimationFrame);
}"""
"""Twenty pictures later."""
CELL = 92
"""Pixels of the screen from one seed to the next."""


@pytest.fixture(scope="session")
def models(trained: Path) -> dict[str, Any]:
    """The runs as Python loads them, beside what the server holds."""
    return {name: api.load(trained / name) for name in ("plain", "classes", "styles")}


@pytest.fixture
def explore(visit, library):
    """`explore(run, fragment="", **context)`: the explorer on a run."""
    return lambda run, fragment="", **context: visit(f"/explore?run={run}{fragment}", at=library, **context)


def pixels(lab: Any, selector: str = LOOK) -> np.ndarray:
    """A canvas as grey levels, `[H, W]`."""
    height, width, data = lab.page.evaluate(PIXELS, selector)
    rgba = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
    return rgba[..., 0]


def small(image: np.ndarray, side: int = 8) -> np.ndarray:
    """An enlarged picture of `side` pixels as it was."""
    return image[:: max(1, image.shape[0] // side), :: max(1, image.shape[1] // side)]


def shows(lab: Any, model: Any, **look: Any) -> bool:
    """Whether the picture is, to the last bit, the model's for this look."""
    (expected,) = model.show([look])
    return np.array_equal(small(pixels(lab)), expected[..., 0])


def slide(slider: Any, value: float) -> None:
    slider.fill(str(value))


def opened(lab: Any, card: str) -> Any:
    """A card of the page, opened."""
    found = lab.page.locator(f"#{card}")
    if not found.evaluate("node => node.open"):
        found.locator("summary").click()
    return found


def link(lab: Any, part: str) -> None:
    """Wait until the address says this."""
    lab.until(lambda: part in lab.page.url)


def test_the_facts_are_shown(explore, models):
    lab = explore("plain")
    page, model = lab.page, models["plain"]
    lab.until(lambda: "seed 0" in page.inner_text("#look figcaption"))
    assert page.title() == "Gannet · explorer"
    assert page.inner_text("#look figcaption").split("\n") == ["quick · digits", "seed 0 · after 1,024 samples"]
    assert page.get_attribute(LOOK, "aria-label") == "Generated image, seed 0"
    assert shows(lab, model, point={"seed": 0})
    assert sorted(page.locator("#run option").all_inner_texts()) == ["broken", "classes", "plain", "points", "styles"]
    assert page.input_value("#run") == "plain"
    assert page.locator("#class").count() == page.locator("#styles").count() == 0
    lab.until(lambda: lab.colours("#plane") > 100)  # the tiles have come
    assert page.get_attribute("#plane", "aria-label") == "Latent plane, at seed 0"
    assert lab.too_wide() <= 0


def test_the_point_is_moved_by_pointer_and_by_keys(explore, models):
    lab = explore("plain")
    page, model = lab.page, models["plain"]
    box = page.locator("#plane").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - CELL, y, steps=4)
    page.mouse.move(x - CELL, y - CELL / 2, steps=2)
    page.mouse.up()
    link(lab, "#at=1,0.5")
    lab.until(lambda: shows(lab, model, point={"x": 1, "y": 0.5}))
    assert "1.00, 0.50" in page.inner_text("#look figcaption")
    assert page.input_value("#seed") == ""
    page.mouse.click(x + CELL, y - CELL / 2)  # the tile of a seed
    lab.until(lambda: shows(lab, model, point={"seed": 2}))
    page.focus("#plane")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    lab.until(lambda: shows(lab, model, point={"x": 2.1, "y": 0.1}))
    page.keyboard.press("Home")
    lab.until(lambda: shows(lab, model, point={"seed": 2}))
    page.keyboard.press("Shift+ArrowDown")
    lab.until(lambda: shows(lab, model, point={"seed": 102}))
    assert page.input_value("#seed") == "102"
    assert page.get_attribute("#plane", "aria-label") == "Latent plane, at seed 102"


def test_wandering_moves_until_it_is_stopped(explore):
    lab = explore("plain", reduced_motion="no-preference")
    lab.until(lambda: "seed 0" in lab.page.inner_text("#look figcaption"))
    start = pixels(lab).copy()
    lab.page.keyboard.press("Space")
    lab.until(lambda: "between seeds" in lab.page.get_attribute("#plane", "aria-label"))
    lab.until(lambda: not np.array_equal(pixels(lab), start))
    lab.page.keyboard.press("Space")
    assert "Wander" in lab.page.inner_text("#play")

    def still() -> bool:
        place = lab.page.get_attribute("#plane", "aria-label")
        lab.page.evaluate(FRAMES)
        return lab.page.get_attribute("#plane", "aria-label") == place

    lab.until(still)  # what was on its way when it was stopped is still painted


def test_the_seed_box_gives_what_gannet_sample_writes(explore, models, trained, tmp_path):
    lab = explore("plain")
    lab.page.fill("#seed", "1234")
    lab.page.press("#seed", "Enter")
    lab.until(lambda: "seed 1234" in lab.page.inner_text("#look figcaption"))
    file = tmp_path / "one.npy"
    assert main(["sample", str(trained / "plain"), "--n", "1", "--seed", "1234", "--out", str(file)]) == 0
    lab.until(lambda: np.array_equal(small(pixels(lab)), np.load(file)[0, ..., 0]))
    lab.page.click("#another")
    lab.until(lambda: "seed 1234" not in lab.page.inner_text("#look figcaption"))


def test_class_and_truncation(explore, models):
    lab = explore("classes", "#at=4,0")
    page, model = lab.page, models["classes"]
    page.select_option("#class", "7")
    lab.until(lambda: shows(lab, model, point={"seed": 4}, **{"class": "7"}))
    before = pixels(lab).copy()
    slide(page.locator("#controls .slider").filter(has_text="Truncation").locator("input"), 0.25)
    lab.until(lambda: shows(lab, model, point={"seed": 4}, truncation=0.25, **{"class": "7"}))
    assert not np.array_equal(pixels(lab), before)
    link(lab, "#at=4,0&truncation=0.25&class=7")


def test_a_way_between_pins(explore, models):
    lab = explore("plain", reduced_motion="no-preference")
    page, model = lab.page, models["plain"]
    assert page.inner_text("#tray .hint") == "Pin two points or more to walk between them."
    page.click("#pin")
    page.fill("#seed", "55")
    page.press("#seed", "Enter")
    lab.until(lambda: "seed 55" in page.inner_text("#look figcaption"))
    page.locator("#plane").focus()
    page.keyboard.press("p")
    assert page.locator("#tray .thumb").all_inner_texts() == ["1 · seed 0", "2 · seed 55"]
    for number, seed in enumerate((0, 55), 1):
        there = f"#tray li:nth-child({number}) canvas"
        lab.until(lambda there=there, seed=seed: close(pixels(lab, there), model.show([{"point": {"seed": seed}}])))
    slide(page.locator("#tray .slider input"), 0.25)
    ends = [{"x": 0, "y": 0}, {"x": 55, "y": 0}]
    lab.until(lambda: shows(lab, model, point={"between": ends, "t": 0.25}))
    assert "between pins, at 0.25" in page.inner_text("#look figcaption")
    link(lab, "pin=0,0&pin=55,0&between=0.25")
    page.focus("#plane")
    page.keyboard.press("b")
    lab.until(lambda: float(page.locator("#tray .slider input").input_value()) != 0.25)
    page.keyboard.press("b")
    assert "Walk" in page.inner_text("#between-play")
    page.get_by_role("button", name="Remove seed 0").click()
    assert page.locator("#tray .thumb").all_inner_texts() == ["1 · seed 55"]
    page.locator("#tray .thumb").click()
    lab.until(lambda: shows(lab, model, point={"seed": 55}))


def close(image: np.ndarray, expected: np.ndarray) -> bool:
    """Pictures that were made many at once may differ in the last bit."""
    return image.shape == (8, 8) and int(np.abs(image.astype(int) - expected[0, ..., 0]).max()) <= 1


def test_styles_are_mixed(explore, models):
    lab = explore("styles", "#at=3,0")
    page, model = lab.page, models["styles"]
    card = opened(lab, "styles")
    boxes = card.locator("input[type=checkbox]")
    assert boxes.count() == model.view.styles > 1
    page.fill("#seed", "9")
    page.press("#seed", "Enter")
    lab.until(lambda: shows(lab, model, point={"seed": 9}))
    card.get_by_role("button", name="Take the present point").click()
    page.fill("#seed", "3")
    page.press("#seed", "Enter")
    lab.until(lambda: shows(lab, model, point={"seed": 3}))
    lab.until(
        lambda: np.array_equal(small(pixels(lab, "#styles canvas")), model.show([{"point": {"seed": 9}}])[0, ..., 0])
    )
    boxes.first.check()
    lab.until(lambda: shows(lab, model, point={"seed": 3}, style={"point": {"seed": 9}, "layers": [0]}))
    link(lab, "style=9,0:0")
    card.get_by_role("button", name="None").click()
    lab.until(lambda: shows(lab, model, point={"seed": 3}))


def test_directions_have_sliders(explore, models):
    lab = explore("plain", "#at=5,0")
    model = models["plain"]
    card = opened(lab, "directions")
    sliders = card.locator("input[type=range]")
    lab.until(lambda: sliders.count() == 8)
    shares = [float(re.search(r"· ([\d.]+) %", text)[1]) for text in card.locator(".slider").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    slide(sliders.nth(1), 2.5)
    lab.until(lambda: shows(lab, model, point={"seed": 5}, directions=[[1, 2.5]]))
    sliders.first.press("ArrowLeft")
    lab.until(lambda: shows(lab, model, point={"seed": 5}, directions=[[0, -0.1], [1, 2.5]]))
    link(lab, "directions=0:-0.1,1:2.5")
    card.get_by_role("button", name="Directions to 0").click()
    lab.until(lambda: shows(lab, model, point={"seed": 5}))
    assert sliders.nth(1).input_value() == "0"


def test_the_nearest_training_images_and_the_verdict(explore, models):
    lab = explore("plain", "#at=6,0")
    model = models["plain"]
    card = opened(lab, "nearest")
    lab.until(lambda: card.locator("figure").count() == 8)
    training = Training(registry.SOURCES.build(model.experiment.data))
    distances, indices = training.nearest(model.view.images(model.looks([{"point": {"seed": 6}}])).clamp(-1, 1), 8)
    said = card.locator("figcaption, figure small").all_inner_texts()
    assert [int(text.split()[1]) for text in said] == indices[0].tolist()
    ratio = float(distances[0, 0]) / training.typical
    verdict = card.locator(".verdict")
    assert verdict.get_attribute("class") == f"verdict {'copy' if ratio < 0.35 else 'near' if ratio < 0.75 else 'new'}"
    assert float(re.search(r"[\d.]+", verdict.inner_text())[0]) == pytest.approx(ratio, rel=0.05)
    assert card.get_by_text("earlier image").is_hidden()
    lab.page.focus("#plane")
    lab.page.keyboard.press("ArrowRight")
    lab.until(lambda: card.get_by_text("earlier image").is_visible())


def test_activations_of_a_layer(explore):
    lab = explore("plain", "#at=2,0")
    card = opened(lab, "activations")
    said = card.locator("p.hint")
    lab.until(lambda: "channels" in said.inner_text())
    first, words = pixels(lab, "#activations canvas").copy(), said.inner_text()
    menu = card.locator("select")
    other = next(name for name in menu.locator("option").all_inner_texts() if not name.startswith(menu.input_value()))
    menu.select_option(other.split(" · ")[0])
    lab.until(lambda: said.inner_text() != words)
    channels = other.split(" · ")[1].split(" × ")[0]
    assert said.inner_text().startswith(f"{channels} channels")
    assert not np.array_equal(pixels(lab, "#activations canvas"), first)
    words = said.inner_text()
    lab.page.focus("#plane")
    lab.page.keyboard.press("Shift+ArrowRight")
    lab.until(lambda: said.inner_text() != words)  # another image, other activations


def test_the_saved_grids_are_scrubbed(explore, trained):
    lab = explore("plain")
    files = sorted((trained / "plain" / "samples").glob("0*.png"))
    assert len(files) == 4
    image = lab.page.locator("#saved img")
    doings = (  # the card opens on the last; no grid is asked for twice, for a browser may keep what it has
        (files[3], lambda: opened(lab, "saved")),
        (files[0], lambda: lab.page.press("#saved input", "Home")),
        (files[1], lambda: lab.page.press("#saved input", "ArrowRight")),
    )
    for file, do in doings:
        with lab.page.expect_response(lambda r: "/saved" in r.url) as answer:
            do()
        assert answer.value.body() == file.read_bytes(), file.name
        lab.until(lambda: image.evaluate("node => node.complete && node.naturalWidth > 0"))
        assert image.get_attribute("alt") == f"Sample grid after {int(file.stem):,} samples"
    lab.page.press("#saved input", "End")
    assert image.get_attribute("alt") == f"Sample grid after {int(files[3].stem):,} samples"


def files(lab: Any, *kinds: str) -> list[bytes]:
    """What the buttons for taking away hand over."""
    found = []
    for kind in kinds:
        with lab.page.expect_download() as download:
            lab.page.click(f"#export-{kind}")
        found.append(Path(download.value.path()).read_bytes())
    return found


def words(lab: Any, kind: str) -> str:
    """The text that a button for taking away shows."""
    lab.page.click(f"#export-{kind}")
    text = lab.page.inner_text("dialog pre")
    lab.page.keyboard.press("Escape")
    lab.until(lambda: lab.page.locator("dialog").count() == 0)
    return text


def test_what_is_taken_away_is_made_again_by_the_command(explore, tmp_path, monkeypatch):
    lab = explore("classes", "#at=1.5,0.25&class=3&truncation=0.8&pin=0,0&pin=2,1")
    opened(lab, "export")
    image, animation = files(lab, "png", "gif")
    assert np.array_equal(small(pixels(lab)), np.asarray(Image.open(io.BytesIO(image))))
    assert Image.open(io.BytesIO(animation)).n_frames > 40
    monkeypatch.chdir(tmp_path)
    said = words(lab, "command")
    assert "--looks" in said
    assert main(shlex.split(said)[1:]) == 0
    (written,) = Path("pictures").iterdir()
    assert written.read_bytes() == image
    lab.page.goto("about:blank")
    lab.go("/explore?run=classes#at=7,0&class=3")  # a whole seed is written as a person would
    opened(lab, "export")
    lab.until(lambda: "seed 7" in lab.page.inner_text("#look figcaption"))
    said = words(lab, "command")
    assert "--seeds 7 --label 3" in said
    assert "api.load(" in words(lab, "python")


def test_a_link_opens_the_same_view(explore, models):
    lab = explore("styles", "#at=2,1&pin=4,0&pin=0,3")
    page, model = lab.page, models["styles"]
    slide(page.locator("#controls .slider").filter(has_text="Truncation").locator("input"), 0.6)
    slide(page.locator("#tray .slider input"), 0.5)
    card = opened(lab, "directions")
    lab.until(lambda: card.locator("input").count() == 8)
    slide(card.locator("input").first, 1.5)
    look = {
        "point": {"between": [{"x": 4, "y": 0}, {"x": 0, "y": 3}], "t": 0.5},
        "truncation": 0.6,
        "directions": [[0, 1.5]],
    }
    lab.until(lambda: shows(lab, model, **look))
    link(lab, "directions=0:1.5")
    again = explore("styles", page.url[page.url.index("#") :])
    again.until(lambda: shows(again, model, **look))
    again.until(lambda: again.page.locator("#directions input").count() == 8)
    assert again.page.locator("#directions input").first.input_value() == "1.5"
    assert again.page.locator("#tray .thumb").count() == 2
    again.page.evaluate("location.hash = '#at=8,0'")
    again.until(lambda: shows(again, model, point={"seed": 8}))


@pytest.mark.parametrize(("run", "why"), [("points", "this run makes points"), ("broken", "no checkpoint")])
def test_a_run_that_cannot_be_explored_says_why(explore, models, run, why):
    lab = explore(run)
    page = lab.page
    assert why in page.inner_text(".not-explored")
    assert page.locator("#plane").count() == 0
    assert page.get_attribute(".not-explored a", "href") == f"/runs#run={run}"
    page.select_option("#run", "plain")
    page.wait_for_selector("#plane")
    lab.until(lambda: shows(lab, models["plain"], point={"seed": 0}))
    page.go_back()
    page.wait_for_selector(".not-explored")
    assert lab.said, "the browser writes a line of every answer 400"
    assert [text for text in lab.said if "status of 400 (Bad Request)" not in text] == []
    lab.forgiven = True


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_everything_has_a_name_and_its_place(explore, language, width, scheme, tmp_path):
    lab = explore(
        "styles", "#at=1,0&pin=0,0&pin=2,1", locale=language, color_scheme=scheme,
        viewport={"width": width, "height": 760}, has_touch=width == 360,
    )  # fmt: skip
    for card in ("directions", "styles", "nearest", "activations", "saved", "export"):
        opened(lab, card)
    lab.until(lambda: lab.page.locator("#directions input").count() == 8)
    lab.until(lambda: lab.page.locator("#nearest figure").count() == 8)
    assert len(lab.controls()) > 40
    assert not lab.nameless()
    assert lab.too_wide() <= 0
    text = lab.page.inner_text("body")
    assert not re.search(r"\b(card|about|export|key|explore)\.[a-z]", text), "every text is in words.*.json"
    known = json.loads((STATIC / f"explore.{language[:2]}.json").read_text(encoding="utf-8"))
    assert [word for word in ("pin", "card.directions", "card.export", "plane.hint") if known[word] not in text] == []
    lab.page.screenshot(path=tmp_path / f"{language}-{width}.png", full_page=True)


def test_language_and_theme_keep_the_view(explore, models):
    lab = explore("plain", "#at=12,0")
    page = lab.page
    lab.until(lambda: shows(lab, models["plain"], point={"seed": 12}))
    page.focus("#plane")
    page.keyboard.press("l")
    lab.until(lambda: page.get_attribute("html", "lang") == "zh-Hans")
    page.keyboard.press("t")
    lab.until(lambda: shows(lab, models["plain"], point={"seed": 12}))
    assert json.loads((STATIC / "explore.zh.json").read_text(encoding="utf-8"))["pin"] == page.inner_text("#pin")
