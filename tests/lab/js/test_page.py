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
SCRIPTS = sorted(STATIC.glob("*.js"))
PAGE = (STATIC / "index.html").read_text(encoding="utf-8")
WORDS = {name: json.loads((STATIC / f"words.{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh")}


def used() -> set[str]:
    """Keys that are written out in the scripts and the page."""
    found = set(re.findall(r'data-(?:word|label)="([^"]+)"', PAGE))
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        found |= set(re.findall(r'\bt\("([^"]+)"', text)) | set(re.findall(r'"data-(?:word|label)": "([^"]+)"', text))
    return found


def test_pure_modules_pass_their_node_tests() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's own unit tests did not run")
    tests = sorted(str(p) for p in HERE.glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_both_languages_have_the_same_keys_and_blanks() -> None:
    assert set(WORDS["en"]) == set(WORDS["zh"])
    for key, english in WORDS["en"].items():
        chinese = WORDS["zh"][key]
        assert english.strip()
        assert chinese.strip()
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key


def test_every_word_that_is_asked_for_is_there() -> None:
    assert len(used()) > 50
    assert used() <= set(WORDS["en"])


def test_families_of_words_are_whole() -> None:
    stages = [f"stage.{k}" for k in range(10)]
    parts = re.findall(r"^  ?(\w+): \[\d", (STATIC / "model.js").read_text(), re.M)
    layers = re.search(r"LAYERS = \[(.*?)\]", (STATIC / "legend.js").read_text())
    assert layers is not None
    names = re.findall(r'"(\w+)"', layers[1])
    assert len(names) == 9
    for key in [*stages, *(f"part.{p}" for p in parts), *(f"about.{p}" for p in parts), *(f"layer.{n}" for n in names)]:
        assert key in WORDS["en"], key


@pytest.mark.parametrize("path", [*SCRIPTS, *STATIC.glob("*.css")], ids=lambda p: p.name)
def test_files_are_small_and_stay_at_home(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}
    for banned in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "@import"):
        assert banned not in text, banned


def test_page_has_nothing_inline() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=", PAGE)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", PAGE))
    assert not re.search(r"(?:src|href)=\"(?!/static/|#)", PAGE)


def test_modules_import_only_what_others_export() -> None:
    exports = {
        p.name: set(re.findall(r"^export (?:async )?(?:const|function|class|let) ([\w$]+)", p.read_text(), re.M))
        for p in SCRIPTS
    }
    for path in SCRIPTS:
        for names, module in re.findall(r'^import \{([^}]+)\} from "\./([^"]+)"', path.read_text(), re.M):
            assert {n.strip() for n in names.split(",")} <= exports[module], (path.name, module)
