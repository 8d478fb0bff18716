"""GAN and unrolled GAN: updates against plain restatements of the papers, and recipes that cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from i2i.batch import Batch, DataSpec
from i2i.build import build_method
from i2i.config.resolve import resolve_config
from i2i.errors import ConfigError
from i2i.methods.gan import GAN
from i2i.methods.unrolled import UnrolledGAN
from i2i.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from i2i.networks.layers import LabelUse
from i2i.networks.mlp import MLPDiscriminator, MLPGenerator
from i2i.training.engine import Engine
from i2i.world import as_rank

from .toys import CPU, prepare, stream_of

SPEC = DataSpec(8, 1, 1)


def make(**settings: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(
        SPEC,
        generator=partial(MLPGenerator, width=8, depth=1),
        discriminator=partial(MLPDiscriminator, width=8, depth=1),
        latent=4,
        **settings,
    )


def numbered_batches() -> Iterator[Batch]:
    for number in range(100):
        yield Batch(torch.full((4, 1, 8, 8), number / 100))


def test_losses_are_the_papers() -> None:
    method = make(objective="minimax")
    torch.manual_seed(1)
    z_first, z_second = torch.randn(4, 4), torch.randn(4, 4)
    torch.manual_seed(1)
    discriminator, generator = list(method.updates(numbered_batches()))
    real = torch.zeros(4, 1, 8, 8)
    probability_real, probability_fake, probability_later = (
        torch.sigmoid(method.discriminator(x)) for x in (real, method.generator(z_first), method.generator(z_second))
    )
    ones, zeros = torch.ones(4), torch.zeros(4)
    expected = binary_cross_entropy(probability_real, ones) + binary_cross_entropy(probability_fake, zeros)
    torch.testing.assert_close(discriminator.losses["gan"], expected)
    torch.testing.assert_close(generator.losses["gan"], torch.log(1 - probability_later).mean())


def test_every_discriminator_step_takes_a_new_batch_and_new_latents() -> None:
    method = make(discriminator_steps=3)
    batches = numbered_batches()
    updates = list(method.updates(batches))
    assert [update.player for update in updates] == ["discriminator"] * 3 + ["generator"]
    assert next(batches).a[0, 0, 0, 0] == pytest.approx(0.03)
    assert len({update.scores["fake"].item() for update in updates[:3]}) == 3


def test_the_discriminator_does_not_reach_the_generator() -> None:
    method = make()
    update, _ = method.updates(numbered_batches())
    torch.autograd.backward(list(update.losses.values()))
    assert all(parameter.grad is None for parameter in method.generator.parameters())


def test_the_critic_stays_clipped(labelled_set: Path) -> None:
    config, data = prepare("wgan", labelled_set, "method.clip=0.01")
    engine = Engine(config, CPU)
    values = engine.step(stream_of(config, data), 0.0)
    assert all(parameter.abs().max() <= 0.01 for parameter in engine.method.get_submodule("discriminator").parameters())
    assert values["score/wasserstein"] == pytest.approx((values["score/real"] - values["score/fake"]).item(), abs=1e-6)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan", "r1"])
def test_penalties_are_in_the_loss_with_their_weight(name: str) -> None:
    one, three = (make(**{name: weight}) for weight in (1.0, 3.0))
    losses = []
    for method in (one, three):
        torch.manual_seed(5)
        losses.append(next(iter(method.updates(numbered_batches()))).losses)
    assert losses[0].keys() == {"gan", name}
    torch.testing.assert_close(losses[1][name], 3 * losses[0][name])
    torch.testing.assert_close(losses[0]["gan"], losses[1]["gan"])


@pytest.mark.parametrize(
    ("arch", "settings", "reason"),
    [
        ("gan", ["method.objective=wasserstein"], "nothing bounds"),
        ("infogan", ["method.objective=wasserstein"], "nothing bounds"),
        ("cyclegan", ["method.objective=wasserstein"], "nothing bounds"),
        ("wgan", ["method.clip=0"], "nothing bounds"),
        ("wgan-gp", ["networks.discriminator.norm=batch"], r"set networks\.discriminator\.norm to none"),
        ("dcgan", ["method.r1=1"], r"method\.r1"),
        ("dcgan", ["method.dragan=1"], r"method\.dragan"),
        ("wgan-gp", ["method.fake_labels=uniform", "method.labels=optional"], r"set method\.fake_labels=batch"),
        ("dcgan", ["image_size=72", "data.load_size=72"], "cannot be halved"),
    ],
)
def test_recipes_that_cannot_work_are_refused(arch: str, settings: list[str], reason: str, labelled_set: Path) -> None:
    config = resolve_config(arch, assignments=[*settings, "data.channels_a=3"])
    with pytest.raises(ConfigError, match=reason), torch.device("meta"):
        build_method(config.model)


def test_spectral_norm_bounds_a_wasserstein_critic() -> None:
    make = partial(GAN, DataSpec(16, 1, 1), generator=partial(DCGANGenerator, width=4), objective="wasserstein")
    critic = partial(DCGANDiscriminator, width=4, norm="none")
    assert make(discriminator=partial(critic, spectral=True)).objective == "wasserstein"
    with pytest.raises(ConfigError, match="nothing bounds"):
        make(discriminator=critic)


@pytest.mark.parametrize("labels", ["concatenate", "project"])
def test_labels_reach_both_players(labels: LabelUse) -> None:
    torch.manual_seed(0)
    spec = DataSpec(16, 1, 1, classes=3)
    z, y, other = torch.randn(2, 5), torch.tensor([0, 1]), torch.tensor([2, 1])
    for generator in (MLPGenerator(spec, 5, width=8), DCGANGenerator(spec, 5, width=4)):
        generator.eval()
        first, second = generator(z, y), generator(z, other)
        assert not torch.equal(first[0], second[0])
        torch.testing.assert_close(first[1], second[1])
    for network in (MLPDiscriminator, DCGANDiscriminator):
        discriminator = network(spec, width=4, labels=labels).eval()
        scores = [discriminator(torch.ones(2, 1, 16, 16), label) for label in (y, other)]
        assert scores[0].shape == (2,)
        assert scores[0][0] != scores[1][0]
        torch.testing.assert_close(scores[0][1], scores[1][1])
        with pytest.raises(ValueError, match="needs labels"):
            discriminator(torch.ones(2, 1, 16, 16))


@pytest.mark.parametrize(("size", "maps", "count"), [(28, (7, 128), 2), (32, (4, 256), 3), (64, (4, 512), 4)])
def test_dcgan_has_the_papers_shape(size: int, maps: tuple[int, int], count: int) -> None:
    spec = DataSpec(size, 3, 3)
    generator, discriminator = DCGANGenerator(spec, 100), DCGANDiscriminator(spec)
    x = torch.randn(2, 100)
    sides = []
    for stage in generator.stages().values():
        x = stage(x)
        sides.append((x.shape[2], x.shape[1]))
    assert sides[0] == maps
    assert sides == [(maps[0] * 2**i, maps[1] // 2**i) for i in range(count)]
    images = generator(torch.randn(2, 100))
    assert images.shape == (2, 3, size, size)
    assert discriminator(images).shape == (2,)
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in n.modules()) for n in (generator, discriminator)]
    assert norms == [count, count - 1]  # none at the generator's output and at the discriminator's input


@pytest.mark.parametrize(("size", "expected"), [(28, [7, 14]), (32, [4, 8, 16]), (64, [4, 8, 16, 32])])
def test_the_papers_filters_of_five_double_and_halve_exactly(size: int, expected: list[int]) -> None:
    spec = DataSpec(size, 3, 3)
    generator = DCGANGenerator(spec, 10, width=2, kernel=5)
    discriminator = DCGANDiscriminator(spec, width=2, kernel=5)
    x, sides = torch.randn(2, 10), []
    for stage in generator.stages().values():
        x = stage(x)
        sides.append(x.shape[2])
    assert sides == expected
    seen = generator(torch.randn(2, 10))
    assert seen.shape == (2, 3, size, size)
    for stage, side in zip(discriminator.stages().values(), reversed(sides), strict=True):
        seen = stage(seen)
        assert seen.shape[2:] == (side, side)


def test_dcgan_offers_the_papers_own_networks() -> None:
    """Radford et al. 2016, figure 1, and the weights of the authors' code: 1,024 first maps, filters of 5x5."""
    settings = [
        f"networks.{player}.{key}" for player in ("generator", "discriminator") for key in ("width=128", "kernel=5")
    ]
    config = resolve_config("dcgan", assignments=[*settings, "data.channels_a=3"])
    with torch.device("meta"):
        method = build_method(config.model)
    shapes = {name: tuple(weight.shape) for name, weight in method.named_parameters() if weight.ndim == 4}
    assert list(shapes.values()) == [
        (100, 1024, 4, 4),
        (1024, 512, 5, 5),
        (512, 256, 5, 5),
        (256, 128, 5, 5),
        (128, 3, 5, 5),
        (128, 3, 5, 5),
        (256, 128, 5, 5),
        (512, 256, 5, 5),
        (1024, 512, 5, 5),
    ]


