"""The Dirac-GAN: its two networks, its eigenvalues against the paper's closed form, its way in the frames."""

from __future__ import annotations

import cmath

import pytest
import torch

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import DataSpec, Field
from gannet.engine.run import Run
from gannet.lab import phase
from gannet.lab.frames import Painter, Reader, unpack
from gannet.lab.playground import Playground
from gannet.lab.share import State, beginning

DIRAC = {
    "data": "points(name=dirac, n=500)", "generator": "dirac", "discriminator": "dirac", "batch": 4,
    "optim.discriminator": "sgd(lr=0.1)", "optim.generator": "sgd(lr=0.1)",
}  # fmt: skip
LINE = DataSpec({"x": Field((1,), kind="points", range=None)})
STATUS = {"playing": False, "busy": None}


def game(tmp_path, seed=0, **more) -> Playground:
    values = DIRAC | {k.replace("__", "."): v for k, v in more.items()}
    return Playground(Run.at(tmp_path / "run"), State(beginning(values, seed=seed)))


def test_the_networks_are_theta_and_psi_times_x():
    g, d = GENERATORS.build("dirac(start=2)", LINE), DISCRIMINATORS.build("dirac(start=3)", LINE)
    x = torch.randn(5, 1)
    assert torch.equal(g(torch.randn(5, 1)), g.theta.expand(5, 1))
    assert torch.equal(d(x).per_sample(), d.psi * x[:, 0])
    assert 1 < g.theta.item() < 3 < 2 + d.psi.item()
    assert sum(p.numel() for net in (g, d) for p in net.parameters()) == 2


@pytest.mark.parametrize("spec", [DataSpec({"x": Field((2,))}), DataSpec({"x": Field((1,))}, classes=3)])
@pytest.mark.parametrize("kind", [GENERATORS, DISCRIMINATORS])
def test_other_data_are_refused_with_the_way_out(kind, spec):
    with pytest.raises(UsageError, match=r"points\(name=dirac\)"):
        kind.build("dirac", spec)


def test_a_head_is_refused():
    with pytest.raises(UsageError, match="score"):
        DISCRIMINATORS.build("dirac", LINE, {"score": 1, "code": 3})


@pytest.mark.parametrize("objective", ["saturating", "nonsaturating", "wasserstein"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_eigenvalues_are_the_papers(tmp_path, objective, gamma):
    """−γ/2 ± √(γ²/4 − f′(0)²): f′(0) is ½ of the logistic losses and 1 of Wasserstein's."""
    regularizers = f"[r1(weight={gamma / 2}), r2(weight={gamma / 2})]" if gamma else "none"
    found = phase.eigenvalues(game(tmp_path, objective=objective, regularizers=regularizers).trainer)
    slope = 1.0 if objective == "wasserstein" else 0.5
    root = cmath.sqrt(gamma**2 / 4 - slope**2)
    wanted = sorted((-gamma / 2 - root, -gamma / 2 + root), key=lambda v: (v.imag, v.real))
    for (real, imaginary), value in zip(sorted(found, key=lambda v: (v[1], v[0])), wanted, strict=True):
        assert real == pytest.approx(value.real, abs=1e-7)
        assert imaginary == pytest.approx(value.imag, abs=1e-7)


@pytest.mark.parametrize(
    "more", [{"regularizers": "[lecam]"}, {"augment": "[noise(std=0.1)]"}, {"opponent": "unrolled"}]
)
def test_what_the_formula_does_not_know_has_no_eigenvalues(tmp_path, more):
    assert phase.eigenvalues(game(tmp_path, **more).trainer) == []


def test_the_way_is_in_the_rows_and_the_rest_in_the_header(tmp_path):
    playground = game(tmp_path)
    begun = phase.place(playground.trainer.game)
    for _ in range(7):
        playground.advance()
    header, _ = unpack(Painter().paint(playground, STATUS, 1).packed(Reader()))
    assert header["columns"][-2:] == ["theta", "psi"]
    now = phase.place(playground.trainer.game)
    assert header["history"][-1][-2:] == pytest.approx([now["theta"], now["psi"]], rel=1e-5)
    assert header["phase"]["theta"] == pytest.approx(now["theta"], rel=1e-5)
    assert len(header["phase"]["eigenvalues"]) == 2
    assert now != begun


def test_seeds_begin_elsewhere_and_other_games_have_no_phase(tmp_path):
    places = [phase.place(game(tmp_path / str(seed), seed).trainer.game) for seed in range(3)]
    assert len({place["theta"] for place in places}) == 3
    other = Playground(Run.at(tmp_path / "other"), State(beginning({"data": "points(name=ring, n=500)"})))
    assert phase.place(other.trainer.game) == {}
    assert other.columns()[-1] == "p_real_above_fake"
    assert "phase" not in Painter().blank(other, STATUS, 1).header
