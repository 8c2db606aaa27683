"""The rules of the house, read from the source: who imports whom, what must not be called, what every part must say."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from gannet.core import registry
from gannet.core.overrides import resolve
from gannet.core.presets import preset_names, preset_text
from gannet.engine.assembly import assemble

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "gannet").rglob("*.py"))
NAMES = {path: str(path.relative_to(ROOT / "gannet")) for path in FILES}

ROOMS = ("networks", "losses", "augment", "data", "metrics", "engine", "tasks", "latent")
ALLOWED = {
    "core": set(),
    **{room: {"core"} for room in ROOMS},
    "tasks": {"core", "losses.reconstruction"},
    "latent": {"core", "metrics.neighbours"},
    "describe": {"core", *ROOMS},
    "autopilot": {"core", *ROOMS},
    "training": {"autopilot", "core", *ROOMS},
    "model": {"core", *ROOMS},
    "gan": {"core", "model", "training", *ROOMS},
    "bench_cell": {"core"},
    "bench_page": {"bench_cell", "core"},
    "bench": {"bench_cell", "bench_page", "core", "model", "training", *ROOMS},
    "cli_bench": {"api", "core", "engine.console"},
    "api": {
        "bench",
        "comparison",
        "core",
        "describe",
        "evaluation",
        "explore",
        "gan",
        "model",
        "report",
        "training",
        *ROOMS,
    },
    # Progress and errors are shown before torch, and so api, is imported: help must be quick.
    # The page is there before torch is: whoever serves it imports the engine behind its back.
    "lab": {"api", *ROOMS, "core", "explore"},
    "cli_lab": {"lab.server"},
    "cli_data": {"api", "core", "engine.console"},
    "fakes": {"core", "model", *ROOMS},
    "report": {"core", *ROOMS},
    "ranking": {"core", *ROOMS},
    "evaluation": {"core", "fakes", "gan", "model", "ranking", "report", *ROOMS},
    "comparison": {"comparison_page", "core", "evaluation", "fakes", "report", *ROOMS},
    "comparison_page": {"comparison_plots", "core", "report", *ROOMS},
    "comparison_plots": {"core", *ROOMS},
    "cli_scores": {"api", "core", "engine.console"},
    "cli_latent": {"api", "core", "engine.console"},
    "cli_words": {"core"},
    "explore": {"core", "model", *ROOMS},
    "cli": {
        "api",
        "cli_bench",
        "cli_data",
        "cli_lab",
        "cli_latent",
        "cli_scores",
        "cli_words",
        "describe",
        "core",
        "engine.console",
    },
    "__init__": {"api"},
    "__main__": {"cli"},
}
TASK_LINES = 60


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    return NAMES[path].removesuffix(".py").split("/")[0]


# ---------------------------------------------------------------------------------------------- who imports whom


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below that is there when the program runs."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield child
            yield from running(child)


def imported(module: ast.AST) -> set[str]:
    """Modules of ours it imports, anywhere, as `losses.reconstruction`; the package itself as an empty name."""
    found = set()
    for node in running(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import, line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("gannet").removeprefix(".") for name in found if name.split(".")[0] == "gannet"}


def refused(module: ast.AST, own: str) -> set[str]:
    """Imports that `own` may not make. `__version__` is the package's own."""
    allowed = {own, *ALLOWED[own]}
    return {
        name
        for name in imported(module)
        if name != "__version__" and not any(name == a or name.startswith(f"{a}.") for a in allowed)
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES.values())
def test_imports_only_what_its_room_may(path):
    assert room(path) in ALLOWED, f"{path.name} is in no room that the plan knows"
    assert not refused(tree(path), room(path))


@pytest.mark.parametrize(
    ("own", "line", "bad"),
    [
        ("networks", "from gannet.losses.objectives import Game", True),
        ("engine", "def f():\n    import gannet.metrics.evaluator", True),
        ("core", "from gannet import engine", True),
        ("tasks", "from gannet.losses.objectives import Game", True),
        ("tasks", "from gannet.losses.reconstruction import l1", False),
        ("cli", "from gannet.engine.trainer import Trainer", True),
        ("cli", "if TYPE_CHECKING:\n    from gannet.engine.trainer import Trainer", False),
        ("data", "from gannet.data.memory import MemorySource", False),
    ],
)
def test_a_wrong_import_would_be_found(own, line, bad):
    assert bool(refused(ast.parse(line), own)) == bad


# --------------------------------------------------------------------------------------------- what is never called

FORBIDDEN = {
    "eval": "runs text",
    "exec": "runs text",
    "__import__": "takes import paths",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "torch.load": "unpickles",
    "torch.save": "pickles",
    "torch.hub.load": "downloads and runs code",
    "joblib.load": "unpickles",
    "yaml.unsafe_load": "builds any object",
    "yaml.full_load": "builds objects",
    "torch.manual_seed": "the global generator; draws are arguments",
}
FORKED = ("torch.manual_seed",)
"""Allowed inside `with torch.random.fork_rng(…)`, which puts the global generator back."""
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve")


