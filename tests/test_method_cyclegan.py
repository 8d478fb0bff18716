"""CycleGAN's updates against a plain restatement of the paper's losses."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from i2i.batch import Batch, DataSpec
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective
from i2i.methods.cyclegan import CycleGAN, CycleGradient
from i2i.methods.history import ImageHistory
from i2i.networks.patchgan import PatchGAN
from i2i.networks.resnet import ResNetGenerator


def make(
    identity_weight: float = 0.5,
    history: int = 0,
    channels: tuple[int, int] = (3, 3),
    objective: Objective = "lsgan",
    cycle_gradient: CycleGradient = "both",
) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(
        DataSpec(16, *channels),
        generator=partial(ResNetGenerator, width=4, blocks=1),
        discriminator=partial(PatchGAN, width=4, layers=1),
        objective=objective,
        cycle_weight=10.0,
        cycle_gradient=cycle_gradient,
        identity_weight=identity_weight,
        history=history,
    )


def mean_square(x: Tensor, target: float) -> Tensor:
    return ((x - target) ** 2).mean()


def l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


@pytest.mark.parametrize("identity_weight", [0.5, 0.0])
def test_losses_are_the_papers(identity_weight: float) -> None:
    method = make(identity_weight)
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    generator, discriminator = list(method.updates(iter([Batch(a, b)])))
    g, f, d_a, d_b = method.generator_AtoB, method.generator_BtoA, method.discriminator_A, method.discriminator_B
    expected = {
        "gan_A": mean_square(d_a(f(b)), 1),
        "gan_B": mean_square(d_b(g(a)), 1),
        "cycle_A": 10 * l1(f(g(a)), a),
        "cycle_B": 10 * l1(g(f(b)), b),
    }
    if identity_weight:
        expected |= {"identity_A": 5 * l1(f(a), a), "identity_B": 5 * l1(g(b), b)}
    assert generator.losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(generator.losses[name], value)
    for domain, network, real, fake in (("A", d_a, a, f(b)), ("B", d_b, b, g(a))):
        halved = 0.5 * (mean_square(network(real), 1) + mean_square(network(fake), 0))
        torch.testing.assert_close(discriminator.losses[f"gan_{domain}"], halved)
        torch.testing.assert_close(discriminator.scores[f"real_{domain}"], network(real).mean().detach())
        torch.testing.assert_close(discriminator.scores[f"fake_{domain}"], network(fake).mean().detach())
    assert (generator.player, discriminator.player) == ("generator", "discriminator")


@pytest.mark.parametrize("cycle_gradient", ["both", "last"])
def test_a_reconstruction_moves_the_generators_that_are_asked_for(cycle_gradient: CycleGradient) -> None:
    method = make(cycle_gradient=cycle_gradient)
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    losses = next(method.updates(iter([Batch(a, b)]))).losses
    g, f = method.generator_AtoB, method.generator_BtoA
    for name, first, last, real in (("cycle_A", g, f, a), ("cycle_B", f, g, b)):
        expected = torch.autograd.grad(10 * l1(last(first(real).detach()), real), list(last.parameters()))
        networks = [last, first] if cycle_gradient == "both" else [last]
        found = torch.autograd.grad(
            losses[name], [w for each in networks for w in each.parameters()], retain_graph=True
        )
        torch.testing.assert_close(found[: len(expected)], expected)
        if cycle_gradient == "last":
            moved = torch.autograd.grad(losses[name], list(first.parameters()), allow_unused=True, retain_graph=True)
            assert all(gradient is None for gradient in moved)


def test_the_discriminators_losses_are_halved_whatever_the_objective() -> None:
    method = make(objective="non_saturating")
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    _, discriminator = list(method.updates(iter([Batch(a, b)])))
    real, fake = (torch.sigmoid(method.discriminator_B(x)) for x in (b, method.generator_AtoB(a)))
    halved = -0.5 * (real.log().mean() + (1 - fake).log().mean())
    torch.testing.assert_close(discriminator.losses["gan_B"], halved)


def test_the_discriminator_does_not_reach_the_generator() -> None:
    method = make()
    batch = Batch(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    *_, discriminator = method.updates(iter([batch]))
    torch.autograd.backward(list(discriminator.losses.values()))
    assert all(p.grad is None for p in method.generator_AtoB.parameters())


def test_history_fills_and_then_exchanges_about_half() -> None:
    history = ImageHistory(50, 1, 2)
    filling = torch.arange(50.0).reshape(50, 1, 1, 1).expand(50, 1, 2, 2)
    assert torch.equal(history.exchange(filling), filling)
    torch.manual_seed(0)
    new = torch.full((1000, 1, 2, 2), 1000.0) + torch.arange(1000.0).reshape(-1, 1, 1, 1)
    shown = torch.cat([history.exchange(image[None]) for image in new])
    old = (shown != new)[:, 0, 0, 0]
    assert 430 < old.sum() < 570
    assert (shown[old] < new[old]).all()


def test_a_batch_larger_than_the_history_loses_no_image_and_shows_none_twice() -> None:
    history = ImageHistory(5, 1, 2)
    images = torch.arange(45.0).reshape(45, 1, 1, 1).expand(45, 1, 2, 2)
    history.exchange(images[:5])
    torch.manual_seed(0)
    shown = history.exchange(images[5:])
    assert (shown != images[5:])[:, 0, 0, 0].sum() == 5
    assert torch.equal(torch.cat([shown, history.images])[:, 0, 0, 0].sort().values, images[:, 0, 0, 0])


def test_history_is_part_of_the_state_and_can_be_off() -> None:
    history = ImageHistory(4, 1, 2)
    history.exchange(torch.ones(3, 1, 2, 2))
    other = ImageHistory(4, 1, 2)
    other.load_state_dict(history.state_dict())
    assert other.stored == 3
    assert torch.equal(other.images, history.images)
    fakes = torch.ones(1, 1, 2, 2, requires_grad=True)
    shown = ImageHistory(0, 1, 2).exchange(fakes)
    assert torch.equal(shown, fakes)
    assert not shown.requires_grad


def test_identity_needs_equal_channels() -> None:
    with pytest.raises(ConfigError, match=r"set method\.identity_weight=0"):
        make(0.5, channels=(1, 3))
    assert make(0.0, channels=(1, 3)).translate(torch.zeros(1, 1, 16, 16), "AtoB").shape == (1, 3, 16, 16)
