"""`compile: true`: what is compiled gives what it gave, what cannot be stays as it was, and the log says which."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._dynamo.backends.registry import lookup_backend
from torch.testing import assert_close

from gannet.core.overrides import resolve
from gannet.core.registry import REGULARIZERS
from gannet.engine import compiling
from gannet.engine.assembly import assemble
from gannet.engine.compiling import compile_networks, differentiate_twice, eagerly
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer

ROWS = 8


def play(game):
    trainer = Trainer(game)
    for _ in range(2):
        trainer._step(False)


@pytest.fixture
def game(tiny):
    """`game(**overrides)`: a small game in the plane; dots as double underscores."""
    parts = {"data": "points(n=64)", "generator": "mlp(layers=1)", "discriminator": "mlp(layers=1)"}

    def made(**more):
        # What the compiler is asked does not depend on widths, and how long it takes depends on layers.
        words = {**parts, "discriminator__layers": 1, "generator__layers": 1, **more}
        return assemble(resolve("gan", tiny("gan", **words)).experiment)

    return made


class Backend:
    """A compiler that remembers the graphs it was given and runs them as they are, or `ahead`: differentiated ahead of
    time and no further, as by the real one."""

    def __init__(self):
        self.graphs, self.ahead, self.broken = [], False, False

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        if self.broken:
            raise RuntimeError("No working C++ compiler\nfound.\n\nA page of advice")
        return lookup_backend("aot_eager")(graph, inputs) if self.ahead else graph.forward


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    made = Backend()
    monkeypatch.setattr(compiling, "BACKEND", made)
    # The compiler traces itself for whoever listens, and pytest listens to everything.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    before = torch._dynamo.config.suppress_errors
    yield made
    torch._dynamo.config.suppress_errors = before
    torch._dynamo.reset()


def use(monkeypatch, wrong):
    """Compile with a backend whose graphs return `wrong(tensor)` instead of each tensor."""

    def backend(graph, inputs):
        return lambda *args: tuple(wrong(t) for t in graph(*args))

    monkeypatch.setattr(compiling, "BACKEND", backend)


def state(module: nn.Module):
    return {k: v.clone() for k, v in module.state_dict().items()}, [p.requires_grad for p in module.parameters()]


# ------------------------------------------------------------------------------------------------- what is compiled


def test_every_network_is_compiled_and_said_so(game, backend):
    made = game()
    notes = compile_networks(made, play)
    assert [note.split(" in ")[0] for note in notes] == [
        "compile: generator compiled and checked",
        "compile: discriminator compiled and checked",
    ]
    assert backend.graphs


@pytest.mark.parametrize("share", ["nothing", "fakes", "scores"])
def test_whatever_play_asks_was_checked_before(share, game, backend):
    """Shapes, frozen weights, inputs with gradients, no graph at all: no call in play makes the compiler work again."""
    made = game(objective="nonsaturating(pairing=paired)", share=share)
    compile_networks(made, play)
    checked = len(backend.graphs)
    play(made)
    assert len(backend.graphs) == checked > 2


def test_a_compiled_game_plays_as_before(game):
    """Batch norm in the generator, weights frozen and freed in turn, an estimated penalty."""
    options = {"generator__norm": "batch", "regularizers": "r1(estimator=finite-difference, share=0.5)"}
    games = [game(precision="fp64", **options) for _ in range(2)]
    compile_networks(games[0], play)
    for one in games:
        play(one)
    for (name, a), b in zip(
        games[0].networks.state_dict().items(), games[1].networks.state_dict().values(), strict=True
    ):
        assert_close(a, b, rtol=1e-11, atol=1e-12, msg=name)


def test_looking_changes_nothing(game):
    made = game(generator__norm="batch", regularizers="lecam")
    trainer = Trainer(made)  # which says what is trained at all
    before, random = {n: state(m) for n, m in made.networks.items()}, torch.get_rng_state()
    compile_networks(made, play)
    for name, module in made.networks.items():
        tensors, free = state(module)
        assert_close(tensors, before[name][0], rtol=0, atol=0)
        assert free == before[name][1]
        assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert int(made.regularizers["lecam"].turns) == 0
    assert trainer.table.turns == {"discriminator": 0, "generator": 0}


def test_names_and_copies_stay_plain(game, backend):
    made = game()
    names = list(made.networks.state_dict())
    compile_networks(made, play)
    assert list(made.networks.state_dict()) == names
    done = len(backend.graphs)
    copied = copy.deepcopy(made.networks["discriminator"])
    copied(torch.zeros(3, *made.source.spec.shape))
    assert len(backend.graphs) == done


# -------------------------------------------------------------------------------------------- what is not, and why


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


@pytest.mark.parametrize(
    "wrong",
    [lambda t: 1.01 * t, lambda t: t.detach(), Doubled.apply, lambda t: t * float("nan")],
    ids=["values", "no gradient", "gradients", "not finite"],
)
def test_a_network_that_differs_is_refused(wrong, game, monkeypatch):
    made, untouched = game(), game()
    use(monkeypatch, wrong)
    notes = compile_networks(made, play)
    assert all("runs eagerly: compiled it differs by" in note for note in notes)
    play(made), play(untouched)
    assert_close(made.networks.state_dict(), untouched.networks.state_dict(), rtol=0, atol=0)


def test_rounding_is_no_difference(game, monkeypatch):
    use(monkeypatch, lambda t: t * (1 + 1e-6))
    assert all("compiled and checked" in note for note in compile_networks(game(), play))
    use(monkeypatch, lambda t: t * (1 + 1e-6))
    assert all("runs eagerly" in note for note in compile_networks(game(precision="fp64"), play))


def test_a_compiler_that_fails_is_no_error(game, backend):
    backend.broken = True
    made = game()
    notes = compile_networks(made, play)
    assert all("runs eagerly: " in note for note in notes)
    assert all(note.endswith("No working C++ compiler found.") for note in notes)
    tried = len(backend.graphs)
    play(made)
    assert len(backend.graphs) == tried  # nor is it tried again


def test_a_shape_that_comes_later_and_fails_falls_back(game, backend):
    made = game()
    compile_networks(made, play)
    backend.broken, checked = True, len(backend.graphs)
    made.networks["discriminator"](torch.zeros(ROWS + 3, *made.source.spec.shape))
    assert len(backend.graphs) > checked  # it was tried
    # The process is forgiving from here on, and the check of another game must not be.
    assert all("runs eagerly" in note for note in compile_networks(game(), play))


def test_networks_that_draw_are_refused(game):
    notes = compile_networks(game(discriminator__dropout=0.3), play)
    assert "generator compiled" in notes[0]
    assert notes[1].startswith("compile: discriminator runs eagerly: its layers draw random numbers")


def test_a_path_length_keeps_its_generator_eager(game):
    made = replace(game(), regularizers={"path-length": REGULARIZERS.build("path-length")})
    notes = compile_networks(made, lambda copied: play(replace(copied, regularizers={})))
    assert notes[0] == "compile: generator runs eagerly: path-length differentiates it twice"
    assert "discriminator compiled" in notes[1]


def test_older_versions_are_refused(game, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.12.1+cpu")
    (note,) = compile_networks(game(), play)
    assert note == "compile: all networks run eagerly: it needs PyTorch 2.13, and this is 2.12.1+cpu"
    monkeypatch.setattr(torch, "__version__", "3.0.0a0+git123")
    assert len(compile_networks(game(), play)) == 2


def test_what_only_runs_eagerly_is_not_compiled(game, backend):
    def forced(copied):
        with eagerly():
            play(copied)

    notes = compile_networks(game(), forced)
    assert all("nothing calls it in the first steps but what runs eagerly" in note for note in notes)
    assert not backend.graphs


# ------------------------------------------------------------------------------------------ differentiating twice


def test_which_terms_differentiate_twice():
    specs = {
        "r1": True,
        "r2(share=0.25)": True,
        "wgan-gp": True,
        "dragan": True,
        "r1(estimator=forward-mode)": True,
        "r1(estimator=finite-difference)": False,
        "lecam": False,
        "consistency": False,
        "l2": False,
    }
    built = {text: REGULARIZERS.build(text) for text in specs}
    assert differentiate_twice(built) == [text for text, twice in specs.items() if twice]


def test_compiled_networks_differentiate_twice_only_eagerly(game, backend):
    backend.ahead = True
    made = game()
    compile_networks(made, play)
    judge = made.networks["discriminator"].requires_grad_()
    points = torch.randn(2 * ROWS, *made.source.spec.shape, requires_grad=True)

    def penalty():
        (slope,) = torch.autograd.grad(judge(points).score[0].sum(), points, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), list(judge.parameters()), allow_unused=True)

    with pytest.raises(RuntimeError):
        penalty()
    with eagerly():
        found = penalty()
    wanted = copy.deepcopy(judge)
    judge = wanted
    assert_close([g for g in found if g is not None], [g for g in penalty() if g is not None])


def test_eager_blocks_nest_and_end(game, backend):
    made = game()
    compile_networks(made, play)
    judge, done = made.networks["discriminator"], len(backend.graphs)

    def ask(rows):
        judge(torch.zeros(rows, *made.source.spec.shape))
        return len(backend.graphs) - done

    with eagerly():
        with eagerly(), eagerly(False):
            assert ask(3) == 0
        assert ask(4) == 0
    with eagerly(False):
        assert ask(5) == 1
    assert ask(6) == 2


# ----------------------------------------------------------------------------------------------- within a training


def test_a_compiled_run_is_the_eager_one(tiny, tmp_path, no_plots, backend):
    """Turns with exact penalties and turns without, held-out looks and all: the same weights to rounding."""
    backend.ahead, ends = True, []
    terms = ["r1(every=2)", "r2(every=2)"]
    for compiled in (False, True):
        words = tiny("points", precision="fp64", compile=compiled, regularizers=terms, discriminator__layers=1)
        run = Run.at(tmp_path / f"{compiled}")
        trainer = Trainer(assemble(resolve("points", words).experiment), run)
        trainer.fit()
        ends.append(trainer.game.networks.state_dict())
    notes = [line["text"] for line in run.read_log() if line["kind"] == "note" and "compile:" in line["text"]]
    assert len(notes) == 2
    assert notes[1].endswith("eager in turns with r1, r2, which differentiate it twice")
    assert_close(ends[1], ends[0], rtol=1e-9, atol=1e-10)


SCRIPT = """
from gannet.core.overrides import resolve
from gannet.engine.assembly import assemble
from gannet.engine.compiling import compile_networks
from gannet.engine.trainer import Trainer

def play(game):
    Trainer(game)._step(False)

words = {"generator": "mlp(width=4, layers=1, latent=2)", "discriminator": "mlp(width=4, layers=1)"}
game = assemble(resolve("gan", {"data": "points(name=ring-8, n=64)", "batch": 8, **words}).experiment)
for note in compile_networks(game, play):
    print(note)
play(game)
"""


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [None, "/nowhere/g++"])
def test_the_real_compiler_where_there_is_one(compiler, tmp_path):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)} | ({"CXX": compiler} if compiler else {})
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    generator, discriminator = done.stdout.splitlines()
    if compiler is None and "No working C++ compiler" in generator:
        pytest.skip("NOT TESTED: this machine has no C++ compiler")
    wanted = "compiled and checked in" if compiler is None else "runs eagerly: InvalidCxxCompiler: No working C++"
    assert wanted in generator
    assert wanted in discriminator
