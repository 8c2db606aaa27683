"""LeCam, consistency, centering, feature matching, path length and weight terms against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import REGULARIZERS
from gannet.core.types import Generated, Inputs, Verdict

pytestmark = pytest.mark.usefixtures("fp64")


def points(*values: float) -> torch.Tensor:
    """One-dimensional samples `[B, 1]`, which `linear` with w = 1 scores as they stand."""
    return torch.tensor(values)[:, None]


@pytest.fixture
def identity(linear):
    return linear(torch.ones(1))


# ------------------------------------------------------------------------------------------------------------ LeCam


def turn(lecam, round) -> None:
    lecam.after_turn(lecam.statistics(round))


def test_lecam_by_hand(play, identity):
    lecam = REGULARIZERS.build("lecam(warmup=1)")
    first = play(identity, points(2.0, 4.0), points(-1.0, 0.0))
    assert_close(lecam(first), torch.zeros(2))  # no anchors yet
    turn(lecam, first)
    assert_close((lecam.real, lecam.fake), (torch.tensor(3.0), torch.tensor(-0.5)))
    # relu(r + 0.5)² + relu(3 − f)²
    second = play(identity, points(1.0, -2.0), points(5.0, 1.0))
    assert_close(lecam(second), torch.tensor([1.5**2 + 0.0, 0.0 + 2.0**2]))
    (gradient,) = torch.autograd.grad(lecam(second).sum(), identity.w)
    assert_close(gradient, torch.tensor([2 * 1.5 * 1.0 - 2 * 2.0 * 1.0]))


def test_lecam_anchors_are_plain_means_first_and_moving_means_later(play, identity):
    lecam = REGULARIZERS.build("lecam(decay=0.75)")
    for value in (1.0, 2.0, 6.0):
        turn(lecam, play(identity, points(value, value), points(-value, -value)))
    assert_close((lecam.real, lecam.fake), (torch.tensor(3.0), torch.tensor(-3.0)))
    for _ in range(2):
        turn(lecam, play(identity, points(7.0, 7.0), points(-7.0, -7.0)))
    assert_close(lecam.real, torch.tensor(0.75 * (0.75 * 3 + 0.25 * 7) + 0.25 * 7))


def test_lecam_waits_for_its_warmup_and_forward_changes_nothing(play, identity):
    lecam = REGULARIZERS.build("lecam(warmup=3)")
    round = play(identity, points(2.0, 4.0), points(-1.0, 0.0))
    found = []
    for _ in range(4):
        found.append(bool((lecam(round) > 0).any()))
        assert_close(lecam(round), lecam(round))
        turn(lecam, round)
    assert found == [False, False, False, True]
    assert set(lecam.state_dict()) == {"turns", "real", "fake"}
    assert not lecam.statistics(round)["real"].requires_grad


# ------------------------------------------------------------------------------------------ consistency, centering


def test_consistency_by_hand(play, identity):
    """T adds std·n, so (D(x) − D(Tx))² = (std·n)² for D(x) = x: mean std², whatever x is."""
    term = REGULARIZERS.build("consistency(augment=noise(std=0.5))")
    round = play(identity, torch.randn(4000, 1), torch.randn(4000, 1))
    value = term(round)
    assert value.shape == (4000,)
    assert abs(float(value.detach().mean()) - 0.25) < 0.02
    # Scores scale with w, the term with w².
    assert_close(torch.autograd.grad(value.sum(), identity.w)[0], 2 * value.detach().sum()[None])
    assert play.judged == [(4000, "real")]
    assert_close(term(round), value)  # the round's own draw


def test_consistency_of_both_sides_and_of_score_maps(play):
    def verdict(inputs: Inputs) -> Verdict:
        return Verdict((inputs.x, 2 * inputs.x[:, :1]))

    both = REGULARIZERS.build("consistency(where=both, augment=noise(std=1.0))")
    round = play(nn.Identity(), torch.zeros(2000, 3), torch.zeros(2000, 3), verdict=verdict)
    # Each side: mean of three n² (1) plus (2n)² (4).
    assert abs(float(both(round).mean()) - 10) < 0.6
    assert play.judged == [(2000, "real"), (2000, "fake")]


def test_consistency_carries_labels_and_refuses_unknown_augmentations(play):
    seen = []

    def verdict(inputs: Inputs) -> Verdict:
        seen.append(inputs.y)
        return Verdict((inputs.x.flatten(1).sum(1),))

    y = torch.tensor([0, 1])
    term = REGULARIZERS.build("consistency")
    term(play(nn.Identity(), torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8), y=y, verdict=verdict))
    assert_close(seen[-1], y)
    with pytest.raises(UsageError, match="diffaugment"):
        REGULARIZERS.build("consistency(augment=diffaugmnt)")


def test_centering_by_hand(play, identity):
    term = REGULARIZERS.build("centering")
    value = term(play(identity, points(1.0, -2.0), points(0.5, -1.0)))
    assert_close(value, torch.tensor([2.25, 9.0]))
    assert_close(torch.autograd.grad(value.sum(), identity.w)[0], torch.tensor([2 * 2.25 + 2 * 9.0]))


# --------------------------------------------------------------------------------------------------- generator side


def test_feature_matching_by_hand(play):
    def verdict(inputs: Inputs) -> Verdict:
        return Verdict((inputs.x.sum(1),), features=(inputs.x, inputs.x.unflatten(1, (1, 2)) ** 2))

    real = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    fake = torch.tensor([[0.0, 0.0], [2.0, 4.0]], requires_grad=True)
    term = REGULARIZERS.build("feature-matching")
    value = term(play(nn.Identity(), real, fake, verdict=verdict))
    # Means (2, 3) against (1, 2): 1 + 1. Squares: (5, 10) against (2, 8): 9 + 4.
    assert_close(value, torch.tensor(15.0))
    # d/df: −(mean difference) of layer one, −2·difference·f of layer two.
    wanted = torch.tensor([[-1.0, -1.0], [-1.0 - 3 * 2 * 2.0, -1.0 - 2 * 2 * 4.0]])
    assert_close(torch.autograd.grad(value, fake)[0], wanted)
    assert (term.side, term.needs) == ("generator", {"real", "features"})


def test_feature_matching_needs_features(play, identity):
    with pytest.raises(UsageError, match="reports none"):
        REGULARIZERS.build("feature-matching")(play(identity, points(1.0), points(2.0)))


def path_round(play, linear, gain: torch.Tensor, shape: tuple[int, ...], repeat: int = 1):
    """G(w) = Σ over latents of gain·w, spread over an image: J = gain·⟨1, n⟩ in each latent."""
    torch.manual_seed(0)
    latent = torch.randn(*shape, requires_grad=True)
    x = (latent * gain).flatten(1).sum(1)[:, None, None, None].expand(-1, 1, 2, 3)
    image = torch.zeros(len(latent), 1, 2, 3)
    return play(linear(torch.ones(1, 2, 3)), image, x, generated=Generated(x, latent))


def expected_lengths(round, per_unit: float) -> torch.Tensor:
    n = round.draw.child("path-length").normal(1, 2, 3) / math.sqrt(6)
    return (n.sum((1, 2, 3)) * per_unit).abs()


def test_path_length_by_hand(play, linear):
    gain = torch.tensor([3.0, 4.0], requires_grad=True)
    term = REGULARIZERS.build("path-length")
    round = path_round(play, linear, gain, (5, 2))
    length = expected_lengths(round, 5.0)  # |gain| = 5
    assert_close(term(round), length**2)  # the mean starts at 0
    term.mean.fill_(2.0)
    value = term(round)
    assert_close(value, (length - 2) ** 2)
    # d|gain|/d gain = gain/5: the graph reaches the generator's weights.
    wanted = (2 * (length - 2) * length / 5).sum() * gain.detach() / 5
    assert_close(torch.autograd.grad(value.sum(), gain)[0], wanted)


def test_path_length_averages_over_layers(play, linear):
    """Layers with gains of norm 5 and 13: the root of the mean of their squares."""
    gain = torch.tensor([[3.0, 4.0], [5.0, 12.0]])
    term = REGULARIZERS.build("path-length")
    round = path_round(play, linear, gain, (4, 2, 2))
    assert_close(term(round).detach(), expected_lengths(round, math.sqrt((25 + 169) / 2)) ** 2)


def test_path_length_keeps_a_moving_mean(play, linear):
    term = REGULARIZERS.build("path-length(rate=0.25)")
    round = path_round(play, linear, torch.tensor([3.0, 4.0]), (6, 2))
    term(round)
    with torch.no_grad():
        means = term.statistics(round)
    assert_close(means["length"], expected_lengths(round, 5.0).mean())
    assert_close(term.mean, torch.tensor(0.0))
    term.after_turn(means)
    term.after_turn({"length": torch.tensor(8.0)})
    assert_close(term.mean, 0.75 * 0.25 * means["length"] + 0.25 * 8.0)
    assert set(term.state_dict()) == {"mean"}


def test_path_length_statistics_survive_backward(play, linear):
    gain = torch.tensor([3.0, 4.0], requires_grad=True)
    term = REGULARIZERS.build("path-length")
    round = path_round(play, linear, gain, (3, 2))
    term(round).mean().backward()
    assert_close(term.statistics(round)["length"], expected_lengths(round, 5.0).mean())


def test_path_length_of_a_constant_generator_is_a_number(play, linear):
    gain = torch.zeros(2, requires_grad=True)
    term = REGULARIZERS.build("path-length")
    term.mean.fill_(1.0)
    value = term(path_round(play, linear, gain, (3, 2)))
    assert_close(value, torch.ones(3))
    assert_close(torch.autograd.grad(value.sum(), gain)[0], torch.zeros(2))


def test_path_length_needs_latents(play, identity):
    term = REGULARIZERS.build("path-length")
    assert (term.side, term.needs, term.every) == ("generator", {"latent"}, 4)
    with pytest.raises(UsageError, match="reports no latent"):
        term(play(identity, points(1.0), points(1.0), generated=Generated(points(1.0))))


# ----------------------------------------------------------------------------------------------------- weight terms


def layer(rows: list[list[float]], bias: float = 7.0) -> nn.Linear:
    module = nn.Linear(len(rows[0]), len(rows))
    with torch.no_grad():
        module.weight.copy_(torch.tensor(rows))
        module.bias.fill_(bias)
    return module


def test_orthogonal_by_hand():
    """Filters (1, 2) and (3, −1): WWᵀ = [[5, 1], [1, 10]]."""
    module = layer([[1.0, 2.0], [3.0, -1.0]])
    off = REGULARIZERS.build("orthogonal")([module])
    assert_close(off, torch.tensor(2.0))
    full = REGULARIZERS.build("orthogonal(variant=full)")([module])
    assert_close(full, torch.tensor(16.0 + 81.0 + 2.0))
    # d/dW of |WWᵀ∘(1 − I)|² is 4·(WWᵀ∘(1 − I))·W.
    wanted = 4 * torch.tensor([[3.0, -1.0], [1.0, 2.0]])
    assert_close(torch.autograd.grad(off, module.weight)[0], wanted)


def test_orthogonal_rows_are_output_filters():
    """A convolution and a transposed one that hold the same two filters cost the same."""
    filters = torch.randn(2, 3, 2, 2)
    straight, transposed = nn.Conv2d(3, 2, 2), nn.ConvTranspose2d(3, 2, 2)
    with torch.no_grad():
        straight.weight.copy_(filters)
        transposed.weight.copy_(filters.transpose(0, 1))
    rows = filters.flatten(1)
    term = REGULARIZERS.build("orthogonal")
    assert_close(term([straight]), 2 * (rows[0] @ rows[1]) ** 2)
    assert_close(term([transposed]), term([straight]))
    assert_close(REGULARIZERS.build("orthogonal(variant=full)")([nn.Linear(3, 3)]).dim(), 0)


def test_weight_sums_leave_out_biases_norms_and_embeddings():
    net = nn.Sequential(layer([[1.0, -2.0], [0.5, 0.0]]), nn.BatchNorm1d(2), nn.Embedding(4, 2), layer([[-3.0, 1.0]]))
    l1, l2 = REGULARIZERS.build("l1")([net]), REGULARIZERS.build("l2")([net])
    assert_close(l1, torch.tensor(7.5))
    assert_close(l2, torch.tensor(0.5 * (1 + 4 + 0.25 + 9 + 1)))
    assert_close(torch.autograd.grad(l2, net[0].weight)[0], net[0].weight.detach())  # weight decay
    assert_close(torch.autograd.grad(l1, net[3].weight)[0], torch.tensor([[-1.0, 1.0]]))


def test_several_modules_add_up_and_none_is_zero():
    one, two = layer([[1.0]]), layer([[2.0]])
    assert_close(REGULARIZERS.build("l2")([one, two]), torch.tensor(2.5))
    assert_close(REGULARIZERS.build("l1")([nn.ReLU()]), torch.tensor(0.0))


def test_sides():
    assert REGULARIZERS.build("orthogonal").side == "generator"
    assert REGULARIZERS.build("l2(side=generator)").side == "generator"
    assert REGULARIZERS.build("l1").side == "discriminator"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("lecam(decay=1)", "decay=1 is out of range"),
        ("lecam(warmup=0)", "warmup=0 is out of range"),
        ("path-length(rate=0)", "rate=0 is out of range"),
        ("orthogonal(variant=half)", "off-diagonal"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        REGULARIZERS.build(spec)