def hazards(module: ast.Module) -> list[str]:
    """Calls and imports that could run what was only meant to be read."""
    found = []
    forked = {
        inner
        for node in ast.walk(module)
        if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0])
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            found += [f"imports {n}" for n in names if n.split(".")[0] in PICKLES or n == "torch.hub"]
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in FORBIDDEN and not (name in FORKED and node in forked):
            found.append(f"{name}: {FORBIDDEN[name]}")
        if name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
            found.append(f"{name} without allow_pickle=False")
        if name == "yaml.load" and keywords.get("Loader") not in ("yaml.SafeLoader", "Loader"):
            found.append("yaml.load with an unsafe loader")
        if keywords.get("shell") == "True":
            found.append(f"{name} with a shell")
        if name == "torch.utils.cpp_extension.load" or (name == "importlib.import_module" and not _of_a_room(node)):
            found.append(f"{name} of a path that is not a registry's own room")
    return found


def _of_a_room(node: ast.Call) -> bool:
    return ast.unparse(node.args[0]) in ("self.room", "f'{self.room}.{module.name}'")


READER = "core/convert.py"
"""The one file that opens what others pickled, and only as weights."""


@pytest.mark.parametrize("path", FILES, ids=NAMES.values())
def test_runs_nothing_that_was_only_meant_to_be_read(path):
    found = hazards(tree(path))
    assert found == (["torch.load: unpickles"] if NAMES[path] == READER else [])


def test_the_one_reader_of_pickles_takes_weights_only():
    calls = [node for node in ast.walk(tree(ROOT / "gannet" / READER)) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert [ast.unparse(k.value) for load in loads for k in load.keywords if k.arg == "weights_only"] == ["True"]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load('x.pt')",
        "eval(text)",
        "os.system('ls')",
        "np.load('x.npy')",
        "np.load('x.npy', allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.hub.load('a', 'b')",
        "subprocess.run('ls', shell=True)",
        "importlib.import_module(name)",
        "torch.manual_seed(0)",
    ],
)
def test_a_hazard_would_be_found(line):
    assert hazards(ast.parse(line))


def test_the_loader_of_presets_is_a_safe_one():
    import yaml

    from gannet.core.presets import Loader, read_yaml

    assert issubclass(Loader, yaml.SafeLoader)
    assert "UsageError" in _raised(lambda: read_yaml("a: !!python/object/apply:os.getcwd []", "x"))


def _raised(call) -> str:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"


OFFLINE = """
import importlib, pkgutil, socket
def no(*args, **kwargs):
    raise SystemExit("something opened a connection at import")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no
import gannet
for module in pkgutil.walk_packages(gannet.__path__, "gannet."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("imported")
"""


def test_importing_everything_opens_no_connection():
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------------------ tasks

TASKS = [path for path in FILES if room(path) == "tasks" and path.stem != "__init__"]


@pytest.mark.parametrize("path", TASKS, ids=lambda p: p.stem)
def test_a_task_has_no_loop_optimiser_or_device(path):
    text = path.read_text(encoding="utf-8")
    for word in (".backward(", "torch.optim", ".cuda(", "device=", ".to(", "open(", "manual_seed"):
        assert word not in text, word


@pytest.mark.parametrize("path", TASKS, ids=lambda p: p.stem)
def test_a_task_is_short(path):
    assert code_lines(path.read_text(encoding="utf-8")) <= TASK_LINES


def code_lines(text: str) -> int:
    """Lines with code on them: no blanks, comments or docstrings."""
    blank = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_code_lines_are_counted():
    assert (
        code_lines('"""Doc\nstring."""\n\n# why\nx = [\n    1,\n]\n\ndef f():\n    """Doc."""\n    return x  # y\n')
        == 5
    )


# ------------------------------------------------------------------------------------------------ parts and presets

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
PARTS = [pytest.param(r, name, id=f"{r.kind}-{name}") for r in REGISTRIES for name in r.names()]


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_says_what_it_is(kind, name):
    part = kind.get(name)
    assert "__doc__" in vars(part), "its docstring is inherited"
    first = kind.describe(name)
    assert 15 <= len(first) <= 160
    assert first.endswith((".", ":")), "the first line alone is what `gannet list` shows"


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_what_a_user_may_set_has_a_type(kind, name):
    from typing import Any

    untyped = [option.name for option in kind.options(name).values() if option.type is Any]
    assert not untyped


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_what_it_is_resolves_and_assembles(name, tiny):
    lines = preset_text(name).splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith("."), "the first line alone is what `gannet list presets` shows"
    assert any(line.startswith(f"# Command: gannet train {name}") for line in lines)
    assert resolve(name).experiment.preset == name
    game = assemble(resolve(name, tiny(name)).experiment)
    assert set(game.players) == {"generator"} | ({"discriminator"} if game.discriminators else set())
    assert all(count > 0 for count in game.parameter_counts().values())
