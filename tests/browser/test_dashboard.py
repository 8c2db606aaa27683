"""The dashboard in a browser: the list, one run, a run that trains now, several side by side, and what is broken."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from gannet.core.presets import read_yaml
from gannet.lab.shelf import Shelf

NAMES = ["broken", "classes", "plain", "points", "styles"]
GANNET = [sys.executable, "-m", "gannet"]


@pytest.fixture
def board(visit, library):
    """`board(fragment="", **context)`: the dashboard of the folder of runs."""
    return lambda fragment="", at=library, **context: visit(f"/runs{fragment}", at=at, **context)


def shown(lab: Any) -> list[str]:
    """Names of the runs in the list, from above."""
    return lab.page.locator("table.runs tbody th a").all_inner_texts()


def row(lab: Any, name: str) -> Any:
    return lab.page.locator("table.runs tbody tr").filter(has=lab.page.locator(f"a[href='#run={name}']"))


def number(text: str) -> float:
    """The first number of a text, with k and M as people write them."""
    found = re.search(r"([\d.,]+)\s*([kM]?)", text)
    return float(found[1].replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6}[found[2]]


def by_keys(lab: Any, column: str) -> None:
    """Sort by a column without a pointer."""
    lab.page.locator(f"th.{column} button").focus()
    lab.page.keyboard.press("Enter")


def test_the_list_is_sorted_and_filtered_by_keys(board):
    lab = board()
    page = lab.page
    lab.until(lambda: sorted(shown(lab)) == NAMES)
    by_keys(lab, "name")
    assert shown(lab) == NAMES
    assert page.get_attribute("th.name", "aria-sort") == "ascending"
    by_keys(lab, "name")
    assert shown(lab) == NAMES[::-1]
    assert page.get_attribute("th.name", "aria-sort") == "descending"
    by_keys(lab, "seconds")
    times = [number(text.replace(":", ".")) for text in page.locator("td.seconds").all_inner_texts()]
    assert times == sorted(times, reverse=True)
    by_keys(lab, "score")
    assert shown(lab)[0] == "plain", "runs without a score come last"
    page.keyboard.press("/")
    page.keyboard.type("digits sty")
    assert shown(lab) == ["styles"]
    assert "1 of 5 runs" in page.inner_text(".tools")
    page.fill("#filter", "")
    page.get_by_role("combobox", name="Only runs in this state").select_option("broken")
    assert shown(lab) == ["broken"]
    page.fill("#filter", "nothing")
    assert "No run matches" in page.inner_text("table.runs tbody")


def test_rows_are_told_as_the_runs_are(board):
    lab = board()
    lab.until(lambda: row(lab, "plain").count() == 1)
    said = row(lab, "plain").inner_text()
    assert "quick · digits" in said
    assert "all samples seen" in said
    assert row(lab, "plain").locator(".progress").inner_text() == "1024 of 1024 samples"
    assert row(lab, "plain").locator("progress").get_attribute("value") == "1"
    assert "fd" in row(lab, "plain").locator("td.score").inner_text()
    broken = row(lab, "broken").locator(".condition")
    assert "experiment unreadable" in broken.inner_text()
    assert "experiment.yaml cannot be read" in broken.get_attribute("title")


def test_a_run_is_looked_at(board, trained):
    lab = board("#run=plain")
    page = lab.page
    lab.until(lambda: page.locator("section.charts canvas").count() >= 3)
    titles = page.locator("section.charts strong").all_inner_texts()
    assert titles[0] == "Losses"
    assert any(title.startswith("fd[") for title in titles)
    for k in range(2):
        lab.until(lambda k=k: lab.colours(f"section.charts figure:nth-child({k + 1}) canvas") > 10)
    files = sorted((trained / "plain" / "samples").glob("0*.png"))
    lab.until(lambda: f"picture {len(files)} of {len(files)}" in page.inner_text(".pictures .hint"))
    there = "node => node.complete && node.naturalWidth > 0"
    lab.until(lambda: page.locator(".pictures img").evaluate(there))  # the last one, before another is asked for
    with page.expect_response(lambda r: "/samples" in r.url) as answer:
        page.locator(".pictures input").press("Home")
    assert answer.value.body() == files[0].read_bytes()
    lab.until(lambda: page.locator(".pictures img").evaluate(there))
    assert f"after {int(files[0].stem):,} samples · picture 1 of 4" in page.inner_text(".pictures .hint")
    assert "Finished: all samples were seen." in page.inner_text(".events")
    assert page.locator(".command pre").first.inner_text() == f"gannet resume {trained / 'plain'}"
    page.click(".made summary")
    settings = dict(text.split("\t") for text in page.inner_text("table.settings").splitlines())
    assert settings["seed"] == "3"
    assert settings["generator"] == read_yaml((trained / "plain" / "experiment.yaml").read_text(), "x")["generator"]
    assert page.get_attribute(".run-head a.button", "href") == "/explore?run=plain"
    page.keyboard.press("Escape")
    lab.until(lambda: sorted(shown(lab)) == NAMES)


def test_values_of_a_curve_are_read_by_keys(board):
    lab = board("#run=plain")
    chart = lab.page.locator("section.charts canvas").first
    chart.wait_for()
    before = lab.colours("section.charts canvas")
    plain = chart.evaluate("node => node.toDataURL()")
    assert before > 10
    chart.focus()
    lab.page.keyboard.press("ArrowLeft")
    lab.until(lambda: chart.evaluate("node => node.toDataURL()") != plain)
    assert re.fullmatch(r"Losses: D [\d.]+, G [\d.]+", chart.get_attribute("aria-label"))


def test_two_runs_are_ticked_and_compared(board):
    lab = board()
    page = lab.page
    lab.until(lambda: sorted(shown(lab)) == NAMES)
    by_keys(lab, "name")
    assert page.locator("#compare").is_disabled()
    row(lab, "classes").locator("a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.inner_text("#compare") == "Compare 2"
    page.keyboard.press("c")
    lab.until(lambda: page.locator(".tables table").count() >= 1)
    assert page.url.endswith("#compare=classes&compare=plain")
    assert page.locator("ul.sides a").all_inner_texts() == ["classes", "plain"]
    rows = dict(text.split("\t", 1) for text in page.locator(".tables table").last.inner_text().splitlines()[1:])
    assert rows["seed"] == "0\t3"
    assert rows["stop.samples"] == "512\t1024"
    assert "data" not in rows, "what is the same does not differ"
    assert "fd" in page.locator(".tables table").first.inner_text()
    lab.until(lambda: lab.colours("section.charts canvas") > 10)
    lab.until(lambda: page.locator(".grids img").count() == 2)
    page.get_by_role("slider", name="Moment in training").press("Home")
    lab.until(lambda: "256 samples" in page.locator(".grids figure").nth(1).inner_text())
    page.keyboard.press("Escape")
    lab.until(lambda: sorted(shown(lab)) == NAMES)
    assert page.inner_text("#compare") == "Compare 2", "the ticks are kept"


def test_a_broken_run_says_what_is_wrong(board):
    lab = board("#run=broken")
    lab.until(lambda: lab.page.locator(".run-head").inner_text())
    said = lab.page.inner_text(".run-head")
    assert "Broken" in said
    assert "experiment.yaml cannot be read" in said


# ---------------------------------------------------------------------------------------------------- what trains now


@pytest.fixture
def growing(trained, tmp_path, served_like):
    """A laboratory on a folder in which one more run may begin."""
    shutil.copytree(trained / "points", tmp_path / "runs" / "points")
    found = served_like(tmp_path / "lab", shelf=Shelf(tmp_path / "runs"))
    yield found
    found.close()


def test_a_run_that_trains_now_appears_and_grows(growing, board, tmp_path):  # the page, asked for last, is left first
    lab = board(at=growing)
    page = lab.page
    lab.until(lambda: shown(lab) == ["points"])
    words = ["data=digits", "generator.width=8", "discriminator.width=8", "stop.minutes=2", "threads=1"]
    words += ["keep.log=256", "keep.samples=1024", "evaluate.metrics=[]", "--run", str(tmp_path / "runs" / "live")]
    with subprocess.Popen([*GANNET, "train", "quick", *words], stdout=subprocess.DEVNULL) as program:
        try:
            lab.until(lambda: "Training" in (row(lab, "live").locator(".condition").all_inner_texts() or [""])[0])
            lab.until(lambda: number(row(lab, "live").locator(".progress small").inner_text()) > 0)
            page.click("a[href='#run=live']")
            lab.until(lambda: page.locator(".run-head .progress").count() == 1)
            first = number(page.inner_text(".run-head .progress small"))
            lab.until(lambda: number(page.inner_text(".run-head .progress small")) > first)
            lab.until(lambda: page.locator(".pictures img").evaluate("node => node.complete && node.naturalWidth > 0"))
            lab.until(lambda: lab.colours("section.charts canvas") > 10)
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(30)
    lab.until(lambda: "Stopped" in page.inner_text(".run-head .condition"))
    lab.until(lambda: "Interrupted and saved" in page.inner_text(".events"))


def test_the_command_opens_the_page_for_what_it_was_given(browser, trained):
    commands = [[*GANNET, "lab", str(path), "--port", "0"] for path in (trained, trained / "plain")]
    begun = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for words in commands]
    try:
        folder, run = (program.stdout.readline().strip() for program in begun)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/runs", folder)
        begun[0].send_signal(signal.SIGINT)  # it need not import the engine for that
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/explore\?run=plain", run)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(run)
        page.wait_for_selector("#look figcaption >> text=seed 0")
        assert page.locator("#run option").all_inner_texts() == ["plain"]
        page.click("nav.pages a[href='/runs']")
        page.wait_for_selector(".run-head h2 >> text=plain")
        page.close()
    finally:
        for program in begun:
            program.send_signal(signal.SIGINT)
        for program in begun:
            program.wait(30)
            program.stdout.close()


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_everything_has_a_name_and_its_place(board, language, width, scheme, tmp_path):
    lab = board(locale=language, color_scheme=scheme, viewport={"width": width, "height": 760}, has_touch=width == 360)
    page = lab.page
    waits = {
        "": "table.runs tbody a",
        "#run=plain": "section.charts canvas",
        "#compare=plain&compare=styles": ".tables table",
    }
    for fragment, selector in waits.items():
        page.evaluate("fragment => { location.hash = fragment; }", fragment)
        page.wait_for_selector(selector)
        assert len(lab.controls()) > 8, fragment
        assert not lab.nameless(), fragment
        assert lab.too_wide() <= 0, fragment
        assert not re.search(r"\b(column|chart|state|samples|filter|compare)\.[a-z]", page.inner_text("body")), fragment
        assert ("完成" in page.inner_text("main")) == (language == "zh-CN"), fragment
        page.screenshot(path=tmp_path / f"{language}-{width}-{fragment[1:4]}.png", full_page=True)
