"""Whoever comes: by keyboard alone, with a screen reader, on a phone, in the dark, in Chinese, with a token or not."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "gannet" / "lab" / "static"
PARTS = ("noise", "generator", "fakes", "reals", "discriminator", "lossG", "lossD", "gradientG", "gradientD")
SIZES = """() => [...document.querySelectorAll("button, input:not(.unseen), select, summary, label.file")]
  .filter((node) => node.checkVisibility()).map((node) => {
    node.scrollIntoView({ block: "center", inline: "nearest" });
    const box = node.getBoundingClientRect();
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const top = document.elementFromPoint(x, y);
    const said = node.id || node.name || node.textContent.trim();
    const free = Boolean(top && (node.contains(top) || node.closest("label")?.contains(top)));
    return { said, left: box.left, right: box.right, free };
  })"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_control_has_a_name(visit, language):
    lab = visit(locale="en-GB" if language == "en" else "zh-CN")
    for part in PARTS:
        lab.open(part)
        assert len(lab.controls()) > 50
        assert not lab.nameless(), part
    lab.page.click("#share-menu summary")
    assert not lab.nameless()
    lab.page.keyboard.press("Escape")
    lab.page.click('[data-density="drawing"]')
    assert not lab.nameless()


def test_the_language_is_changed_and_remembered(visit):
    lab = visit()
    page = lab.page
    page.click("#language")
    lab.until(lambda: page.get_attribute("html", "lang") == "zh-Hans")
    chinese = json.loads((STATIC / "words.zh.json").read_text(encoding="utf-8"))
    words = page.eval_on_selector_all("[data-word]", "nodes => nodes.map((n) => [n.dataset.word, n.textContent])")
    assert len(words) > 30
    assert [text for key, text in words if text != chinese[key]] == []
    lab.open("discriminator")
    assert chinese["part.discriminator"] in page.inner_text("#panel")
    assert page.inner_text("#play").endswith(chinese["play"])
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    assert page.title() == chinese["title"]
    page.keyboard.press("l")
    lab.until(lambda: page.get_attribute("html", "lang") == "en")


def test_everything_is_reached_and_moved_by_keys_alone(visit):
    lab = visit()
    page = lab.page
    wanted = page.eval_on_selector_all(
        "button, input, select, summary, canvas[tabindex], [role=button]",
        "nodes => nodes.filter((n) => n.checkVisibility() && !n.disabled).length",
    )
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(wanted + 10):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(PLACE))
    assert len(reached - {-1}) >= wanted
    page.focus(".skip")  # the link past the header, which comes first
    page.keyboard.press("Enter")
    if page.evaluate("document.activeElement.id") != "play":
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "play"
    page.keyboard.press("Space")
    lab.until(lambda: lab.get("status")["playing"] and lab.step > 60)
    page.keyboard.press("Space")
    lab.until(lambda: not lab.get("status")["playing"])
    step = lab.step
    page.keyboard.press("b")
    lab.until(lambda: lab.step == step + 1)
    for key in "dg":
        page.keyboard.press(key)
    lab.until(lambda: [c["path"] for c in lab.get("state")["changes"]] == ["turn.discriminator", "turn.generator"])
    page.keyboard.press("ArrowLeft")
    lab.until(lambda: lab.step <= step)  # from `step + 1`, by a fiftieth of the way and one step at least
    page.keyboard.press("5")
    lab.until(lambda: page.is_checked('#layers [name="manifold"]'))
    page.keyboard.press("?")
    page.wait_for_selector("dialog.help")
    page.keyboard.press("Escape")
    lab.until(lambda: page.locator("dialog").count() == 0)
    page.keyboard.press("s")
    lab.until(lambda: page.get_attribute("#slow", "aria-pressed") == "true")
    page.keyboard.press("s")
    page.keyboard.press("r")
    lab.until(lambda: lab.step == 0)
    page.focus('[data-part-of-model="lossD"]')
    page.keyboard.press("Enter")
    menu = page.get_by_role("combobox", name="Objective", exact=True)
    menu.focus()
    page.keyboard.type("hinge")
    lab.until(lambda: type(lab.trainer.game.objective).__name__ == "Hinge")
    lab.until(lambda: page.inner_text(".game b") == "hinge")
    lab.until(
        lambda: menu.evaluate("node => node === document.activeElement")
    )  # it stays on the field that was changed


