"""BicycleGAN: updates against a plain restatement, an encoder that is not moved by z, and latents that are not lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from i2i.batch import Batch, DataSpec
from i2i.config.components import without
from i2i.config.resolve import read_recipe, resolve_config
from i2i.errors import ConfigError
from i2i.losses.latent import divergence_from_normal
from i2i.methods.bicyclegan import BicycleGAN
from i2i.networks.encoder import ResNetEncoder
from i2i.networks.layers import Norm
from i2i.networks.patchgan import PatchGAN
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.unet import UNetGenerator
from i2i.training.engine import Engine

from .toys import CPU, prepare

LATENT = 8


def make(**settings: Any) -> BicycleGAN:
    torch.manual_seed(0)
    return BicycleGAN(
        DataSpec(16, 1, 3),
        generator=partial(UNetGenerator, width=4, depth=3, norm="instance", init_gain=0.5),
        discriminator=partial(PatchGAN, width=4, layers=1, init_gain=0.5),
        encoder=partial(ResNetEncoder, width=4, blocks=1, init_gain=1.0),
        **settings,
    )


@pytest.mark.parametrize("conditional", [False, True])
def test_losses_are_the_papers(conditional: bool) -> None:
    method = make(conditional=conditional, l1_weight=7.0, kl_weight=0.3, latent_weight=2.0)
    random = torch.Generator().manual_seed(1)
    batches = [Batch(*(torch.rand(2, c, 16, 16, generator=random) * 2 - 1 for c in (1, 3))) for _ in range(2)]
    (a, b), (other_a, other_b) = ((batch.a, batch.other()) for batch in batches)
    torch.manual_seed(5)
    g, e = method.generator, method.encoder
    noise, z = torch.randn(2, LATENT), torch.randn(2, LATENT)
    mean, log_variance = e(b)
    encoded, answer = g(a, mean + log_variance.exp().sqrt() * noise), g(a, z)
    torch.manual_seed(5)
    generator, discriminator = method.updates(iter(batches))  # nothing steps in between

    def scores(kind: str, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        shown = torch.cat([source, image], dim=1) if conditional else image
        whole, halved = (getattr(method, f"discriminator_{kind}{scale}") for scale in ("", "_halved"))
        # The mean of the 3x3 pixels around every second one, of those that there are.
        return [whole(shown), halved.discriminator(avg_pool2d(shown, 3, 2, 1, count_include_pad=False))]

    expected = {
        "gan_encoded": sum((score - 1).square().mean() for score in scores("encoded", a, encoded)),
        "gan_random": sum((score - 1).square().mean() for score in scores("random", a, answer)),
        "l1": 7 * (encoded - b).abs().mean(),
        "kl": 0.3 * -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / 2,
        "latent": 2 * (e(answer)[0] - z).abs().mean(),
    }
    assert generator.player == "generator"
    assert generator.losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(generator.losses[name], value)
    for kind, source, real, fake in (("encoded", a, b, encoded), ("random", other_a, other_b, answer)):
        right = sum((score - 1).square().mean() for score in scores(kind, source, real))
        wrong = sum(score.square().mean() for score in scores(kind, a, fake))
        torch.testing.assert_close(discriminator.losses[f"gan_{kind}"], right + wrong)


def test_the_regression_of_z_moves_the_generator_alone() -> None:
    method = make()
    loss = next(iter(method.updates(iter([Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16))] * 2)))).losses
    weights = [*method.encoder.parameters()]
    assert all(
        each is None for each in torch.autograd.grad(loss["latent"], weights, retain_graph=True, allow_unused=True)
    )
    moved = torch.autograd.grad(loss["latent"], [*method.generator.parameters()], retain_graph=True)
    assert any(each.abs().max() > 0 for each in moved)
    assert all(each.abs().max() > 0 for each in torch.autograd.grad(loss["l1"], weights) if each.ndim > 1)


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 5, LATENT)
    of = torch.distributions.Normal(mean, log_variance.exp().sqrt())
    expected = torch.distributions.kl_divergence(of, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence_from_normal(mean, log_variance), expected)


def test_a_latent_that_a_norm_would_remove_is_refused() -> None:
    def with_resnet(norm: Norm) -> BicycleGAN:
        return BicycleGAN(
            DataSpec(16, 3, 3),
            generator=partial(ResNetGenerator, width=4, blocks=1, norm=norm),
            discriminator=partial(PatchGAN, width=4, layers=1),
            encoder=partial(ResNetEncoder, width=4, blocks=1),
        )

    for norm in ("instance", "batch"):
        with pytest.raises(ConfigError, match=r"would remove: use networks\.generator\.name=unet"):
            with_resnet(norm)
    generator = with_resnet("none").generator
    answers = [generator(torch.zeros(1, 3, 16, 16), torch.full((1, LATENT), value)) for value in (-1.0, 1.0)]
    assert not torch.equal(*answers)


def test_previews_show_the_answers_of_the_first_seeds(toy_set: Path) -> None:
    config, data = prepare("bicyclegan", toy_set, "networks.generator.init_gain=1", "inference.seed=2")
    engine = Engine(config, CPU)
    batch = data.preview(2)
    (rows,) = engine.preview(batch).values()
    source, truth, encoded, *answers = torch.split(rows, 16, dim=3)
    torch.testing.assert_close(source, batch.a)
    torch.testing.assert_close(truth, batch.other())
    assert len(answers) == 3
    with engine.at_inference() as method:
        assert isinstance(method, BicycleGAN)
        torch.testing.assert_close(answers[2], method.generator(batch.a))
        torch.testing.assert_close(encoded, method.generator(batch.a, method.encoder(batch.other())[0]))
    assert not torch.equal(answers[0], answers[1])


def test_the_encoder_is_that_of_the_released_code() -> None:
    settings = read_recipe("bicyclegan")["networks"]["encoder"]
    encoder = ResNetEncoder(3, LATENT, **without(settings, "name"))
    stages = encoder.stages()
    convolutions = [stages[name] if name == "layer" else stages[name].get_submodule("conv2") for name in stages]
    assert [getattr(each, "out_channels", None) for each in convolutions] == [64, 128, 192, 256, 256]
    blocks = [resolve_config("bicyclegan", options={"image_size": n}).networks["encoder"]["blocks"] for n in (64, 128)]
    assert blocks == [2, 3]
    mean, log_variance = ResNetEncoder(3, LATENT, width=4, blocks=3)(torch.rand(2, 3, 37, 50))
    assert mean.shape == log_variance.shape == (2, LATENT)
