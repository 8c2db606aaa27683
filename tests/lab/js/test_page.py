"""The page's files: its pure modules by node, its words in both languages, its promises to the security policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STATIC = HERE.parents[2] / "gannet" / "lab" / "static"
SCRIPTS = sorted(STATIC.rglob("*.js"))
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.html"))}
IMPORT = re.compile(r'^(?:import|export) (?:(?:\{([^}]+)\}|\* as \w+) from )?"(\.[^"]+)"', re.M)
ASKED = (r'\bt\((?:[^"()]*\? )?"([^"]+)"', r'\bt\([^"()]*\? "[^"]+" : "([^"]+)"', r'"data-(?:word|label)": "([^"]+)"')


def words(file: str, language: str) -> dict[str, str]:
    return json.loads((STATIC / f"{file}.{language}.json").read_text(encoding="utf-8"))


FILES = sorted({path.name.split(".")[0] for path in STATIC.glob("*.json")})
WORDS = {language: words("words", language) for language in ("en", "zh")}


def own(page: str) -> set[str]:
    """Keys of the words that a page has loaded."""
    named = re.search(r'data-words="([^"]+)"', PAGES[page])
    return set(WORDS["en"]).union(*(words(file, "en") for file in (named[1].split() if named else [])))


def imported(path: Path) -> list[tuple[str, Path]]:
    """Names and modules that a script imports."""
    found = IMPORT.findall(path.read_text(encoding="utf-8"))
    return [(names, (path.parent / module).resolve()) for names, module in found]


def loaded(page: str) -> set[Path]:
    """The scripts of a page, with all that they import."""
    waiting = [STATIC / name for name in re.findall(r'src="/static/([^"]+\.js)"', PAGES[page])]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [module for _, module in imported(path)]
    return seen


def used(page: str) -> set[str]:
    """Keys that are written out in a page and its scripts."""
    texts = [path.read_text(encoding="utf-8") for path in loaded(page)]
    found = {key for text in texts for pattern in ASKED for key in re.findall(pattern, text)}
    return found | set(re.findall(r'data-(?:word|label)="([^"]+)"', PAGES[page]))


def test_pure_modules_pass_their_node_tests() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's own unit tests did not run")
    tests = sorted(str(p) for p in HERE.glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("file", FILES)
def test_both_languages_have_the_same_keys_and_blanks(file: str) -> None:
    english, chinese = words(file, "en"), words(file, "zh")
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert text.strip()
        assert chinese[key].strip()
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_all_three_pages_are_there() -> None:
    assert {"index", "explore", "runs"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_word_that_is_asked_for_is_there(page: str) -> None:
    assert len(used(page)) > 50
    assert used(page) <= own(page)


def test_every_script_belongs_to_a_page() -> None:
    assert set(SCRIPTS) == set().union(*map(loaded, PAGES))


@pytest.mark.parametrize("page", PAGES)
def test_pages_lead_to_each_other(page: str) -> None:
    links = re.findall(r'<a href="(/\w*)"', PAGES[page])
    assert links == ["/", "/explore", "/runs"]
    here = re.findall(r'<a href="(/\w*)" aria-current="page"', PAGES[page])
    assert here == ["/" if page == "index" else f"/{page}"]


def test_families_of_words_are_whole() -> None:
    stages = [f"stage.{k}" for k in range(10)]
    parts = re.findall(r"^  ?(\w+): \[\d", (STATIC / "model.js").read_text(), re.M)
    layers = re.search(r"LAYERS = \[(.*?)\]", (STATIC / "legend.js").read_text())
    assert layers is not None
    names = re.findall(r'"(\w+)"', layers[1])
    assert len(names) == 9
    for key in [*stages, *(f"part.{p}" for p in parts), *(f"about.{p}" for p in parts), *(f"layer.{n}" for n in names)]:
        assert key in WORDS["en"], key


def listed(file: str, pattern: str) -> list[str]:
    """Words between quotes in what a pattern finds in a script."""
    found = re.search(pattern, (STATIC / file).read_text(encoding="utf-8"), re.S)
    assert found is not None, pattern
    return re.findall(r'"([^"]+)"', found[1])


def test_families_of_words_of_the_dashboard_are_whole() -> None:
    told = (STATIC.parent / "dashboard_state.py").read_text(encoding="utf-8")
    ends = re.search(r"ENDS = \(([^)]+)\)", told)
    assert ends is not None
    reasons = [f"why.finished.{end}" for end in re.findall(r'"(\w+)"', ends[1])]
    reasons += [f"why.broken.{why}" for why in re.findall(r'"state": "broken", "why": "(\w+)"', told)]
    columns = re.findall(r"^  (\w+): \(row\)", (STATIC / "runs" / "format.js").read_text(), re.M)
    events = listed("runs/series.js", r"events\(\) \{.*?\[(.*?)\]")
    numbers = [*listed("runs/view.js", r"JUDGED = \[(.*?)\]"), "spread"]
    states = listed("runs/list.js", r"STATES = \[(.*?)\]")
    assert min(map(len, (reasons, columns, events, numbers, states))) >= 4
    keys = own("runs")
    for name, family in (("column", columns), ("event", events), ("number", numbers), ("state", states)):
        assert {f"{name}.{key}" for key in family} <= keys, name
    assert {*reasons, "why.stopped.signal", "why.stopped.ended", "why.stopped.unbegun"} <= keys
    assert {"chart.losses", "chart.judged", "chart.spread", "line.generator", "line.discriminator"} <= keys


def test_families_of_words_of_the_explorer_are_whole() -> None:
    keys = own("explore")
    cards = {card for path in SCRIPTS for card in re.findall(r'\bcard\("(\w+)"', path.read_text(encoding="utf-8"))}
    assert len(cards) == 6
    verdicts = listed("explore/state.js", r"export const verdict = (.*?);")
    assert len(verdicts) == 4
    for name, family in (
        ("card", cards),
        ("about", cards),
        ("verdict", verdicts),
        ("space", ["w", "z", "activations"]),
    ):
        assert {f"{name}.{key}" for key in family} <= keys, name
    exports = re.findall(r'button\("(\w+)"', (STATIC / "explore" / "exports.js").read_text(encoding="utf-8"))
    assert {f"export.{key}" for key in exports} <= keys


@pytest.mark.parametrize("path", [*SCRIPTS, *STATIC.glob("*.css")], ids=lambda p: p.name)
def test_files_are_small_and_stay_at_home(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}
    for banned in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "@import"):
        assert banned not in text, banned


@pytest.mark.parametrize("page", PAGES)
def test_page_has_nothing_inline(page: str) -> None:
    text = PAGES[page]
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"(?:src|href)=\"(?!/static/|#|/explore\"|/runs\"|/\")", text)
    for name in re.findall(r'"/static/([^"]+)"', text):
        assert (STATIC / name).is_file(), name


def test_pictures_come_from_the_server_or_are_drawn() -> None:
    """The policy lets no `blob:` and no `data:` in, so such a picture would stay empty."""
    for path in SCRIPTS:
        assert not re.search(r"\.src = .*(?:createObjectURL|data:)", path.read_text(encoding="utf-8")), path.name


def test_modules_import_only_what_others_export() -> None:
    pattern = r"^export (?:async )?(?:const|function|class|let) ([\w$]+)"
    exports = {path: set(re.findall(pattern, path.read_text(encoding="utf-8"), re.M)) for path in SCRIPTS}
    for path in SCRIPTS:
        for names, module in imported(path):
            assert module in exports, (path.name, module)
            assert {n.split(" as ")[0].strip() for n in names.split(",") if n.strip()} <= exports[module], path.name
