"""Zero-centred penalties as options of methods, and the objective that goes with them, in whole updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrize import is_parametrized

from i2i.batch import Batch, DataSpec
from i2i.config.resolve import resolve_config
from i2i.errors import ConfigError
from i2i.methods.base import Progress, Update
from i2i.methods.cut import CUT
from i2i.methods.cyclegan import CycleGAN
from i2i.methods.gan import GAN
from i2i.methods.pix2pix import Pix2Pix
from i2i.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from i2i.networks.patchgan import PatchGAN
from i2i.networks.resnet import ResNetGenerator
from i2i.training.engine import Engine

from .toys import CPU, prepare, stream_of

A, B = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(2))
PENALTIES = {"r1": 2.0, "r2": 3.0, "mixed_penalty": 5.0}


def make(method: type[Any], **settings: Any) -> Any:
    torch.manual_seed(0)
    return method(
        DataSpec(16, 3, 3),
        generator=partial(ResNetGenerator, width=4, blocks=1),
        discriminator=partial(PatchGAN, width=4, layers=1),
        **settings,
    )


def discriminator_update(method: Any) -> Update:
    updates: list[Update] = list(method.updates(iter([Batch(A, B)])))
    return next(each for each in updates if each.player == "discriminator")


def slope(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The mean squared norm of the gradients of each image's mean score."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(images).mean((1, 2, 3)).sum(), images)
    return gradient.square().sum((1, 2, 3)).mean()


@pytest.mark.parametrize("method", [CycleGAN, CUT, Pix2Pix])
def test_translators_take_penalties_at_real_and_generated_images(method: type[Any]) -> None:
    built = make(method, **PENALTIES)
    losses = discriminator_update(built).losses
    if method is CycleGAN:
        critic, fake, suffix = built.discriminator_B, built.generator_AtoB(A), "_B"
    elif method is CUT:
        critic, fake, suffix = built.discriminator, built.generator(A), ""
    else:
        fake, suffix = built.generator(A), ""

        def critic(images: Tensor) -> Tensor:
            scores: Tensor = built.discriminator(torch.cat([A, images], 1))
            return scores

    torch.testing.assert_close(losses[f"r1{suffix}"], 2 * slope(critic, B))
    torch.testing.assert_close(losses[f"r2{suffix}"], 3 * slope(critic, fake))
    assert losses[f"mixed_penalty{suffix}"] > 0
    plain = discriminator_update(make(method)).losses
    assert {name for name in losses if "gan" in name} == set(plain)
    assert all(torch.equal(losses[name], value) for name, value in plain.items())


@pytest.mark.parametrize("method", [CycleGAN, CUT, Pix2Pix])
def test_lazy_penalties_come_in_every_so_many_steps_and_weigh_as_much_more(method: type[Any]) -> None:
    each, lazy = make(method, r1=2.0), make(method, r1=2.0, penalty_every=4)
    seen = []
    for step in range(5):
        lazy.progress = Progress(step, 2 * step, 0.0)
        seen.append([loss for name, loss in discriminator_update(lazy).losses.items() if name.startswith("r1")])
    assert [bool(losses) for losses in seen] == [True, False, False, False, True]
    once = [loss for name, loss in discriminator_update(each).losses.items() if name.startswith("r1")]
    torch.testing.assert_close(seen[0], [4 * loss for loss in once])


def test_r3gans_losses() -> None:
    torch.manual_seed(0)
    method = GAN(
        DataSpec(16, 3, 3),
        generator=partial(DCGANGenerator, width=4),
        discriminator=partial(DCGANDiscriminator, width=4, norm="none"),
        objective="relativistic",
        latent=8,
        r1=0.5,
        r2=0.5,
    )
    method.generator.eval()  # the same latents then give the same images
    torch.manual_seed(1)
    z = method.draw_latents(2), method.draw_latents(2)
    torch.manual_seed(1)
    for_discriminator, for_generator = method.updates(iter([Batch(A)]))

    def critic(images: Tensor) -> Tensor:
        scores: Tensor = method.discriminator(images)
        return scores[:, None, None, None]

    real, fake, later = critic(A), *(critic(method.generator(each)) for each in z)
    torch.testing.assert_close(for_discriminator.losses["gan"], softplus(fake - real).mean())
    torch.testing.assert_close(for_discriminator.losses["r1"], 0.5 * slope(critic, A))
    torch.testing.assert_close(for_discriminator.losses["r2"], 0.5 * slope(critic, method.generator(z[0])))
    torch.testing.assert_close(for_generator.losses["gan"], softplus(real - later).mean())


@pytest.mark.parametrize("arch", ["cyclegan-fast", "cut", "pix2pix", "infogan"])
def test_a_relativistic_step_trains_every_network(arch: str, data_for: Callable[[str], Path]) -> None:
    config, data = prepare(arch, data_for(arch), "method.objective=relativistic", "training.batch_size=4")
    engine = Engine(config, CPU)
    values = engine.step(stream_of(config, data), 0.0)
    assert all(value.isfinite() for value in values.values())
    assert all(p.grad is not None for own in engine.parameters.values() for p in own)


def test_spectral_norm_bounds_every_layer_of_a_patchgan() -> None:
    torch.manual_seed(0)
    network = PatchGAN(3, width=4, layers=2, norm="none", spectral=True)
    for _ in range(30):
        network(A)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert all(is_parametrized(layer, "weight") for layer in layers)
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_what_cannot_work_is_refused() -> None:
    networks: dict[str, Any] = {"generator": ResNetGenerator, "discriminator": partial(PatchGAN, norm="batch")}
    with pytest.raises(ConfigError, match=r"method\.mixed_penalty .*batch norm"):
        Pix2Pix(DataSpec(16, 3, 3), **networks, mixed_penalty=1.0)
    for arch in ("cyclegan", "cut", "pix2pix", "dcgan"):
        with pytest.raises(ConfigError, match=r"penalty_every: 8 would have no effect; set r1"):
            resolve_config(arch, assignments=["method.penalty_every=8"])
    networks = {"generator": DCGANGenerator, "discriminator": DCGANDiscriminator}
    labelled = DataSpec(16, 3, 3, 2)
    with pytest.raises(ConfigError, match=r"set method\.fake_labels=batch"):
        GAN(labelled, **networks, labels="required", fake_labels="uniform", objective="relativistic")
