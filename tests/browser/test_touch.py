"""A finger instead of a mouse, on a phone: real touch events, which come as pointers and may scroll the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 760}, "has_touch": True, "is_mobile": True}


def swipe(lab: Any, selector: str, *places: tuple[float, float]) -> None:
    """Put a finger down on the first of some places of an element, given as shares of it, and lift it at the last."""
    element = lab.page.locator(selector)
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    fingers = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
    protocol = lab.page.context.new_cdp_session(lab.page)
    for number, finger in enumerate(fingers):
        kind = "touchMove" if number else "touchStart"
        protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [finger]})
    protocol.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    protocol.detach()


def tap_until(lab: Any, selector: str, condition: Callable[[], Any]) -> None:
    """Tap until it has helped: the browser drops touches that a busy machine does not answer in a fifth of a second."""

    def tapped() -> bool:
        if not condition() and lab.page.locator(selector).is_visible():
            lab.page.locator(selector).tap()
            lab.page.wait_for_timeout(300)
        return bool(condition())

    lab.until(tapped)


def line(start: tuple[float, float], end: tuple[float, float], steps: int = 12) -> list[tuple[float, float]]:
    shares = [k / steps for k in range(steps + 1)]
    return [tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in shares]  # type: ignore[misc]


def test_points_are_drawn_by_a_finger(visit):
    lab = visit(**PHONE)
    tap_until(lab, '[data-density="drawing"]', lambda: lab.page.locator("dialog.drawing[open]").count())
    before = lab.page.evaluate("scrollY")
    swipe(lab, ".drawing .sheet", *line((0.2, 0.2), (0.2, 0.8)))
    assert lab.page.evaluate("scrollY") == before, "the page stays where it is under a finger that draws"
    tap_until(lab, ".drawing .primary", lambda: "points" in lab.get("state"))
    source = lab.trainer.game.source
    rows = torch.cat([source.split(name).fields["x"] for name in ("train", "test")])
    assert (rows[:, 0] - 0.2).abs().max() < 0.1
    low, high = rows[:, 1].min(), rows[:, 1].max()
    assert low < 0.3
    assert high > 0.7, "the whole stroke has arrived, not only its beginning"


def test_a_finger_plays_and_reads_the_plane(visit):
    lab = visit(**PHONE)
    tap_until(lab, "#play", lambda: lab.step > 0)
    tap_until(lab, "#play", lambda: not lab.get("status")["playing"])
    before = lab.page.evaluate("scrollY")
    swipe(lab, "#plane-A", *line((0.5, 0.7), (0.5, 0.2)))
    lab.until(lambda: lab.page.evaluate("scrollY") > before)  # a phone that could not scroll past the plane is stuck


def test_the_explorer_follows_a_finger(visit, library):
    lab = visit("/explore?run=plain#at=5,5", at=library, **PHONE)
    lab.page.locator("#plane").scroll_into_view_if_needed()
    before = lab.page.evaluate("scrollY")
    swipe(lab, "#plane", *line((0.5, 0.3), (0.5, 0.7)))
    place = lab.until(lambda: re.search(r"#at=5,(?!5$)(-?[\d.]+)$", lab.page.url))
    assert float(place[1]) < 5, "the seeds above come down with the finger"
    assert lab.page.evaluate("scrollY") == before
    lab.page.locator("#plane").tap(position={"x": 20, "y": 20})
    lab.until(lambda: lab.page.input_value("#seed"))