PLACE = """() => [...document.querySelectorAll("button, input, select, summary, canvas[tabindex], [role=button]")]
  .indexOf(document.activeElement)"""


def test_the_menu_closes_by_escape_and_by_a_click_elsewhere(visit):
    page = visit().page
    items = page.locator("#share-items")
    page.click("#share-menu summary")
    page.keyboard.press("Escape")
    assert items.is_hidden()
    page.click("#share-menu summary")
    assert items.is_visible()
    page.click("h1")
    assert items.is_hidden()


def test_points_are_drawn_by_keys(visit):
    lab = visit()
    lab.page.focus('[data-density="drawing"]')
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_selector("dialog.drawing[open]")
    for key in ["Space", "ArrowRight", "ArrowRight", "Space", "ArrowUp", "Space", "Backspace", "ArrowLeft", "Space"]:
        lab.page.keyboard.press(key)
    lab.act(".drawing .primary")
    assert lab.get("state")["points"]["rows"]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off_or_covered(visit, width, tmp_path):
    lab = visit(viewport={"width": width, "height": 740}, has_touch=width == 360)
    page = lab.page
    lab.act("#step-both")
    for part in ("lossD", "discriminator", "gradientG"):
        lab.open(part)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for control in page.evaluate(SIZES):
            assert control["left"] >= -1, control
            assert control["right"] <= width + 1, control
            assert control["free"], control
        page.screenshot(path=tmp_path / f"{width}-{part}.png", full_page=True)
    page.click("#compare")
    page.wait_for_selector("#plane-B")
    page.evaluate("scrollTo(0, 0)")
    page.click("#share-menu summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"{width}-two.png", full_page=True)
    menu = page.locator("#share-items").bounding_box()
    assert menu["x"] >= 0
    assert menu["x"] + menu["width"] <= width
    page.click("#share-menu summary")
    page.click("#help")
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


CORNER = """() => {
  const canvas = document.querySelector("#plane-A");
  return canvas.getContext("2d").getImageData(2, canvas.height - 3, 1, 1).data[0];
}"""


def test_the_dark_is_dark_and_the_choice_is_remembered(visit):
    lab = visit(color_scheme="dark")
    page = lab.page
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate(CORNER) < 60
    page.click("#theme")
    lab.until(lambda: page.get_attribute("html", "data-theme") == "light" and page.evaluate(CORNER) > 200)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.get_attribute("html", "data-theme") == "light"


def test_parts_of_the_page_can_be_hidden_for_a_class(visit):
    lab = visit("/?hide=data,charts,seed")
    for hidden in ("#tiles", "#charts", "#seed"):
        assert lab.page.locator(hidden).is_hidden()
    assert lab.page.locator("#play").is_visible()


# -------------------------------------------------------------------------------------------------------- the door

TOKEN = "a1b2c3d4e5f6a7b8c9"


@pytest.fixture
def locked(tmp_path, served_like):
    """A second laboratory, which wants a token."""
    found = served_like(tmp_path / "lab", token=TOKEN)
    yield found
    found.close()


def test_the_token_is_asked_for_used_and_concealed(locked, visit):
    lab = visit(f"/?token={TOKEN}", at=locked)
    page = lab.page
    assert TOKEN not in page.url
    lab.act("#step-both")
    assert lab.session.playground.step == 1
    page.click("#share-menu summary")
    page.click("#export-link")
    lab.until(lambda: "#lab=" in page.url)
    assert TOKEN not in page.url
    page.reload()  # the cookie has it now
    page.wait_for_selector("body[data-ready]")
    stranger = page.context.browser.new_context()
    answer = stranger.new_page().goto(locked.address + "/")
    assert answer.status == 401
    assert "token" in answer.json()["error"]
    stranger.close()


def test_the_command_serves_the_page(browser, tmp_path):
    """`gannet lab` itself, as a program: the address on its first line, a page that plays, an end by Ctrl+C."""
    words = [sys.executable, "-m", "gannet", "lab", "--port", "0", "--runs", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        try:
            address = program.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
            page = browser.new_page()
            page.set_default_timeout(60_000)
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            page.click("#play")
            page.wait_for_selector('#step:not(:text-is("0"))')
            page.close()
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(30)
    (run,) = tmp_path.iterdir()
    assert (run / "experiment.yaml").is_file(), "a session is an ordinary run"
