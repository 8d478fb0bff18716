"""pix2pix: updates against a plain restatement of the paper, and an inference mode that the weight file states."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, instance_norm

from i2i.batch import Batch, DataSpec
from i2i.build import check_buildable
from i2i.errors import ConfigError, DataError
from i2i.inference.load import load_translator
from i2i.methods.pix2pix import Pix2Pix
from i2i.networks.at_inference import as_at_inference, prepare_for_inference
from i2i.networks.patchgan import PatchGAN
from i2i.networks.unet import UNetGenerator
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_config

SPEC = DataSpec(16, 1, 3)


@pytest.fixture
def paired_set(tmp_path: Path) -> Path:
    return make_set(tmp_path / "pairs", trainA=4, trainB=4, testA=2, testB=2)


def make(**settings: Any) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(
        SPEC,
        generator=partial(UNetGenerator, width=4, depth=3),
        discriminator=partial(PatchGAN, width=4, layers=1, norm="batch"),
        **settings,
    )


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_losses_are_the_papers(direction: str) -> None:
    method = make(direction=direction)
    a, b = torch.rand(2, 1, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    x, y = (a, b) if direction == "AtoB" else (b, a)
    discriminator, generator = method.updates(iter([Batch(a, b)]))
    fake = method.generator(x)
    real_probability = torch.sigmoid(method.discriminator(torch.cat([x, y], 1)))
    fake_probability = torch.sigmoid(method.discriminator(torch.cat([x, fake], 1)))
    ones = torch.ones_like(fake_probability)
    halved = 0.5 * (
        binary_cross_entropy(real_probability, ones) + binary_cross_entropy(fake_probability, torch.zeros_like(ones))
    )
    torch.testing.assert_close(discriminator.losses["gan"], halved)
    torch.testing.assert_close(generator.losses["gan"], binary_cross_entropy(fake_probability, ones))
    torch.testing.assert_close(generator.losses["l1"], 100 * (fake - y).abs().mean())
    assert (discriminator.player, generator.player) == ("discriminator", "generator")
    assert list(method.directions()) == [direction]


def test_least_squares_are_halved_once() -> None:
    method = make(objective="lsgan")
    x, y = torch.rand(2, 1, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    discriminator, _ = method.updates(iter([Batch(x, y)]))
    real, fake = (method.discriminator(torch.cat([x, z], 1)) for z in (y, method.generator(x)))
    halved = 0.5 * ((real - 1).square().mean() + fake.square().mean())
    torch.testing.assert_close(discriminator.losses["gan"], halved)


def test_an_unconditional_discriminator_sees_the_output_alone() -> None:
    method = make(conditional=False)
    x, y = torch.rand(2, 1, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    discriminator, generator = method.updates(iter([Batch(x, y)]))
    fake = torch.sigmoid(method.discriminator(method.generator(x)))
    torch.testing.assert_close(generator.losses["gan"], -fake.log().mean())
    real = torch.sigmoid(method.discriminator(y))
    halved = -0.5 * (real.log().mean() + (1 - fake).log().mean())
    torch.testing.assert_close(discriminator.losses["gan"], halved)


def test_weights_of_zero_are_the_papers_ablation() -> None:
    batch = Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16))
    for settings, losses in (({"l1_weight": 0.0}, {"gan"}), ({"adversarial_weight": 0.0}, {"l1"})):
        _, generator = make(**settings).updates(iter([batch]))
        assert set(generator.losses) == losses
    with pytest.raises(ConfigError, match="nothing would be learnt"):
        make(l1_weight=0.0, adversarial_weight=0.0)


def test_pooled_l1_compares_means_of_squares() -> None:
    a, b = torch.rand(1, 1, 16, 16) * 2 - 1, torch.rand(1, 3, 16, 16) * 2 - 1
    method = make(l1_pooling=8)
    _, generator = method.updates(iter([Batch(a, b)]))
    means = [x.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)) for x in (method.generator(a), b)]
    torch.testing.assert_close(generator.losses["l1"], 100 * (means[0] - means[1]).abs().mean())
    with pytest.raises(ConfigError, match=r"method.l1_pooling 17 is larger than the image \(16 pixels\)"):
        make(l1_pooling=17)


def test_the_discriminator_does_not_reach_the_generator() -> None:
    method = make()
    discriminator, _ = method.updates(iter([Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16))]))
    torch.autograd.backward(list(discriminator.losses.values()))
    assert all(parameter.grad is None for parameter in method.generator.parameters())


def test_statistics_of_an_image_are_batch_norm_on_a_batch_of_one() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(1, 3, width=4, depth=3).train()
    images = torch.rand(3, 1, 16, 16) * 2 - 1
    one_by_one = torch.cat([network(image[None]) for image in images])
    prepare_for_inference(network, statistics="image", dropout=False, seed=0)
    torch.testing.assert_close(network(images), one_by_one)


def test_dropout_at_inference_is_a_function_of_the_seed() -> None:
    torch.manual_seed(0)
    network = UNetGenerator(1, 3, width=4, depth=6, dropout=0.5)
    assert sum(isinstance(layer, nn.Dropout) for layer in network.modules()) > 0
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    state = {key: value.clone() for key, value in network.state_dict().items()}
    drawn: list[Tensor] = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(drawn))  # whatever was drawn before
        with as_at_inference([network], statistics="image", dropout=True, seed=seed):
            drawn.append(network(images))
            alone = network(images[1:])
        torch.testing.assert_close(drawn[-1][1:], alone)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert network.training
    assert {key: value.tolist() for key, value in network.state_dict().items()} == {
        key: value.tolist() for key, value in state.items()
    }


def test_seeded_masks_keep_the_mean() -> None:
    layer = nn.Sequential(nn.Dropout(0.5))
    prepare_for_inference(layer, statistics="running", dropout=True, seed=3)
    masked = layer(torch.ones(1, 50, 20, 20))
    assert set(masked.unique().tolist()) == {0.0, 2.0}
    assert masked.mean().item() == pytest.approx(1.0, abs=0.05)
    layer = nn.Sequential(twice := nn.Dropout(0.5), nn.Identity(), twice)
    prepare_for_inference(layer, statistics="running", dropout=True, seed=3)
    assert (layer(torch.ones(1, 1, 32, 32)) == 0).float().mean() == pytest.approx(0.75, abs=0.05)
    prepare_for_inference(plain := nn.Sequential(nn.Dropout(0.5)), statistics="running", dropout=False, seed=3)
    assert torch.equal(plain(torch.ones(4)), torch.ones(4))


def test_the_inference_mode_travels_in_the_weight_file(paired_set: Path, tmp_path: Path, i2i: Run) -> None:
    settings = ["networks.generator.depth=4", "image_size=16", "data.load_size=18"]
    config = small_config("pix2pix", paired_set, *settings)
    run = train(config, tmp_path / "run").run.root
    assert load_translator(run).config.inference.statistics == "image"
    outputs = []
    for name, seed in (("one", None), ("again", None), ("other", 5)):
        arguments = [] if seed is None else ["--seed", seed]
        result = i2i("translate", paired_set / "testA", "-o", tmp_path / name, "--model", run, *arguments)
        assert result.code == 0, result.err
        outputs.append([path.read_bytes() for path in sorted((tmp_path / name).glob("*.png"))])
    assert outputs[0] == outputs[1] != outputs[2]
    assert len(outputs[0]) == 2


def test_pairs_of_different_shapes_are_named(tmp_path: Path) -> None:
    data = make_set(tmp_path / "pairs", trainA=2, trainB=2)
    draw(data / "trainB/image01.png", 0, size=(40, 20))
    with pytest.raises(DataError, match=r"image01\.png.*different shapes"):
        train(small_config("pix2pix", data, "data.fit=shorter"), tmp_path / "run")
    train(small_config("pix2pix", data, "training.steps=1"), tmp_path / "run")


def test_instance_norm_of_a_batch_norm_by_hand() -> None:
    norm = nn.BatchNorm2d(2)
    norm.weight.data, norm.bias.data = torch.tensor([2.0, 3.0]), torch.tensor([0.5, -1.0])
    layer = nn.Sequential(norm)
    prepare_for_inference(layer, statistics="image", dropout=False, seed=0)
    x = torch.randn(3, 2, 5, 5)
    expected = instance_norm(x) * torch.tensor([2.0, 3.0])[:, None, None] + torch.tensor([0.5, -1.0])[:, None, None]
    torch.testing.assert_close(layer(x), expected)


def test_dropout_of_whole_channels_is_refused_where_inference_keeps_it(
    paired_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.networks.unet.Dropout", nn.Dropout2d)
    config = small_config("pix2pix", paired_set, "networks.generator.dropout=0.5")
    with pytest.raises(ConfigError, match=r"up\S+ is a Dropout2d: use nn.Dropout, or set inference.dropout to false"):
        check_buildable(config)
    check_buildable(config.model_copy(update={"inference": config.inference.model_copy(update={"dropout": False})}))
