"""Every lesson is read whole, does only what a learner may do, and claims what is so: at three seeds, on the engine."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from gannet.lab.changes import checked, is_live
from gannet.lab.lessons import FOLDER, MEASURES, ORDER, Lesson, lessons, pages
from gannet.lab.share import State

SEEDS = (0, 1, 2)
STATIC = Path(__file__).parents[2] / "gannet" / "lab" / "static"
LESSONS = {lesson.id: lesson for lesson in lessons()}


@cache
def measured(lesson: str, run: str, seed: int, folder: Path) -> dict[str, float]:
    return LESSONS[lesson].claim.measured(run, seed, folder / lesson)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lessons")


def test_the_files_are_the_lessons():
    assert list(LESSONS) == list(ORDER)
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_a_lesson_does_only_what_a_learner_may(name):
    lesson = LESSONS[name]
    assert lesson.cards[0].load is not None, "whoever follows a link to it must stand where it begins"
    for card in lesson.cards:
        if card.load is not None:
            State.from_json(card.load.state())
        for setting in card.set:
            assert is_live(checked(setting.path, setting.value)[0]), setting.path
    for trial in lesson.claim.runs.values():
        State.from_json(trial.state(1))
    assert {bound.measure for bound in lesson.claim.holds} <= set(MEASURES)
    runs = {r for b in lesson.claim.holds for r in (b.run, b.of) if r}
    assert {lesson.claim.remedy} <= runs <= set(lesson.claim.runs) >= {lesson.claim.without}


@pytest.mark.parametrize("name", ORDER)
def test_both_languages_say_something(name):
    def texts(value):
        if isinstance(value, dict) and set(value) == {"en", "zh"}:
            yield value
        elif isinstance(value, dict):
            for part in value.values():
                yield from texts(part)
        elif isinstance(value, list):
            for part in value:
                yield from texts(part)

    found = list(texts(next(page for page in pages() if page["id"] == name)))
    assert len(found) >= 8
    for text in found:
        assert re.search("[a-z]{2}", text["en"])
        assert re.search("[\u4e00-\u9fff]", text["zh"])


def test_what_a_card_points_at_is_on_the_page():
    parts = re.findall(r"^  (\w+): \[\d", (STATIC / "model.js").read_text(), re.M)
    parts += re.findall(r"(\w+): \[", (STATIC / "model.js").read_text())
    charts = re.findall(r'name: "(\w+)"', (STATIC / "charts.js").read_text())
    allowed = {*parts, "plane", "measures", "alarms", *(f"chart.{chart}" for chart in charts)}
    for lesson in LESSONS.values():
        for card in lesson.cards:
            assert set(card.mark) <= allowed


def test_a_wrong_lesson_is_refused():
    good = LESSONS["r1-dirac"].model_dump(by_alias=True)
    for path, value in (("cards", good["cards"][:2]), ("id", None), ("title", {"en": "only"})):
        with pytest.raises(ValueError, match=path):
            Lesson.model_validate({**good, path: value})
    with pytest.raises(ValueError, match="forbidden"):
        Lesson.model_validate({**good, "script": "x"})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ORDER)
def test_the_claim_holds_and_only_with_the_remedy(name, seed, folder):
    claim = LESSONS[name].claim
    values = {run: measured(name, run, seed, folder) for run in claim.runs}
    assert claim.failures(values) == []
    left_out = {**values, claim.remedy: measured_as(name, claim.without, claim.remedy, seed, folder)}
    assert claim.failures(left_out), "without the remedy it holds as well"


def measured_as(name: str, run: str, other: str, seed: int, folder: Path) -> dict[str, float]:
    """What is measured of run `other`, of the run `run`."""
    claim = LESSONS[name].claim
    wanted = {b.measure for b in claim.holds if other in (b.run, b.of)}
    known = measured(name, run, seed, folder)
    if wanted <= set(known):
        return known
    runs = {**claim.runs, other: claim.runs[run]}
    return claim.model_copy(update={"runs": runs}).measured(other, seed, folder / f"{name}-without")
