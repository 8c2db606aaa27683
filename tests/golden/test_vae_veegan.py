"""VEEGAN and the VAE on networks small enough to work out: who is compared, what each term is, whom it moves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import TASKS
from gannet.core.types import DataSpec, Field, Verdict

pytestmark = pytest.mark.usefixtures("fp64")

PLANE = DataSpec({"x": Field((2,), "points", None)})
PICTURES = DataSpec({"x": Field((1, 2, 3))}, classes=3)
B = 4


class Decoder(nn.Module):
    """G(z, y) = a·z laid out as a sample, plus the label."""

    def __init__(self, data: DataSpec, latent: int, a: float = 2.0):
        super().__init__()
        self.latent, self.shape = latent, data.shape
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        flat = self.a * z.repeat(1, math.ceil(math.prod(self.shape) / self.latent))[:, : math.prod(self.shape)]
        return flat.unflatten(1, self.shape) + (0 if y is None else y.view(-1, *[1] * len(self.shape)))


class Encoder(nn.Module):
    """b times every number of the sample; what it is asked for beyond is b times them once more, less 1."""

    def __init__(self, numbers: int, b: float = 0.5):
        super().__init__()
        self.numbers, self.b = numbers, nn.Parameter(torch.tensor(b))

    def forward(self, x: torch.Tensor, y=None, given=None) -> Verdict:
        assert y is None, "the encoder sees no labels"
        h = self.b * x.flatten(1)
        return Verdict((), {"latent": torch.cat([h, h - 1], dim=1)[:, : self.numbers]})


def task(spec: str, data: DataSpec, latent: int = 2, **more):
    found = TASKS.build(spec, data)
    found.networks["generator"] = Decoder(data, latent)
    found.networks["encoder"] = Encoder(found.roles["encoder"].heads["latent"], **more)
    return found


def draw(rows: int = B) -> Draw:
    return Draw(0, "test", 0, range(rows), dtype=torch.float64)


def batch(data: DataSpec, rows: int = B) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"x": torch.randn(rows, *data.shape), "y": torch.arange(rows) % 3}


# ------------------------------------------------------------------------------------------------------------ VEEGAN


def test_veegan_compares_samples_with_their_latents():
    veegan, rows = task("veegan(latent=2, deviation=0.5)", PLANE), batch(PLANE)
    made = veegan.generate(rows, draw())
    z = draw().normal(2)
    (comparison,) = veegan.comparisons(rows, made)
    assert_close((made.latent, made.x), (z, 2 * z))
    code = 0.5 * rows["x"] + 0.5 * draw().child("code").normal(2)  # one of N(F(x), ¼ I)
    assert_close((comparison.real.x, comparison.real.given), (rows["x"], code))
    assert_close((comparison.fake.x, comparison.fake.given), (2 * z, z))
    assert comparison.real.y is None


def test_veegan_lays_latents_beside_pictures_as_planes():
    veegan, rows = task("veegan(latent=2)", PICTURES), batch(PICTURES)
    roles = veegan.roles
    assert roles["discriminator"].data.given == Field((2, 2, 3), "image", None)
    assert roles["discriminator"].data.classes == 3
    (comparison,) = veegan.comparisons(rows, veegan.generate(rows, draw()))
    planes = comparison.fake.given
    assert planes.shape == (B, 2, 2, 3)
    assert_close(planes, draw().normal(2)[:, :, None, None] * torch.ones(1, 1, 2, 3))
    code = 0.5 * rows["x"].flatten(1)[:, :2] + draw().child("code").normal(2)
    assert_close(comparison.real.given[:, 1, 0, 2], code[:, 1])
    assert_close((comparison.real.y, comparison.fake.y), (rows["y"], rows["y"]))


def test_veegan_finds_the_latent_again_by_hand():
    """F(G(z)) = b·a·z: Σ (ba − 1)² z² a row, with slopes 2(ba − 1)·b·z² and 2(ba − 1)·a·z²."""
    veegan, rows = task("veegan(latent=2, reconstruction=3)", PLANE, b=0.8), batch(PLANE)
    made = veegan.generate(rows, draw())
    assert veegan.terms("discriminator", rows, made, []) == {}
    (term,) = veegan.terms("generator", rows, made, []).values()
    square = draw().normal(2).square().sum(1)
    assert_close(term, 3 * 0.6**2 * square)
    generator, encoder = veegan.networks["generator"].a, veegan.networks["encoder"].b
    found = torch.autograd.grad(term.sum(), (generator, encoder))
    assert_close(found, (3 * 2 * 0.6 * 0.8 * square.sum(), 3 * 2 * 0.6 * 2.0 * square.sum()))


def test_a_perfect_encoder_pays_nothing():
    veegan, rows = task("veegan(latent=2)", PLANE, b=0.5), batch(PLANE)
    (term,) = veegan.terms("generator", rows, veegan.generate(rows, draw()), []).values()
    assert_close(term, torch.zeros(B))


def test_the_veegan_encoder_learns_from_reconstruction_alone():
    """What D says of a fake reaches G and not F: the fake's latent is z itself, and reals are judged detached."""
    veegan, rows = task("veegan(latent=2)", PLANE), batch(PLANE)
    (comparison,) = veegan.comparisons(rows, veegan.generate(rows, draw()))
    score = comparison.fake.x.sum() + 3 * comparison.fake.given.sum()
    generator, encoder = veegan.networks["generator"].a, veegan.networks["encoder"].b
    found = torch.autograd.grad(score, (generator, encoder), allow_unused=True)
    assert found[0] is not None
    assert found[1] is None