def labelled(**settings: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(
        DataSpec(8, 1, 1, classes=3),
        generator=partial(MLPGenerator, width=8, depth=1),
        discriminator=partial(MLPDiscriminator, width=8, depth=1),
        latent=4,
        labels="required",
        **settings,
    )


def labels_seen(method: GAN, batch: Batch) -> list[list[int]]:
    """The labels of each call of a network, in order, for one step."""
    seen: list[list[int]] = []
    for network in (method.generator, method.discriminator):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].tolist()))
    torch.manual_seed(4)
    list(method.updates(iter([batch])))
    return seen


def test_generated_images_have_the_labels_of_the_batch_or_labels_of_their_own() -> None:
    batch = Batch(torch.zeros(64, 1, 8, 8), label=torch.zeros(64, dtype=torch.long))
    assert labels_seen(labelled(), batch) == [[0] * 64] * 5
    drawn, real, judged, later, judged_later = labels_seen(labelled(fake_labels="uniform"), batch)
    assert real == [0] * 64
    assert (drawn, later) == (judged, judged_later)
    assert drawn != later
    assert all(min(labels.count(value) for value in range(3)) > 10 for labels in (drawn, later))


def test_drawn_labels_do_not_depend_on_the_number_of_processes() -> None:
    def drawn(batch: Batch) -> list[int]:
        return labels_seen(labelled(fake_labels="uniform"), batch)[0]

    real, label = torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)
    parts = []
    for rank in range(2):
        with as_rank(rank, 2):
            parts.append(drawn(Batch(real[rank::2], label=label[rank::2])))
    assert [parts[i % 2][i // 2] for i in range(8)] == drawn(Batch(real, label=label))


def test_real_and_generated_images_meet_the_same_spectral_norm() -> None:
    torch.manual_seed(0)
    method = GAN(
        DataSpec(16, 1, 1),
        generator=partial(DCGANGenerator, width=4),
        discriminator=partial(DCGANDiscriminator, width=4, norm="none", spectral=True),
        latent=4,
    )
    layer = method.discriminator.get_submodule("layer2.0")
    weight = layer.get_parameter("parametrizations.weight.original").flatten(1)
    v = torch.nn.functional.normalize(torch.randn(weight.shape[1]), dim=0)
    layer.get_buffer("parametrizations.weight.0._v").copy_(v)  # far from where iterations end
    updates = method.updates(iter([Batch(torch.rand(4, 1, 16, 16))]))
    for _ in range(2):  # one power iteration for the discriminator's update, one for the generator's
        next(updates)
        u = torch.nn.functional.normalize(weight @ v, dim=0)
        v = torch.nn.functional.normalize(weight.T @ u, dim=0)
        torch.testing.assert_close(layer.get_buffer("parametrizations.weight.0._v"), v)


def unrolled(steps: int) -> UnrolledGAN:
    torch.manual_seed(0)
    return UnrolledGAN(
        DataSpec(1, 2, 2),
        generator=partial(MLPGenerator, width=8, depth=1, output="linear"),
        discriminator=partial(MLPDiscriminator, width=1, depth=1, activation="tanh"),
        latent=4,
        unrolled_steps=steps,
        unrolled_rate=0.5,
    )


def test_the_generator_sees_the_unrolled_discriminator() -> None:
    method = unrolled(2)
    torch.manual_seed(1)
    torch.randn(6, 4)
    z = torch.randn(6, 4)
    real = torch.randn(6, 2, 1, 1, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    _, update = method.updates(iter([Batch(real)]))
    (gradient,) = torch.autograd.grad(update.losses["gan"], [method.generator.get_parameter("head.weight")])

    def loss_of(head: Tensor) -> Tensor:
        """The same by hand: D(x) = v tanh(w x + b) + c, two gradient steps, then the value of the game."""
        fake = torch.func.functional_call(method.generator, {"head.weight": head}, (z,)).flatten(1)
        layer, linear = (
            method.discriminator.get_submodule("hidden.0"),
            method.discriminator.get_submodule("head.linear"),
        )
        parameters = [p.detach().clone().requires_grad_() for p in (*layer.parameters(), *linear.parameters())]

        def score(x: Tensor) -> Tensor:
            w, b, v, c = parameters
            return torch.tanh(x @ w.T + b) @ v.T + c

        def value() -> Tensor:
            d_real, d_fake = torch.sigmoid(score(real.flatten(1))), torch.sigmoid(score(fake))
            return d_real.log().mean() + (1 - d_fake).log().mean()

        for _ in range(2):
            steps = torch.autograd.grad(value(), parameters, create_graph=True)
            parameters = [p + 0.5 * g for p, g in zip(parameters, steps, strict=True)]
        return value()

    head = method.generator.get_parameter("head.weight").detach().clone().requires_grad_()
    loss = loss_of(head)
    torch.testing.assert_close(update.losses["gan"], loss)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss, [head])[0])


def test_the_unrolled_recipe_is_the_papers_appendix_a() -> None:
    config = resolve_config("unrolled", assignments=["data.channels_a=2"])
    assert {optimizer.lr for optimizer in config.optimizers.values()} == {1e-4}
    torch.manual_seed(0)
    method = build_method(config.model)
    assert isinstance(method, UnrolledGAN)
    assert (method.unrolled_steps, method.latent) == (10, 256)
    layers = [layer for layer in method.discriminator.modules() if isinstance(layer, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(128, 2), (1, 128)]
    for layer in layers:
        values = torch.linalg.svdvals(layer.weight)
        torch.testing.assert_close(values, torch.full_like(values, 0.8))
    x = torch.randn(3, 2, 1, 1)
    hidden = torch.relu(x.flatten(1) / 4 @ layers[0].weight.T + layers[0].bias)
    torch.testing.assert_close(method.discriminator(x), (hidden @ layers[1].weight.T + layers[1].bias)[:, 0])


def test_no_unrolled_steps_are_a_plain_gan() -> None:
    plain, looking = unrolled(0), unrolled(5)
    real = torch.randn(6, 2, 1, 1)
    gradients: list[Tensor] = []
    for method in (plain, looking):
        torch.manual_seed(1)
        _, update = method.updates(iter([Batch(real)]))
        gradients += torch.autograd.grad(update.losses["gan"], [method.generator.get_parameter("head.weight")])
    torch.manual_seed(1)
    torch.randn(6, 4)
    score = plain.discriminator(plain.generator(torch.randn(6, 4)))
    minimax = (1 - torch.sigmoid(score)).log().mean()
    torch.testing.assert_close(
        gradients[0], torch.autograd.grad(minimax, [plain.generator.get_parameter("head.weight")])[0]
    )
    assert not torch.allclose(gradients[0], gradients[1])


def test_latents_do_not_depend_on_the_number_of_processes() -> None:
    method = make()
    torch.manual_seed(3)
    whole = method.latents_for(Batch(torch.zeros(4, 1, 8, 8)))
    parts = []
    for rank in range(2):
        torch.manual_seed(3)
        with as_rank(rank, 2):
            parts.append(method.latents_for(Batch(torch.zeros(2, 1, 8, 8))))
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


def test_uniform_latents_and_truncated_ones() -> None:
    z = make(prior="uniform").draw_latents(1000)
    assert z.min() < -0.9
    assert z.abs().max() <= 1
    z = make().draw_latents(1000, truncation=0.5)
    assert z.abs().max() <= 0.5
    assert 0.2 < z.std() < 0.3  # a normal cut at half a deviation is nearly uniform: 0.28
