"""InfoGAN: what its codes are, and the losses of both players against a plain restatement."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softplus

from i2i.batch import Batch, DataSpec
from i2i.config.resolve import resolve_config
from i2i.methods.infogan import Deviation, InfoGAN
from i2i.networks.base import Discriminator, Generator
from i2i.networks.dcgan import DCGANDiscriminator, DCGANGenerator


def infogan(deviation: Deviation = "learned", **settings: Any) -> InfoGAN:
    torch.manual_seed(0)
    chosen: dict[str, Any] = {
        "generator": partial(DCGANGenerator, width=4, hidden=8),
        "discriminator": partial(DCGANDiscriminator, width=4, hidden=8),
        "noise": 5,
        "categories": (10, 3),
        "continuous": 2,
        "categorical_weight": 2.0,
        "continuous_weight": 0.1,
        "deviation": deviation,
    }
    return InfoGAN(DataSpec(16, 1, 1), **chosen | settings)


@pytest.fixture
def method() -> InfoGAN:
    return infogan()


def test_latents_are_noise_one_hot_codes_and_uniform_codes(method: InfoGAN) -> None:
    z = method.draw_latents(3000)
    assert z.shape == (3000, 5 + 10 + 3 + 2)
    categories, continuous = method.codes(z)
    for code, values, start in zip(categories, (10, 3), (5, 15), strict=True):
        counts = torch.bincount(code, minlength=values)
        assert counts.min() > 0.7 * 3000 / values
        one_hot = z[:, start : start + values]
        assert torch.equal(one_hot.sum(1), torch.ones(3000))
        assert torch.equal(one_hot.argmax(1), code)
    assert continuous.abs().max() <= 1
    assert continuous.std() == pytest.approx(1 / math.sqrt(3), abs=0.03)


def test_losses_are_the_papers(method: InfoGAN) -> None:
    real = torch.rand(6, 1, 16, 16)
    torch.manual_seed(1)
    z = method.draw_latents(6)
    torch.manual_seed(1)
    discriminator, generator = method.updates(iter([Batch(real)]))
    with torch.no_grad():
        fake = method.generator(z)
    logits, mean, log_variance = method.recognise(fake)
    categories, continuous = method.codes(z)
    for i, (read, code) in enumerate(zip(logits, categories, strict=True), 1):
        expected = -2.0 * log_softmax(read, 1)[torch.arange(6), code].mean()
        torch.testing.assert_close(discriminator.losses[f"category{i}"], expected)
    deviation = (0.5 * log_variance).exp()
    log_density = -0.5 * ((continuous - mean) / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(discriminator.losses["continuous"], -0.1 * log_density.sum(1).mean())
    adversarial = softplus(-method.discriminator(real)).mean() + softplus(method.discriminator(fake)).mean()
    torch.testing.assert_close(discriminator.losses["gan"], adversarial)
    assert generator.losses.keys() == discriminator.losses.keys()
    assert (discriminator.player, generator.player) == ("discriminator", "generator")


def test_a_fixed_deviation_is_a_squared_error() -> None:
    method, real = infogan("fixed"), torch.rand(6, 1, 16, 16)
    torch.manual_seed(1)
    z = method.draw_latents(6)
    torch.manual_seed(1)
    update = next(method.updates(iter([Batch(real)])))
    _, mean, log_variance = method.recognise(method.generator(z).detach())
    squares = (method.codes(z)[1] - mean).square().sum(1).mean()
    torch.testing.assert_close(update.losses["continuous"], 0.1 * (squares / 2 + math.log(2 * math.pi)))
    assert torch.equal(log_variance, torch.zeros(6, 2))
    assert method.recognition.head.out_features == infogan().recognition.head.out_features - 2


def test_the_recipe_is_appendix_c() -> None:
    config = resolve_config("infogan")
    weights = [config.method[f"{kind}_weight"] for kind in ("categorical", "continuous")]
    assert (weights, config.networks["discriminator"]["slope"]) == ([1.0, 1.0], 0.1)
    discriminator = DCGANDiscriminator(DataSpec(16, 1, 1), width=4, hidden=8, slope=0.1)
    slopes = [layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.1] * 3


def test_the_control_reads_codes_and_does_not_tell_the_generator() -> None:
    batch = Batch(torch.rand(6, 1, 16, 16))
    told, control = (infogan(maximize_information=told) for told in (True, False))
    updates = []
    for method in (told, control):
        torch.manual_seed(1)
        updates.append(list(method.updates(iter([batch]))))
    for mine, other in zip(updates[0][0].losses.values(), updates[1][0].losses.values(), strict=True):
        torch.testing.assert_close(mine, other)  # Q learns in both
    assert updates[1][1].losses.keys() == {"gan"}
    torch.testing.assert_close(updates[0][1].losses["gan"], updates[1][1].losses["gan"])
    assert updates[0][0].scores.keys() == updates[1][0].scores.keys()


class Writer(Generator):
    """Writes the latents (N, 20) into the first pixels of an image."""

    def __init__(self, data: DataSpec, latent: int) -> None:
        super().__init__()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return nn.functional.pad(z, (0, 256 - 20)).view(-1, 1, 16, 16)


class Pixels(Discriminator):
    """Has pixels for features."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.feature_count = 256
        self.scale = nn.Parameter(torch.ones(()))

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.scale * x.flatten(1)

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        return features.sum(1)


