"""The lessons in a browser: each is walked to its end, and what a card does is what the engine then is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gannet.lab.lessons import Card, Lesson, lessons
from gannet.lab.look import Probe

DRAWER = "#lessons"


def said(text: Any, language: str) -> str:
    """A text of a lesson as one line."""
    return plain(getattr(text, language))


def plain(text: str) -> str:
    return re.sub(r"\s+", "", text)


def card_is(lab: Any, lesson: Lesson, number: int, language: str) -> None:
    """Wait until the drawer stands on this card, done with what the card does; and read all of it."""
    drawer = lab.page.locator(DRAWER)
    place = re.compile(rf"{number + 1}\D+{len(lesson.cards)}")
    lab.until(lambda: place.search(drawer.locator(".lesson-head .hint").inner_text()))
    lab.until(lambda: drawer.get_attribute("aria-busy") is None)
    text, card = plain(drawer.inner_text()), lesson.cards[number]
    assert plain(lab.page.inner_text(f"{DRAWER} h2")) == said(lesson.title, language)
    assert said(card.text, language) in text
    assert not card.task or said(card.task.text, language) in text
    assert not card.ask or said(card.ask.question, language) in text
    assert (number == len(lesson.cards) - 1) == (said(lesson.claim.text, language) in text)


def engine_is(lab: Any, card: Card) -> None:
    """What a card loads, sets, turns, plays and shows is in the engine."""
    state, status = lab.get("state"), lab.get("status")
    changes = [(change["path"], change["value"]) for change in state["changes"]]
    if card.load:
        loaded = card.load.state()
        assert state["experiment"] == loaded["experiment"]
        assert state["seed"] == loaded["seed"]
    for setting in card.set:
        live = [value for path, value in changes if path == setting.path]
        assert live[-1:] == [str(setting.value)] or state["experiment"].get(setting.path) == setting.value
    for who, n in card.turns.items():
        assert (f"turn.{who}", str(n)) in changes
    if card.play is not None:
        assert status["playing"] == card.play
    if card.show is not None:
        ticks = lab.page.locator("#layers input:checked").evaluate_all("nodes => nodes.map((node) => node.name)")
        assert set(ticks) == set(card.show)
        layers = lab.session.painter.layers
        sent = set(card.show) & set(layers) | {"heat", "manifold"}  # these two for the picture of the model
        lab.until(lambda: {name for name, on in layers.items() if on} == sent)


def test_the_drawer_opens_by_its_button_and_by_a_key(visit):
    lab = visit()
    page = lab.page
    drawer = page.locator(DRAWER)
    assert drawer.is_hidden()
    page.click("#lessons-button")
    lab.until(lambda: drawer.locator("button.lesson").count() == 8)
    titles = [plain(text) for text in drawer.locator("button.lesson b").all_inner_texts()]
    assert titles == [said(lesson.title, "en") for lesson in lessons()]
    assert page.get_attribute("#lessons-button", "aria-expanded") == "true"
    assert drawer.locator("button.lesson, .lesson-head button").first.evaluate("n => n === document.activeElement")
    page.keyboard.press("Escape")
    assert drawer.is_hidden()
    assert page.evaluate("document.activeElement.id") == "lessons-button"
    assert page.get_attribute("#lessons-button", "aria-expanded") == "false"
    page.keyboard.press("m")
    lab.until(drawer.is_visible)
    page.keyboard.press("m")
    lab.until(drawer.is_hidden)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_lesson_is_walked_to_its_end_by_keys(visit, language):
    """In English by the arrow keys, in Chinese by the buttons, with Enter."""
    lab = visit(locale="en-GB" if language == "en" else "zh-CN")
    page = lab.page
    page.keyboard.press("m")
    for k, lesson in enumerate(lessons()):
        lab.until(lambda: page.locator("button.lesson").count() == 8)
        page.locator("button.lesson").nth(k).focus()
        page.keyboard.press("Enter")
        for number, card in enumerate(lesson.cards):
            card_is(lab, lesson, number, language)
            engine_is(lab, card)
            assert number or not lab.nameless(), lesson.id
            if language == "zh" or number == len(lesson.cards) - 1:
                page.focus('[data-turn="1"], [data-turn="end"]')
                page.keyboard.press("Enter")
            else:
                page.focus(f"{DRAWER} h2")
                page.keyboard.press("ArrowRight")
    lab.until(lambda: page.locator("button.lesson").count() == 8)


def test_cards_are_turned_back_and_begin_with_what_was_loaded_before(visit):
    lab = visit("/#lesson=mode-collapse/2")
    lesson = next(lesson for lesson in lessons() if lesson.id == "mode-collapse")
    card_is(lab, lesson, 1, "en")
    engine_is(lab, lesson.cards[1])
    assert lab.get("state")["experiment"] == lesson.cards[0].load.state()["experiment"]
    assert {"disjoint"} == set(re.findall("disjoint", str(lab.trainer.experiment.data)))
    lab.page.focus(f"{DRAWER} h2")
    lab.page.keyboard.press("ArrowLeft")
    card_is(lab, lesson, 0, "en")
    engine_is(lab, lesson.cards[0])
    assert lab.page.url.endswith("#lesson=mode-collapse")
    assert lab.page.locator('[data-turn="-1"]').is_disabled()


def test_a_link_opens_a_lesson_and_another_leads_on(visit):
    lab = visit("/#lesson=r1-dirac/3")
    found = {lesson.id: lesson for lesson in lessons()}
    card_is(lab, found["r1-dirac"], 2, "en")
    assert lab.get("state")["experiment"] == found["r1-dirac"].cards[0].load.state()["experiment"]
    lab.page.evaluate("location.hash = 'lesson=n-critic'")
    card_is(lab, found["n-critic"], 0, "en")
    engine_is(lab, found["n-critic"].cards[0])
    lab.page.evaluate("location.hash = 'lesson=no-such-thing'")
    lab.until(lambda: lab.page.locator("button.lesson").count() == 8)
    assert lab.page.locator("#toast").is_visible()


def ticked(lab: Any) -> bool:
    return lab.page.locator(".lesson-try.done .tick-box").all_inner_texts() == ["✓"]


def test_a_lone_turn_is_noticed(visit):
    lab = visit("/#lesson=what-a-gan-is/2")
    lab.until(lambda: lab.page.locator(".lesson-try").count() == 1)
    assert not ticked(lab)
    plane = lab.page.locator("#plane-A")
    before = plane.evaluate("node => node.toDataURL()")
    lab.act("#step-generator")  # the other player's does not count
    lab.until(lambda: plane.evaluate("node => node.toDataURL()") != before)
    assert not ticked(lab)
    lab.act("#step-discriminator")
    lab.until(lambda: ticked(lab))
    assert lab.page.inner_text("#said")
    lab.page.click("#language")
    lab.until(lambda: lab.page.get_attribute("html", "lang") == "zh-Hans")
    lab.until(lambda: ticked(lab))


def test_a_setting_is_noticed(visit):
    lab = visit("/#lesson=vanishing-gradients/3")
    lab.until(lambda: lab.page.locator(".lesson-try").count() == 1)
    lab.until(lambda: lab.page.locator(DRAWER).get_attribute("aria-busy") is None)
    lab.open("lossG")
    menu = lab.page.get_by_role("combobox", name="Objective", exact=True)
    lab.enter(menu, "hinge")
    assert not ticked(lab)
    lab.enter(menu, "nonsaturating")
    lab.until(lambda: ticked(lab))


def test_played_steps_are_noticed(visit):
    lab = visit("/#lesson=n-critic/2")
    lab.until(lambda: lab.get("status")["playing"])
    lab.until(lambda: ticked(lab))
    assert lab.step >= 100


def test_the_phase_plot_follows_the_weights(visit):
    lab = visit("/#lesson=r1-dirac")
    canvas = "canvas.phase"
    lab.until(lambda: lab.page.locator(canvas).count() == 1 and lab.colours(canvas) > 5)
    values = lab.page.locator(".phase-values")
    lab.until(lambda: "± 0.50i" in values.inner_text())
    assert "circles" in values.inner_text() or "flees" in values.inner_text()
    start = lab.page.locator(canvas).evaluate("node => node.toDataURL()")
    lab.act("#play")
    lab.until(lambda: lab.step > 40)
    lab.act("#play")
    lab.until(lambda: lab.page.locator(canvas).evaluate("node => node.toDataURL()") != start)
    networks = lab.trainer.game.networks
    theta = float(next(networks["generator"].parameters()).detach().flatten()[0])
    lab.until(lambda: shown_theta(lab) == pytest.approx(theta, abs=0.01))
    lab.page.evaluate("location.hash = 'lesson=r1-dirac/4'")
    lab.until(lambda: "−" in values.inner_text().split("±")[0])  # settles: real parts below 0


def shown_theta(lab: Any) -> float:
    label = lab.page.get_attribute("canvas.phase", "aria-label").replace("−", "-")
    return float(re.search(r"θ (-?[\d.e-]+)", label)[1])


def test_a_code_is_held_by_its_button(visit):
    lab = visit("/#lesson=infogan/3")
    codes = lab.page.locator(".codes button")
    lab.until(lambda: codes.count() == 3)
    codes.nth(1).click()
    lab.until(lambda: lab.session.painter.probe == Probe(1, None))
    assert codes.nth(1).get_attribute("aria-pressed") == "true"
    lab.page.focus(f"{DRAWER} h2")
    lab.page.keyboard.press("Escape")
    lab.until(lambda: lab.session.painter.probe == Probe())


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_a_lesson_on_a_phone_in_the_dark(visit, language, tmp_path):
    lab = visit(
        "/#lesson=r1-dirac/3", locale=language, viewport={"width": 360, "height": 740}, has_touch=True,
        color_scheme="dark",
    )  # fmt: skip
    lab.until(lambda: lab.page.locator("canvas.phase").count() == 1 and lab.colours("canvas.phase") > 5)
    assert lab.too_wide() <= 0
    assert not lab.nameless()
    lab.page.screenshot(path=tmp_path / f"{language}.png", full_page=True)
    lab.page.click(".lesson-foot button:first-child")
    lab.until(lambda: lab.page.locator("button.lesson").count() == 8)
    assert lab.too_wide() <= 0
    lab.page.screenshot(path=tmp_path / f"{language}-list.png", full_page=True)
