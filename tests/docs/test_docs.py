"""The pages say what is true: examples run, commands parse, links lead somewhere, both languages agree."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from gannet import api, training
from gannet.cli import app
from gannet.core import errors, registry
from gannet.core.overrides import resolve
from gannet.core.presets import paper_sizes, preset_names, preset_text
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer

# Alarms about twelve steps of training mean nothing.
pytestmark = pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead")

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
README, CHINESE, CONTRIBUTING = (page.read_text(encoding="utf-8") for page in PAGES[:3])
RUNS = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
SHORTER = {"fit(minutes=2)": "fit(samples=256)"}
"""What stands in the examples, and the budget in which they are tested."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = re.split(r"^#+ ", text.split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    table = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table[2:]]


@pytest.fixture
def own_parts(monkeypatch) -> None:
    """Parts registered in a test are forgotten after it."""
    for kind in vars(registry).values():
        if isinstance(kind, registry.Registry):
            kind.names()
            monkeypatch.setattr(kind, "_parts", dict(kind._parts))


@pytest.fixture
def place(tmp_path, monkeypatch, own_parts) -> Path:
    """A directory with the files the pages speak of, as the current one."""
    for text in (*blocks(README, "yaml"), *blocks(CONTRIBUTING, "yaml")):
        name = re.match(r"# (\S+\.yaml)", text)
        assert name, "a YAML example begins with the name of its file"
        (tmp_path / name[1]).write_text(text)
    run = tmp_path / "runs" / "0001-quick-digits"
    run.mkdir(parents=True)
    (run / "experiment.yaml").write_text(preset_text("quick"))
    (tmp_path / "my_part.py").write_text(blocks(CONTRIBUTING, "python")[0])
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------------------------- examples


def test_the_python_of_the_readme_runs(place):
    (code,) = blocks(README, "python")
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    names: dict = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    assert names["threes"].shape == (64, 8, 8, 1)
    assert names["threes"].dtype.name == "uint8"
    assert (names["again"].sample(64, seed=0, label=3) == names["threes"]).all()


def sections() -> Iterator[tuple[str, str]]:
    for section in CONTRIBUTING.split("\n## ")[1:]:
        for code in blocks(section, "python"):
            yield section.split("\n")[0], code


