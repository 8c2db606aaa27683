"""Top-k: which fakes count, by how much, and when."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import OBJECTIVES
from gannet.core.types import Clock

pytestmark = pytest.mark.usefixtures("fp64")

NAMES = ["saturating", "nonsaturating", "leastsquares", "hinge", "wasserstein"]
PAIRINGS = ["none", "paired", "average"]
R, F = [0.7, -0.4, 1.9, 0.2], [-1.2, 0.3, 0.5, -0.6]


def pair(inner: str, share: str):
    return OBJECTIVES.build(f"top-k(of={inner}, share={share})"), OBJECTIVES.build(inner)


def real_of(objective, r: torch.Tensor) -> torch.Tensor | None:
    return r if objective.wants_real else None


def test_the_best_half_by_hand():
    """Wasserstein pays −f: of −1.2, 0.3, 0.5, −0.6 the second and third count twice."""
    f = torch.tensor(F, requires_grad=True)
    loss = OBJECTIVES.build("top-k(of=wasserstein, share=0.5)").generator(None, f)
    assert_close(loss, torch.tensor([0.0, -0.6, -1.0, 0.0]))
    assert_close(loss.mean(), torch.tensor(-0.4))  # the mean of the two
    assert_close(torch.autograd.grad(loss.mean(), f)[0], torch.tensor([0.0, -0.5, -0.5, 0.0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_it_is_the_inner_game_of_the_chosen_rows(name, pairing):
    objective, inner = pair(f"{name}(pairing={pairing})", "0.7")
    r, f = torch.tensor(R), torch.tensor(F)
    plain = inner.generator(real_of(inner, r), f)
    assert_close(objective.generator(real_of(objective, r), f), plain * torch.tensor([0, 4 / 3, 4 / 3, 4 / 3]))
    assert_close(objective.discriminator(r, f), inner.discriminator(r, f))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_all_of_them_is_the_inner_game(name, pairing):
    objective, inner = pair(f"{name}(pairing={pairing})", "1")
    r, f = torch.tensor(R), torch.tensor(F)
    assert_close(objective.generator(real_of(objective, r), f), inner.generator(real_of(inner, r), f), rtol=0, atol=0)
    assert objective.equilibrium() == inner.equilibrium()
    assert (objective.wants_real, objective.pairs_rows) == (inner.wants_real, inner.pairs_rows)


def test_rows_of_a_map_are_ranked_by_their_mean():
    """One row has the highest place of all and the lower mean."""
    f = torch.tensor([[[[9.0, -9.0]]], [[[1.0, 1.0]]]])
    loss = OBJECTIVES.build("top-k(of=wasserstein, share=0.5)").generator(None, f)
    assert_close(loss, torch.tensor([[[[0.0, 0.0]]], [[[-2.0, -2.0]]]]))


@pytest.mark.parametrize(
    ("share", "rows", "k"),
    [(0.5, 5, 3), (0.1, 30, 3), (0.07, 100, 7), (0.01, 30, 1), (0.34, 3, 2), (1, 7, 7), (0.5, 1, 1)],
)
def test_how_many_count(share, rows, k):
    f = torch.linspace(1, 2, rows)
    loss = OBJECTIVES.build(f"top-k(of=wasserstein, share={share})").generator(None, f)
    assert int((loss != 0).sum()) == k
    assert_close(loss.mean(), -f[-k:].mean())


def test_equal_scores_are_cut_at_k_all_the_same():
    loss = OBJECTIVES.build("top-k(of=wasserstein, share=0.5)").generator(None, torch.ones(6))
    assert int((loss != 0).sum()) == 3


def test_the_share_follows_the_clock_and_the_objective_stays_as_it_was():
    objective = OBJECTIVES.build("top-k")  # from all to half over the first half
    f = torch.linspace(-1, 1, 8)

    def counted(samples: int) -> int:
        return int((objective.at(Clock(samples, 1000)).generator(None, f) != 0).sum())

    assert [counted(s) for s in (0, 250, 500, 1000)] == [8, 6, 4, 4]
    assert int((objective.generator(None, f) != 0).sum()) == 8


def test_the_ranking_itself_has_no_gradient_and_falls_on_scores_of_any_sign():
    f = torch.tensor([-3.0, -5.0], requires_grad=True)
    objective = OBJECTIVES.build("top-k(of=hinge, share=0.5)")
    assert_close(torch.autograd.grad(objective.generator(None, f).sum(), f)[0], torch.tensor([-2.0, 0.0]))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("top-k(share=0)", "share=0 is out of range"),
        ("top-k(share=2)", "share=2 is out of range"),
        ("top-k(share=linear(1, 0))", "out of range"),
        ("top-k(of=hing)", "hinge"),
        ("top-k(of=hinge(smoothing=0.1))", "smoothing"),
        ("top-k(pairing=paired)", "no option 'pairing'"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        OBJECTIVES.build(spec)