def test_veegan_moves_generator_and_encoder_together():
    veegan = TASKS.build("veegan(latent=5)", PICTURES)
    assert list(veegan.players()) == ["discriminator", "generator"]
    assert veegan.players()["discriminator"].roles == ("discriminator",)
    assert veegan.players()["generator"].roles == ("generator", "encoder")
    encoder = veegan.roles["encoder"]
    assert (encoder.kind, encoder.setting, dict(encoder.heads)) == ("encoder", "encoder", {"latent": 5})
    assert (encoder.data.classes, encoder.data.given) == (0, None)


@pytest.mark.parametrize("name", ["veegan", "vae"])
def test_labels_can_be_ignored(name):
    found = task(f"{name}(latent=2, labels=ignore)", PICTURES)
    assert all(role.data.classes == 0 for role in found.roles.values())
    rows = batch(PICTURES)
    made = found.generate(rows, draw())
    assert_close(made.x.flatten(1)[:, :2], 2 * made.latent)
    assert all(c.real.y is None for c in found.comparisons(rows, made))


# --------------------------------------------------------------------------------------------------------------- VAE


def test_vae_draws_its_latent_from_what_the_encoder_says():
    """Four numbers of a point (p, q): means b·p, b·q and log variances b·p − 1, b·q − 1."""
    vae, rows = task("vae(latent=2)", PLANE), batch(PLANE)
    made = vae.generate(rows, draw())
    said, n = 0.5 * rows["x"], draw().normal(2)
    z = said + (0.5 * said - 0.5).exp() * n
    assert_close((made.mean, made.log_variance), (said, said - 1))
    assert_close((made.latent, made.x), (z, 2 * z))
    assert vae.comparisons(rows, made) == []
    with pytest.raises(AssertionError):
        assert_close(vae.generate(rows, Draw(1, "test", 0, range(B), dtype=torch.float64)).latent, z)


def test_vae_terms_by_hand():
    """Against torch's own distributions, in nats for each of the two numbers of a point."""
    vae, rows = task("vae(latent=2, sigma=0.3, beta=2)", PLANE), batch(PLANE)
    made = vae.generate(rows, draw())
    terms = vae.terms("generator", rows, made, [])
    normal = torch.distributions.Normal
    likelihood = normal(made.x, 0.3).log_prob(rows["x"]).sum(1)
    q, p = normal(made.mean, (0.5 * made.log_variance).exp()), normal(torch.tensor(0.0), torch.tensor(1.0))
    kl = torch.distributions.kl_divergence(q, p).sum(1)
    assert_close(terms, {"reconstruction": -likelihood / 2, "kl": 2 * kl / 2})
    assert_close(vae.measure(rows, draw()), {"elbo": ((likelihood - kl) / 2).mean().detach()})


def test_vae_terms_in_numbers():
    """x = (1, 2), b = ½: means (½, 1), log variances (−½, 0), KL = ½ Σ (m² + eᵛ − 1 − v)."""
    vae = task("vae(latent=2)", PLANE)
    rows = {"x": torch.tensor([[1.0, 2.0]])}
    terms = vae.terms("generator", rows, vae.generate(rows, draw(1)), [])
    kl = 0.5 * (0.25 + math.exp(-0.5) - 1 + 0.5 + 1)
    assert_close(terms["kl"], torch.tensor([kl / 2]))
    n = draw(1).normal(2)[0]
    error = [1 - 2 * (0.5 + math.exp(-0.25) * n[0]), 2 - 2 * (1 + n[1])]
    nll = sum(0.5 * math.log(2 * math.pi * 0.04) + e**2 / 0.08 for e in error) / 2
    assert_close(terms["reconstruction"], nll[None])


