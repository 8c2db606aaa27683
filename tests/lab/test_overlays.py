"""What is drawn over the plane, against finite differences, closed forms and geometry."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS, OBJECTIVES, SOURCES
from gannet.core.types import DataSpec, Field, Verdict
from gannet.data.plane import gaussians
from gannet.lab import overlays
from gannet.lab.pushforward import pushforward

PLANE = DataSpec({"x": Field((2,), "points", None)})
EVERY = [
    "nonsaturating",
    "saturating",
    "saturating(pairing=paired)",
    "saturating(pairing=average)",
    "nonsaturating(pairing=paired, smoothing=0.1)",
    "nonsaturating(pairing=average)",
    "leastsquares",
    "leastsquares(pairing=paired)",
    "leastsquares(pairing=average)",
    "hinge",
    "hinge(pairing=paired)",
    "hinge(pairing=average)",
    "wasserstein",
    "wasserstein(pairing=paired)",
    "wasserstein(pairing=average)",
    "top-k(of=nonsaturating, share=0.5)",
    "top-k(of=nonsaturating(pairing=average), share=0.5)",
    "top-k(of=nonsaturating(pairing=paired), share=0.5)",
]


def built(registry, text, data=PLANE, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return registry.build(text, data).double()


def rows(n, seed, d=2):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


DISCRIMINATOR = built(DISCRIMINATORS, "mlp(width=16, layers=2, activation=tanh)")
UNIT = (0.0, 0.0, 1.0, 1.0)


def test_every_objective_there_is_is_tried():
    assert {text.partition("(")[0] for text in EVERY} == set(OBJECTIVES.names())


# ------------------------------------------------------------------------------------------------------------- where


def test_centres_are_those_of_the_cells_bottom_row_first():
    grid = overlays.centres((0.0, 10.0, 4.0, 12.0), 4)
    assert grid.shape == (4, 4, 2)
    assert grid.dtype == torch.float32
    assert_close(grid[0, :, 0], torch.tensor([0.5, 1.5, 2.5, 3.5]))
    assert_close(grid[:, 1, 1], torch.tensor([10.25, 10.75, 11.25, 11.75]))
    line = overlays.centres((-1.0, 1.0), 2, like=torch.zeros(1, dtype=torch.float64))
    assert_close(line, torch.tensor([[-0.5], [0.5]], dtype=torch.float64))


def test_bounds_show_the_data_and_count_what_is_outside():
    assert overlays.bounds(SOURCES.build("points(name=ring)")) == UNIT
    assert overlays.bounds(SOURCES.build("points(name=mixture-1d)")) == (-3.5, 3.5)
    assert overlays.outside(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, -0.1], [np.nan, 0.5]]), UNIT).tolist() == [
        False,
        True,
        True,
        True,
    ]
    with pytest.raises(UsageError, match=r"shape \[1, 8, 8\]"):
        overlays.bounds(SOURCES.build("digits"))


def test_the_extent_of_saved_points_is_their_own(tmp_path):
    x = np.stack([np.linspace(0, 1, 50), np.linspace(10, 30, 50)], axis=1)
    np.save(tmp_path / "x.npy", x)
    found = overlays.bounds(SOURCES.build(f'array("{tmp_path}/x.npy", scale=none, test=0.02)'))
    np.testing.assert_allclose(found, [-0.1, 8, 1.1, 32], atol=0.5)


# -------------------------------------------------------------------------------------------------- the discriminator


def test_heat_is_the_discriminator_at_the_centres_of_cells():
    grid = overlays.centres(UNIT, 7, like=rows(1, 0))
    found = overlays.heat(DISCRIMINATOR, grid)
    assert found.dtype == np.float64
    for row, column in ((0, 0), (2, 5), (6, 1)):
        x = torch.tensor([[(column + 0.5) / 7, (row + 0.5) / 7]], dtype=torch.float64)
        assert_close(found[row, column], torch.sigmoid(DISCRIMINATOR(x).score[0]).item())
    single = built(DISCRIMINATORS, "mlp").float()
    assert overlays.heat(single, overlays.centres(UNIT, 3)).dtype == np.float32
    line = built(DISCRIMINATORS, "mlp", DataSpec({"x": Field((1,), "points", None)}))
    assert overlays.heat(line, overlays.centres((0.0, 1.0), 9, like=rows(1, 0))).shape == (9,)


def test_gradient_norm_is_that_of_finite_differences():
    grid = overlays.centres(UNIT, 5, like=rows(1, 0))
    found, h = overlays.gradient_norm(DISCRIMINATOR, grid), 1e-5
    slopes = []
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = h
        up, down = (DISCRIMINATOR((grid + s).reshape(-1, 2)).score[0].detach() for s in (step, -step))
        slopes.append((up - down) / (2 * h))
    assert_close(torch.from_numpy(found).flatten(), torch.stack(slopes).norm(dim=0), rtol=1e-6, atol=1e-9)


def numerical(loss, x, h=1e-6):
    """Central differences of `loss` at every entry of `x`."""
    found = torch.zeros_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.clone(), x.clone()
        up[place] += h
        down[place] -= h
        found[place] = (loss(up) - loss(down)) / (2 * h)
    return found


@pytest.mark.parametrize("text", EVERY)
def test_arrows_are_finite_differences_of_the_very_loss(text):
    objective = OBJECTIVES.build(text)
    fake, real = rows(8, 1), rows(8, 2)

    def loss(x):
        with torch.no_grad():
            r, f = DISCRIMINATOR(real).score[0], DISCRIMINATOR(x).score[0]
            return objective.generator(r if objective.wants_real else None, f).mean()

    found = overlays.arrows(DISCRIMINATOR, objective, fake, real)
    assert_close(torch.from_numpy(found[:, :2]), fake)
    assert_close(torch.from_numpy(found[:, 2:]), -8 * numerical(loss, fake), rtol=1e-4, atol=1e-7)
    assert np.abs(found[:, 2:]).max() > 1e-3


@pytest.mark.parametrize("text", EVERY)
def test_the_field_is_what_a_fake_there_would_feel(text):
    objective = OBJECTIVES.build(text)
    fake, real = rows(6, 1), rows(6, 2)
    grid = overlays.centres((-1.0, -1.0, 1.0, 1.0), 3, like=fake)
    found = overlays.field(DISCRIMINATOR, objective, grid, fake, real)
    assert found.shape == (3, 3, 2)
    for p, place in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        felt = []
        for row in range(6):
            swapped = fake.clone()
            swapped[row] = grid[place]
            felt.append(overlays.arrows(DISCRIMINATOR, objective, swapped, real)[row, 2:])
        # The first row is exchanged, or every row where each has its own real, of which top-k takes one.
        one = felt[p % 6 if objective.pairs_rows else 0]
        expected = np.mean(felt, axis=0) if objective.pairs_rows and "top-k" not in text else one
        np.testing.assert_allclose(found[place], expected, rtol=1e-9, atol=1e-12)


def test_arrows_of_a_pairing_without_reals_or_with_too_few_are_refused():
    paired = OBJECTIVES.build("nonsaturating(pairing=paired)")
    with pytest.raises(UsageError, match="no reals were judged"):
        overlays.arrows(DISCRIMINATOR, paired, rows(4, 0))
    with pytest.raises(UsageError, match="differ in shape"):
        overlays.arrows(DISCRIMINATOR, paired, rows(4, 0), rows(3, 0))


def test_several_scores_are_summed_as_the_engine_does_and_have_no_field():
    def judge(x):
        return Verdict((x[:, 0] ** 2, torch.stack([x[:, 1], 3 * x[:, 1]], dim=1)))

    objective = OBJECTIVES.build("wasserstein")
    found = overlays.arrows(judge, objective, torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
    np.testing.assert_allclose(found[:, 2:], [[2, 2], [6, 2]])
    with pytest.raises(UsageError, match="one score a point"):
        overlays.field(judge, objective, overlays.centres(UNIT, 2), rows(2, 0).float())


def test_looking_leaves_the_networks_as_they_were():
    network = built(DISCRIMINATORS, "mlp(dropout=0.5, norm=layer)")
    network.layers[0].eval()
    modes = [m.training for m in network.modules()]
    with overlays.evaluating(network):
        assert not any(m.training for m in network.modules())
        first = overlays.heat(network, overlays.centres(UNIT, 3, like=rows(1, 0)))
        overlays.arrows(network, OBJECTIVES.build("hinge"), rows(4, 0))
        assert_close(overlays.heat(network, overlays.centres(UNIT, 3, like=rows(1, 0))), first, rtol=0, atol=0)
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())


# ------------------------------------------------------------------------------------------------------ the generator


def affine(matrix, shift=(0.0, 0.0)):
    m, b = torch.tensor(matrix, dtype=torch.float64), torch.tensor(shift, dtype=torch.float64)
    return lambda z: z @ m.T + b


def test_lattices_stand_at_quantiles_and_cut_along_directions():
    z = overlays.lattice(2, 21, like=rows(1, 0))
    assert z.shape == (21, 21, 2)
    middle = torch.special.ndtr(z[:, 3, 0])
    assert_close(middle, (torch.arange(21).double() + 0.5) / 21)
    assert_close(z[4, :, 1], z[:, 9, 0])
    assert overlays.lattice(1, 5).shape == (5, 1)
    assert_close(overlays.lattice(1, 3, interval=(-1, 1)).flatten(), torch.tensor([-1.0, 0.0, 1.0]))
    cut = overlays.lattice(5, 4, torch.tensor([[3.0, 0, 0, 0, 0], [1, 0, 2.0, 0, 0]]), like=rows(1, 0))
    assert cut.shape == (4, 4, 5)
    expected = torch.special.ndtri((torch.arange(4).double() + 0.5) / 4)
    assert_close(cut[:, 0, 0], expected)
    assert_close(cut[1, :, 2], expected)
    assert not cut[..., [1, 3, 4]].any()
    assert overlays.lattice(5, 4, torch.tensor([[0, 1.0, 0, 0, 0]])).shape == (4, 5)
    for wrong in (None, torch.zeros(2, 5), torch.ones(2, 5), torch.ones(2, 4), torch.ones(3, 5)):
        with pytest.raises(UsageError, match="direction"):
            overlays.lattice(5, 4, wrong)


def test_areas_without_a_fold_sum_to_what_the_border_encloses():
    z = overlays.lattice(2, 21, like=rows(1, 0))

    def bend(z):
        return torch.stack([z[:, 0] + 0.2 * torch.sin(z[:, 1]), z[:, 1] + 0.1 * z[:, 0] ** 2], dim=1)

    found = overlays.manifold(bend, z)
    signed = overlays.areas(found.points)
    assert (signed > 0).all()
    border = np.concatenate(
        [found.points[:-1, 0], found.points[-1, :-1], found.points[:0:-1, -1], found.points[0, :0:-1]]
    )
    x, y = border.T
    enclosed = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    np.testing.assert_allclose(np.abs(signed).sum(), enclosed, rtol=1e-9)
    turned = overlays.manifold(affine([[2.0, 1.0], [0.0, 3.0]], (5, 5)), z)
    np.testing.assert_allclose(turned.stretch, 6, rtol=1e-9)


def test_a_fold_is_negative_and_a_mirror_is_none():
    z = overlays.lattice(2, 21, like=rows(1, 0))
    # Folded along x₀ = −½: what lies left of it is laid over the rest.
    folded = overlays.manifold(lambda z: torch.stack([(z[:, 0] + 0.5).abs(), z[:, 1]], dim=1), z)
    middle = ((z[1:, 0, 0] + z[:-1, 0, 0]) / 2).numpy()
    clear = np.abs(middle + 0.5) > 0.1
    assert not folded.mirrored
    assert ((folded.stretch < 0) == (middle < -0.5)[:, None])[clear].all()
    mirror = overlays.manifold(affine([[-1.0, 0.0], [0.0, 2.0]]), z)
    assert mirror.mirrored
    np.testing.assert_allclose(mirror.stretch, 2, rtol=1e-9)


def test_lines_of_latents_stretch_by_length_or_slope():
    z = overlays.lattice(1, 9, like=rows(1, 0))
    curve = overlays.manifold(lambda z: torch.cat([3 * z, 4 * z], dim=1), z)
    np.testing.assert_allclose(curve.stretch, 5, rtol=1e-9)
    line = overlays.manifold(lambda z: (z - 5) ** 2, z)
    assert line.points.shape == (9, 1)
    assert line.mirrored
    assert (line.stretch > 0).all()
    cut = overlays.lattice(7, 9, torch.eye(7)[2:3], like=rows(1, 0))
    np.testing.assert_allclose(overlays.manifold(lambda z: 2 * z[:, 2:3], cut).stretch, 2, rtol=1e-9)
    with pytest.raises(UsageError, match="no areas on a line"):
        overlays.manifold(lambda z: z[:, :1], overlays.lattice(2, 9))


def test_trails_keep_the_newest_and_forget_the_future():
    trails = overlays.Trails(3)
    assert trails.array().shape == (0, 0, 2)
    for step in range(5):
        trails.add(step, torch.full((4, 2), float(step)))
    assert trails.array()[0, :, 0].tolist() == [2, 3, 4]
    trails.add(3, torch.full((4, 2), 9.0))
    assert trails.array()[:, :, 1].tolist() == [[2, 9]] * 4
    trails.add(7, torch.zeros(5, 2))
    assert trails.array().shape == (5, 1, 2)


# ----------------------------------------------------------------------------------------------------- both densities


def normal_density(x, mean, covariance):
    away = x - np.array(mean)
    inverse = np.linalg.inv(covariance)
    return np.exp(-np.einsum("...i,ij,...j->...", away, inverse, away) / 2) / (
        2 * math.pi * math.sqrt(np.linalg.det(covariance))
    )


WIDE = overlays.centres((-6.0, -6.0, 6.0, 6.0), 50, like=rows(1, 0))


def test_the_push_forward_of_an_affine_map_is_its_gaussian():
    matrix = [[1.0, 0.5], [-0.3, 0.8]]
    found = pushforward(affine(matrix, (0.5, -1.0)), WIDE)
    expected = normal_density(WIDE.numpy(), (0.5, -1.0), np.array(matrix) @ np.array(matrix).T)
    near = expected > 1e-3 * expected.max()
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-9)
    assert pushforward(affine(matrix), WIDE.float().double()).shape == (50, 50)


def test_the_push_forward_counts_each_preimage_of_a_fold():
    found = pushforward(lambda z: torch.stack([z[:, 0].abs(), z[:, 1]], dim=1), WIDE)
    expected = np.where(WIDE[..., 0] > 0, 2 * normal_density(WIDE.numpy(), (0, 0), np.eye(2)), 0)
    near = expected > 1e-3 * expected.max()
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-6)
    assert not found[:, :24].any()


def test_the_push_forward_of_a_curved_map_has_its_jacobian():
    # x₀ = sinh z₀, x₁ = z₁ + z₀²/4: the determinant is cosh z₀.
    found = pushforward(lambda z: torch.stack([z[:, 0].sinh(), z[:, 1] + z[:, 0] ** 2 / 4], dim=1), WIDE)
    x, back = WIDE.numpy(), np.arcsinh(WIDE[..., 0].numpy())
    z = np.stack([back, x[..., 1] - back**2 / 4], axis=-1)
    expected = normal_density(z, (0, 0), np.eye(2)) / np.cosh(back)
    near = expected > 1e-3 * expected.max()
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-9)


def test_a_network_pushes_forward_what_its_samples_show():
    generator = built(GENERATORS, "mlp(latent=2, width=32, layers=1, activation=tanh)", seed=1)
    with torch.no_grad():
        generator.output.weight *= 6
        x = generator(rows(200_000, 5)).numpy()
    grid = overlays.centres(tuple(np.r_[np.quantile(x, 0.05, 0), np.quantile(x, 0.95, 0)]), 20, like=rows(1, 0))
    found = pushforward(generator, grid)
    (x0, y0), (x1, y1) = grid[0, 0].tolist(), grid[-1, -1].tolist()
    half = ((x1 - x0) / 38, (y1 - y0) / 38)
    spans = [(y0 - half[1], y1 + half[1]), (x0 - half[0], x1 + half[0])]
    seen = np.histogram2d(x[:, 1], x[:, 0], bins=20, range=spans)[0] / len(x)
    assert found is not None
    assert np.abs(found * half[0] * half[1] * 4 - seen).sum() < 0.06


def test_collapsed_generators_are_left_to_kernels():
    assert pushforward(affine([[0.0, 0.0], [0.0, 0.0]]), WIDE) is None
    assert pushforward(affine([[1.0, 0.0], [1.0, 0.0]]), WIDE) is None
    assert pushforward(affine([[0.01, 0.0], [0.0, 0.01]], (0.12, 0.12)), WIDE) is None
    assert pushforward(lambda z: z * math.nan, WIDE) is None
    fake = np.zeros((100, 2))
    found = overlays.densities(WIDE, gaussians(np.zeros((1, 2)), 1.0), fake, affine([[0.0, 0.0], [0.0, 0.0]]))
    assert (found.real_by, found.fake_by) == ("exact", "kernel")
    assert found.optimal()[25, 25] < 0.2 < 0.9 < found.optimal()[5, 25]


def test_the_best_answer_is_the_share_of_the_reals():
    truth = gaussians(np.array([[1.0, 0.0]]), 1.0)
    found = overlays.densities(WIDE, truth, np.zeros((2, 2)), affine([[1.0, 0.0], [0.0, 1.0]], (-1.0, 0.0)))
    assert (found.real_by, found.fake_by) == ("exact", "exact")
    # log p/q = 2 x₀ for two unit Gaussians at ±1.
    inside = (np.abs(WIDE.numpy()) < 2).all(-1)
    expected = 1 / (1 + np.exp(-2 * WIDE[..., 0].numpy()))
    np.testing.assert_allclose(found.optimal()[inside], expected[inside], rtol=1e-6)
    nowhere = overlays.Densities(np.array([0.0, 1.0]), np.array([0.0, 0.0]), "exact", "exact")
    assert nowhere.optimal().tolist() == [0.5, 1.0]


@pytest.mark.parametrize("name", ["ring", "gaussians", "checkerboard"])
def test_known_densities_are_taken_at_the_centres(name):
    source, none = SOURCES.build(f"points(name={name}, n=2)"), np.zeros((2, 2))
    grid = overlays.centres((0.0, -0.5, 1.0, 2.0), 13, like=rows(1, 0))
    found = overlays.densities(grid, source.density, none)
    assert found.real_by == "exact"
    expected = source.density(grid.reshape(-1, 2).numpy()).reshape(13, 13)
    np.testing.assert_allclose(found.real, expected, rtol=1e-9, atol=1e-12 * expected.max())
    line = overlays.centres((-3.5, 3.5), 11, like=rows(1, 0))
    mixture = SOURCES.build("points(name=mixture-1d, n=2)").density
    np.testing.assert_allclose(overlays.densities(line, mixture, none[:, :1]).real, mixture(line.numpy()), rtol=1e-9)


def test_densities_are_estimated_where_nothing_is_known_and_on_the_line():
    rng = np.random.default_rng(0)
    line = overlays.centres((-5.0, 5.0), 100, like=rows(1, 0))
    found = overlays.densities(line, rng.normal(1, 1, (3000, 1)), rng.normal(-1, 1, (3000, 1)), lambda z: z)
    assert found.real.shape == (100,)
    assert (found.real_by, found.fake_by) == ("kernel", "kernel")
    for mean, seen in ((1, found.real), (-1, found.fake)):
        truth = np.exp(-((line[:, 0].numpy() - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
        assert np.abs(seen - truth).sum() * 0.1 < 0.12
    np.testing.assert_allclose(found.optimal()[49:51], 0.5, atol=0.1)


def test_a_module_is_a_judge_and_a_generator():
    assert isinstance(DISCRIMINATOR, nn.Module)
    generator = built(GENERATORS, "mlp(latent=2)")
    assert overlays.manifold(generator, overlays.lattice(2, 5, like=rows(1, 0))).points.shape == (5, 5, 2)
