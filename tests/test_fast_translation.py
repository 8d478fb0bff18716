"""Fast layers give what torch's give; the precision of a translation follows from the images and is kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.config.schema import Precision
from i2i.data.images import read_image
from i2i.device import cpu_computes_in_bf16
from i2i.inference.fast_layers import FewOutputsConv2d, speed_up
from i2i.inference.load import load_translator
from i2i.inference.precision import FEW, choose, measure
from i2i.inference.winograd import WinogradConv2d
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.unet import UNetGenerator
from i2i.training.start import train

from .conftest import Run, draw, small_config


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config("cyclegan", toy_set), tmp_path_factory.mktemp("runs") / "run").run.root


def pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        draw(folder / f"{number:03}.png", number, (16, 16))
    return folder


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(34, 34), (41, 70), (6, 7)])
def test_minimal_filtering_is_the_convolution(size: tuple[int, int], padding: int) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(64, 96, 3, padding=padding), torch.randn(2, 64, *size)
    assert WinogradConv2d.fits(conv)
    fast = WinogradConv2d(conv)
    with torch.inference_mode():
        for given in (x, x.contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(fast(given), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 12), (13, 10)])
def test_a_convolution_to_few_channels_is_the_same(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(8, 3, 7), torch.randn(2, 8, *size)
    with torch.inference_mode():
        torch.testing.assert_close(FewOutputsConv2d(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("halvings", [1, 2])
def test_a_fast_generator_gives_the_same_and_leaves_the_weights_alone(halvings: int) -> None:
    torch.manual_seed(0)
    settings = {"upsample": "resize"} if halvings == 1 else {"skips": True}
    generator = ResNetGenerator(3, 3, width=64, blocks=1, halvings=halvings, **settings).eval()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    x = torch.rand(2, 3, 48, 40) * 2 - 1
    shared: dict[int, Tensor] = {id(tensor): tensor for tensor in generator.parameters()}
    with torch.inference_mode():
        expected = generator(x)
        fast, half = copy.deepcopy(generator, dict(shared)), copy.deepcopy(generator, dict(shared))
        speed_up(fast)
        speed_up(half, torch.bfloat16)
        torch.testing.assert_close(fast(x), expected, rtol=0, atol=1e-4)
        assert 0 < (half(x) - expected).abs().mean() < 0.05
        assert torch.equal(generator(x), expected)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == torch.float32


def test_other_networks_are_sped_up_too() -> None:
    torch.manual_seed(0)
    generator, x = UNetGenerator(3, 3, width=8, depth=4).eval(), torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = generator(x)
        speed_up(generator)
        torch.testing.assert_close(generator(x), expected, rtol=0, atol=1e-5)


def test_auto_takes_fp32_where_the_images_say_so_or_are_few(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(run, device="cpu")
    images = [read_image(path) for path in sorted(pictures(tmp_path, FEW).iterdir())]
    exact, half = (translator.faster("AtoB", precision) for precision in ("fp32", "bf16"))
    monkeypatch.setattr("i2i.inference.precision.CLEAR", 0.0)
    distance = measure(exact, half, "AtoB", images[:3], None)
    assert distance.images == 3
    assert 0 < distance.mean <= distance.largest

    def chosen(wanted: Precision, count: int) -> tuple[str, bool]:
        choice, taken = choose(translator, "AtoB", wanted, iter(images), count, None)
        assert taken.precision == choice.precision
        return choice.precision, choice.distance is not None

    assert chosen("fp32", FEW) == ("fp32", False)
    assert chosen("bf16", 1) == ("bf16", True)
    fast = "bf16" if cpu_computes_in_bf16() else "fp32"
    assert chosen("auto", FEW) == (fast, fast == "bf16")
    assert chosen("auto", FEW - 1) == ("fp32", False)
    monkeypatch.setattr("i2i.inference.precision.MEAN", distance.mean / 100)
    assert chosen("auto", FEW) == ("fp32", fast == "bf16")
    assert chosen("bf16", FEW) == ("bf16", True)


def test_no_more_images_are_compared_than_the_verdict_needs(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(run, device="cpu")
    images = [read_image(path) for path in sorted(pictures(tmp_path, FEW).iterdir())]
    exact, half = (translator.faster("AtoB", precision) for precision in ("fp32", "bf16"))

    def compared(mean: float, largest: float) -> tuple[int, bool]:
        monkeypatch.setattr("i2i.inference.precision.MEAN", mean)
        monkeypatch.setattr("i2i.inference.precision.LARGEST", largest)
        distance = measure(exact, half, "AtoB", images, None)
        return distance.images, distance.is_small

    apart = measure(exact, half, "AtoB", images[:1], None)
    assert apart.largest > 0
    assert compared(4 * 255, 2 * 255) == (2, True)  # half of what is allowed
    assert compared(apart.mean / 100, 255) == (4, False)
    assert compared(255, apart.largest - 1) == (1, False)  # over the limit somewhere


def test_a_translation_that_goes_on_keeps_its_precision(
    tmp_path: Path, run: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cpu_computes_in_bf16():
        pytest.skip("needs a CPU that is faster in bf16")
    source, out = pictures(tmp_path / "in", FEW), tmp_path / "out"
    arguments = ("translate", source, "-o", out, "--model", run, "--device", "cpu")
    first = i2i(*arguments)
    assert (first.code, "precision bf16: bf16 differs from fp32 by" in first.err) == (0, True)
    report = json.loads((out / "report.json").read_text())
    assert report["precision"] == "bf16"
    assert report["distance"]["images"] == 2
    monkeypatch.setattr("i2i.inference.precision.MEAN", 0.0)  # what a new choice would not allow
    draw(source / "new.png", 99, (16, 16))
    again = i2i(*arguments)
    assert (again.code, f"{FEW} of {FEW + 1} were translated before" in again.err) == (0, True)
    assert json.loads((out / "report.json").read_text())["precision"] == "bf16"
    exact = i2i(*arguments, "--precision", "fp32")
    assert (exact.code, "were translated before" in exact.err) == (0, False)
    assert json.loads((out / "report.json").read_text())["precision"] == "fp32"


def test_an_output_does_not_depend_on_the_images_beside_it(tmp_path: Path, run: Path, i2i: Run) -> None:
    whole, part = pictures(tmp_path / "whole", 5), pictures(tmp_path / "part", 2)
    for source in (whole, part):
        assert (
            i2i("translate", source, "-o", tmp_path / f"{source.name}-out", "--model", run, "--device", "cpu").code == 0
        )
    for name in ("000.png", "001.png"):
        assert (tmp_path / "whole-out" / name).read_bytes() == (tmp_path / "part-out" / name).read_bytes()