class Reader(nn.Module):
    """Q that reads what ``Writer`` wrote, or guesses as well as a Gaussian can."""

    def __init__(self, *, perfect: bool) -> None:
        super().__init__()
        self.perfect = perfect

    def forward(self, features: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        logits, mean = [50 * features[:, 5:15], 50 * features[:, 15:18]], features[:, 18:20]
        if self.perfect:
            return logits, mean, torch.full_like(mean, 2 * math.log(0.1))
        return [0 * read for read in logits], 0 * mean, torch.full_like(mean, math.log(1 / 3))


@pytest.mark.parametrize("told", [True, False])
def test_the_bound_of_the_information_is_plotted(told: bool) -> None:
    found = []
    for perfect in (True, False):
        method = infogan(generator=Writer, discriminator=Pixels, maximize_information=told)
        method.recognition = Reader(perfect=perfect)  # type: ignore[assignment]
        torch.manual_seed(1)
        update = next(iter(method.updates(iter([Batch(torch.rand(4000, 1, 16, 16))]))))
        found.append({name: value.item() for name, value in update.scores.items() if name.startswith("information")})
    assert found[0].keys() == {"information_category1", "information_category2", "information_continuous"}
    read, guessed = found
    assert read["information_category1"] == pytest.approx(math.log(10))
    assert read["information_category2"] == pytest.approx(math.log(3))
    assert guessed["information_category1"] == pytest.approx(0, abs=1e-6)
    assert guessed["information_category2"] == pytest.approx(0, abs=1e-6)
    # Two codes, each with H = log 2: a reading of deviation 0.1, and the Gaussian nearest to the uniform distribution.
    certain = math.log(2) - math.log(0.1) - 0.5 * math.log(2 * math.pi)
    nearest = math.log(2) - 0.5 * (math.log(2 * math.pi / 3) + 1)
    assert read["information_continuous"] == pytest.approx(2 * certain, abs=1e-4)
    assert guessed["information_continuous"] == pytest.approx(2 * nearest, abs=0.06)


def test_a_code_changes_alone(method: InfoGAN) -> None:
    z = method.draw_latents(4)
    assert method.code_names() == ["category1", "category2", "continuous1", "continuous2"]
    for name, place in (("category1", slice(5, 15)), ("category2", slice(15, 18)), ("continuous2", slice(19, 20))):
        changed = method.with_code(z, name, 1, 5)
        outside = torch.ones(20, dtype=torch.bool)
        outside[place] = False
        assert torch.equal(changed[:, outside], z[:, outside])
        if name.startswith("category"):
            assert torch.equal(changed[:, place].argmax(1), torch.ones(4, dtype=torch.long))
            assert torch.equal(changed[:, place].sum(1), torch.ones(4))
        else:
            assert torch.equal(changed[:, place], torch.full((4, 1), -1.0))  # from -2 to 2 in five columns


def test_the_players_share_nothing_and_q_is_kept(method: InfoGAN) -> None:
    players = {player: {id(p) for m in modules for p in m.parameters()} for player, modules in method.players().items()}
    assert not players["generator"] & players["discriminator"]
    assert {id(p) for p in method.recognition.parameters()} <= players["discriminator"]
    assert any(key.startswith("recognition.") for key in method.inference_state())
    previews = method.eval().preview(Batch(torch.zeros(2, 1, 16, 16)))
    assert previews.keys() == {"samples", *method.code_names()}