@pytest.mark.parametrize("code", [c for _, c in sections()], ids=[heading for heading, _ in sections()])
def test_an_example_of_contributing_passes_its_own_test(code, own_parts):
    names: dict = {"__name__": "contributing"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_contributing_shows_every_kind_of_part():
    shown = {heading for heading, _ in sections()}
    assert shown == {
        f"A{'n' if k == 'objective' else ''} {k}"
        for k in ("objective", "regularizer", "network", "task", "data set", "metric")
    }


def test_the_examples_of_contributing_make_a_method_that_trains(place):
    for _, code in sections():
        exec(compile(code, "CONTRIBUTING.md", "exec"), {"__name__": "contributing"})
    tiny = {"stop.samples": 64, "batch": 16, "data": "stripes(n=64)", "evaluate.n": 32}
    experiment = resolve("softer.yaml", tiny).experiment
    trainer = Trainer(assemble(experiment), scorer=api.make_scorer(assemble(experiment)))
    outcome = trainer.fit()
    assert outcome.samples == 64
    assert list(outcome.scores) == ["md[random-conv]"]
    assert outcome.scores["md[random-conv]"] > 0


def test_the_examples_of_contributing_keep_the_promises_of_their_kind(tmp_path):
    """The contract and house tests, made anew with the examples among the registered parts."""
    codes = [code for _, code in sections()]
    names = re.findall(r'\.register\("([^"]+)"\)', "\n".join(codes))
    assert len(names) == 7
    (tmp_path / "examples_of_contributing.py").write_text("\n\n".join(codes))
    tests = [str(ROOT / "tests" / place) for place in ("contracts", "test_house.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "examples_of_contributing", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-o", "addopts=--import-mode=importlib", "-k", " or ".join(names), *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30


def test_the_method_of_the_readme_assembles(place):
    game = assemble(resolve("mine.yaml", {"device": "meta"}).experiment)
    assert list(game.regularizers) == ["r1", "lecam"]
    assert list(game.augmentations) == ["diffaugment"]


# --------------------------------------------------------------------------------------------------------- commands

OTHERS = (r"\. \.venv/bin/activate", r"python3 -m venv \.venv", r"\.venv/bin/pip install torch==\S+ --index-url \S+")


def commands(text: str) -> list[str]:
    """Lines of shell blocks, and commands of ours in the text that have no word in capitals to fill in."""
    inline = [c for c in re.findall(r"`(gannet [^`]+)`", text) if not re.search(r"\b(PRESET|RUN|KIND|FILE)\b|…", c)]
    return [line for block in blocks(text, "sh") for line in block.splitlines()] + inline


COMMANDS = sorted({c for page in PAGES for c in commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one_that_works(line, place):
    words = [w for w in shlex.split(line) if not re.fullmatch(r"[A-Z_]+=\w+", w)]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[0] == "python":
        assert (ROOT / words[1]).is_file()
        return
    if words[0] == "torchrun":
        assert words[2:4] == ["-m", "gannet"]
        words = words[3:]
    if words[0] != "gannet":
        assert any(re.fullmatch(pattern, line) for pattern in OTHERS), line
        return
    command = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    if len(words) == 2:  # the page speaks of the command
        return
    given = command.make_context(words[1], words[2:]).params
    api.load_plugins(tuple(given.get("plugin") or ()))
    if "preset" in given:
        resolve(given["preset"], given["words"] or [])
    elif "kind" in given:
        assert api.catalog(given["kind"])
    elif "run" in given:
        assert Path(given["run"], "experiment.yaml").is_file()
        changed = {word.split("=")[0].split(".")[0] for word in given.get("words") or []}
        assert changed <= set(training.RESUMABLE)


def test_the_table_of_commands_is_complete():
    told = {cells[0].strip("`").split()[1]: cells[1] for cells in rows(README, "Commands")}
    known = get_command(app).commands  # type: ignore[attr-defined]
    assert told.keys() == known.keys()
    for name, text in told.items():
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", text)) <= options


def test_the_table_of_presets_is_complete():
    assert sorted(cells[0].strip("`") for cells in rows(README, "Presets")) == sorted(preset_names() + paper_sizes())


def test_the_table_of_exit_codes_is_complete():
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.GannetError)]
    written = {int(code) for cells in rows(README, "Exit codes") for code in cells[0].split(",")}
    assert written == {k.exit_code for k in kinds} | {0, 130, 143}


def test_the_pinned_torch_is_the_one_that_is_tested():
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for text in (README, CHINESE):
        assert set(re.findall(r"torch==([\d.]+)", text)) == {pinned}


# ------------------------------------------------------------------------------------------------ links and languages


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


LINKS = [
    pytest.param(page, target, id=f"{page.name}-{target}")
    for page in PAGES
    for target in sorted(set(re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))))
    if not target.startswith("http")
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_leads_somewhere(page, target):
    assert (page.parent / target.partition("#")[0]).exists()


def test_both_readmes_have_the_same_shape():
    def headings(text: str) -> list[int]:
        return [len(line.split(" ")[0]) for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()
                if line.startswith("#")]  # fmt: skip

    def tables(text: str) -> list[int]:
        return [line.count("|") for line in text.splitlines() if line.startswith("|")]

    assert headings(README) == headings(CHINESE)
    assert tables(README) == tables(CHINESE)
    assert blocks(README, "[a-z]*") == blocks(CHINESE, "[a-z]*")
    for pattern in (r"\]\(([^)\s]+)\)", r"`(gannet [^`]*)`", r"`([^`\s]+=[^`\s]+)`"):
        found = [sorted(re.findall(pattern, without_blocks(text))) for text in (README, CHINESE)]
        assert found[0] == found[1]


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# ------------------------------------------------------------------------------------------------------- a real run


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    """A short run that logs, scores two averages, draws and commits."""
    overrides = {**tiny("quick"), "evaluate.metrics": None, "evaluate.n": 32, "ema.halflife": [500, 5000]}
    return api.train("quick", overrides, tmp_path_factory.mktemp("docs") / "run")[0]


SOMETIMES = {"term/PLAYER/NAME", "p_train_above_heldout", "heldout/NAME"}


def test_every_line_of_a_log_is_explained(run):
    told: dict[str, set[str]] = {}
    kind = ""
    for cells in rows(RUNS, "The log"):
        kind = cells[0].strip("`") or kind
        told.setdefault(kind, {"kind", "samples", "step", "seconds"}).add(cells[1].strip("`"))
    records = run.read_log()
    assert {r["kind"] for r in records} >= {"note", "step", "score", "sample", "stop"}
    for record in records:
        keys = {re.sub(r"^(loss|grad_norm)/\w+$", r"\1/PLAYER", k) for k in record}
        keys = {re.sub(r"^term/\w+/.+$", "term/PLAYER/NAME", k) for k in keys}
        assert keys == told[record["kind"]] - (SOMETIMES - keys)


def test_every_file_of_a_run_is_explained(run):
    for path in run.path.rglob("*"):
        name = re.sub(r"^\d{9}", "000012800", path.name)
        assert name in RUNS, path
        if path.parent == run.path and path.name != "lock.json":
            assert name in README, path


# -------------------------------------------------------------------------------------------------- the plain example

MINIMAL = ROOT / "examples" / "minimal.py"


def test_the_plain_example_trains_and_draws_without_us(tmp_path):
    imports = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(MINIMAL.read_text(encoding="utf-8")))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")])
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imports == {"argparse", "copy", "math", "numpy", "torch", "PIL", "sklearn"}
    command = [sys.executable, str(MINIMAL), "--steps", "9", "--out", "grid.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grid.png").stat().st_size > 1000
    assert "288 samples" in done.stdout


def test_the_plain_example_is_the_preset_quick():
    plain = runpy.run_path(str(MINIMAL))
    game = assemble(resolve("quick", {"data": "digits", "task.labels": "ignore"}).experiment)
    for name in ("generator", "discriminator"):
        theirs = [tuple(p.shape) for p in plain[name]().parameters()]
        assert theirs == [tuple(p.shape) for p in game.networks[name].parameters()]
    assert (plain["BATCH"], plain["HALFLIFE"], plain["RAMP"]) == (
        game.experiment.batch,
        game.experiment.ema.halflife,
        game.experiment.ema.ramp,
    )
    assert {regularizer.every for regularizer in game.regularizers.values()} == {plain["LAZY"]}


def test_the_plain_example_scores_as_the_engine_does():
    plain = runpy.run_path(str(MINIMAL))
    game = assemble(resolve("quick", {"data": "digits", "task.labels": "ignore"}).experiment)
    module, mine = game.networks["discriminator"], plain["discriminator"]()
    with torch.no_grad():
        for ours, theirs in zip(module.parameters(), mine.parameters(), strict=True):
            theirs.copy_(ours)
        # The example flattens channels first, the engine's networks channels last.
        weights = module.head.linear.weight
        *_, (_, linear) = [(n, m) for n, m in mine.named_modules() if isinstance(m, torch.nn.Linear)]
        channels = module.stages[-1].conv.out_channels
        linear.weight.copy_(weights.view(-1, channels).t().reshape(1, -1))
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mine(x), module(x).per_sample())