def test_vae_without_a_prior_term_still_measures_the_whole_bound():
    plain, free = (task(f"vae(latent=2, beta={b})", PLANE) for b in (1, 0))
    rows = batch(PLANE)
    assert_close(free.terms("generator", rows, free.generate(rows, draw()), [])["kl"], torch.zeros(B))
    assert_close(free.measure(rows, draw()), plain.measure(rows, draw()))
    assert not plain.measure(rows, draw())["elbo"].requires_grad


def test_vae_gradients_reach_both_networks_through_the_sample():
    vae, rows = task("vae(latent=2)", PLANE), batch(PLANE)
    term = vae.terms("generator", rows, vae.generate(rows, draw()), [])["reconstruction"].sum()
    found = torch.autograd.grad(term, (vae.networks["generator"].a, vae.networks["encoder"].b))

    def at(a: float, b: float) -> float:
        z = b * rows["x"] + (0.5 * b * rows["x"] - 0.5).exp() * draw().normal(2)
        return float(((a * z - rows["x"]).square() / 0.08).sum() / 2)

    slopes = [(at(2 + 1e-6, 0.5) - at(2 - 1e-6, 0.5)) / 2e-6, (at(2, 0.5 + 1e-6) - at(2, 0.5 - 1e-6)) / 2e-6]
    assert_close(torch.stack(found), torch.tensor(slopes), rtol=1e-6, atol=1e-6)


def test_vae_has_one_player_and_no_discriminator():
    vae = TASKS.build("vae(latent=5)", PICTURES)
    assert list(vae.roles) == ["generator", "encoder"]
    assert {n: p.roles for n, p in vae.players().items()} == {"generator": ("generator", "encoder")}
    assert dict(vae.roles["encoder"].heads) == {"latent": 10}
    assert (vae.roles["encoder"].data.classes, vae.roles["generator"].data.classes) == (0, 3)


# ------------------------------------------------------------------------------------------------------------- of both


@pytest.mark.parametrize("name", ["veegan", "vae"])
def test_samples_are_decoded_from_noise(name):
    found = task(f"{name}(latent=2)", PICTURES)
    y = torch.tensor([2, 0, 1, 1])
    z = draw().normal(2)
    flat = 2 * z.repeat(1, 3) + y[:, None]
    assert_close(found.sample(draw(), y), flat.view(B, 1, 2, 3))
    assert_close(found.sample(draw(), y, truncation=0.0), y.double()[:, None, None, None].expand(B, 1, 2, 3))


@pytest.mark.parametrize("name", ["veegan", "vae"])
def test_the_preview_shows_reals_decoded_again(name):
    """G(F(x)): of the VAE without its noise."""
    found, rows = task(f"{name}(latent=6)", PICTURES, latent=6), batch(PICTURES)
    columns = dict(found.preview(rows, draw()))
    assert list(columns) == ["real", "generated", "real again"]
    assert_close(columns["real again"], rows["x"] + rows["y"].view(-1, 1, 1, 1))
    assert_close(columns["generated"], found.sample(draw(), rows["y"]))


@pytest.mark.parametrize("name", ["veegan", "vae"])
def test_two_sizes_of_one_latent_are_refused_with_both_mends(name):
    found = task(f"{name}(latent=3)", PLANE, latent=2)
    with pytest.raises(UsageError, match=r"task\.latent=3.*task\.latent=2, or generator\.latent=3"):
        found.generate(batch(PLANE), draw())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("vae(sigma=0)", "sigma=0 is out of range"),
        ("vae(beta=-1)", "beta=-1 is out of range"),
        ("vae(latent=0)", "latent=0 is too small"),
        ("veegan(latent=-1)", "latent=-1 is too small"),
        ("veegan(labels=use)", "labels=use needs a source with labels"),
        ("veegan(reconstruction=-1)", "reconstruction=-1 is out of range"),
        ("veegan(deviation=-1)", "deviation=-1 is out of range"),
    ],
)
def test_refusals(spec, says):
    with pytest.raises(UsageError, match=says):
        TASKS.build(spec, PLANE)
