"""Translation by tiles: what whole images give, at any size; what does not fit is tiled by itself, and said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

import i2i as package
from i2i.build import build_method
from i2i.data.images import read_image
from i2i.errors import ConfigError
from i2i.inference.translator import Translator
from i2i.networks.at_inference import prepare_for_inference
from i2i.networks.base import IMAGE
from i2i.networks.base import Translator as Network
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.unet import UNetGenerator
from i2i.tiling.settings import Tiles
from i2i.tiling.thumbnail import thumbnail
from i2i.training.start import train

from .conftest import Run, draw, no_space_beyond, small_config
from .toys import CPU, assert_refused

NETWORKS = {
    "resnet": ("cyclegan", ["blocks=2"]),
    "skips": ("cyclegan", ["halvings=3", "skips=true", "outer_kernel=3", "output=residual"]),
    "blurred": ("cyclegan", ["downsample=blurred", "upsample=blurred", "norm=batch", "halvings=1"]),
    "layer norm": ("cyclegan", ["upsample=resize", "norm=layer"]),
    "unet": ("pix2pix", ["depth=4", "dropout=0.5"]),
    "latent": ("bicyclegan", ["depth=3", "init_gain=1"]),
    "unet without skips": ("pix2pix", ["depth=3", "skips=false", "upsample=resize"]),
}


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config("cyclegan", toy_set), tmp_path_factory.mktemp("runs") / "run").run.root


def untrained(name: str, data: Path) -> Translator:
    arch, settings = NETWORKS[name]
    model = small_config(arch, data, *(f"networks.generator.{setting}" for setting in settings)).model
    torch.manual_seed(0)
    method = build_method(model)
    prepare_for_inference(method, **model.inference.model_dump())
    return Translator(method, model, 0, CPU)


def rough(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_whole_image_gives(name: str, toy_set: Path) -> None:
    translator = untrained(name, toy_set)
    for each in (translator, translator.faster("AtoB", "fp32")):
        for height, width in ((45, 37), (16, 50), (5, 3)):
            image = rough(height, width)
            whole = each.translate(image[None], "AtoB")[0]
            tiled = each.translate_by_tiles(image, "AtoB", Tiles(16))
            torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "layer norm"])
def test_norms_take_the_statistics_of_a_thumbnail_by_name(name: str, toy_set: Path) -> None:
    translator, image = untrained(name, toy_set), rough(45, 37)
    whole = translator.translate(image[None], "AtoB")[0]
    as_large = translator.translate_by_tiles(image, "AtoB", Tiles(48, statistics="thumbnail"))  # as the image itself
    torch.testing.assert_close(as_large, whole, rtol=0, atol=1e-4)
    reduced = translator.translate_by_tiles(image, "AtoB", Tiles(16, statistics="thumbnail"))
    assert (reduced - whole).abs().mean() > 1e-2


def test_a_thumbnail_is_the_means_of_squares() -> None:
    image = rough(45, 37)[None]
    made = thumbnail(lambda top, bottom: image[:, :, top:bottom].numpy(), 45, 37, 16)
    expected = avg_pool2d(image, 3, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(torch.from_numpy(made), expected)


NARROW = [
    ResNetGenerator(3, 3, width=2, blocks=1, norm="batch"),
    ResNetGenerator(3, 3, width=2, blocks=1, norm="batch", halvings=3, skips=True, outer_kernel=3, output="residual"),
    ResNetGenerator(3, 3, width=2, blocks=1, norm="batch", downsample="blurred", upsample="blurred", skips=True),
    ResNetGenerator(3, 3, width=2, blocks=1, norm="batch", upsample="resize", outer_kernel=5),
    UNetGenerator(3, 3, width=2, depth=3),
    UNetGenerator(3, 3, width=2, depth=2, upsample="resize", skips=False),
]


@pytest.mark.parametrize("network", NARROW)
def test_nothing_beyond_a_margin_has_an_effect(network: Network) -> None:
    network.eval()
    maps, side, middle = {IMAGE: rough(192, 192)[None]}, 192, (80, 112)
    for part in network.parts_for_tiles():
        inputs = [maps[name] for name in part.inputs]
        scales = [side // each.shape[2] for each in inputs]
        poisoned = [torch.full_like(each, torch.nan) for each in inputs]
        for to, each, scale in zip(poisoned, inputs, scales, strict=True):
            seen = slice((middle[0] - part.margin) // scale, (middle[1] + part.margin) // scale)
            to[..., seen, seen] = each[..., seen, seen]
        with torch.no_grad():
            made, from_poisoned = part.compute(*inputs), part.compute(*poisoned)
        core = slice(*(edge * made.shape[2] // side for edge in middle))
        torch.testing.assert_close(from_poisoned[..., core, core], made[..., core, core])
        assert part.margin % part.grid == 0
        maps[part.output] = made
    with torch.no_grad():
        torch.testing.assert_close(maps["output"], network(maps[IMAGE]))


def test_a_folder_is_translated_by_tiles_and_reported(tmp_path: Path, run: Path, i2i: Run) -> None:
    sizes = {"a.png": (61, 37), "small.png": (9, 5), "b.png": (16, 40)}
    for number, (name, size) in enumerate(sizes.items()):
        draw(tmp_path / "in" / name, number, size)
    arguments = ("translate", tmp_path / "in", "--model", run, "--device", "cpu", "-o")
    assert i2i(*arguments, tmp_path / "whole").code == 0
    assert i2i(*arguments, tmp_path / "tiled", "--tile", 16).code == 0
    assert i2i(*arguments, tmp_path / "narrow", "--tile", 16, "--overlap", 0).code == 0
    reports = {
        folder: json.loads((tmp_path / folder / "report.json").read_text()) for folder in ("whole", "tiled", "narrow")
    }
    for folder, expected in (("whole", (None, None, None)), ("tiled", (16, 16, None)), ("narrow", (16, 16, None))):
        assert tuple(entry["tile"] for entry in reports[folder]["files"]) == expected
    for name in sizes:
        whole, tiled = (read_image(tmp_path / folder / name).astype(int) for folder in ("whole", "tiled"))
        assert np.abs(whole - tiled).max() <= 1
    assert np.abs(read_image(tmp_path / "narrow/a.png").astype(int) - read_image(tmp_path / "whole/a.png")).max() > 1
    by_name = ("--tile", 16, "--tile-statistics", "thumbnail")
    assert "translated 3 of 3" in i2i(*arguments, tmp_path / "narrow", *by_name).out
    assert json.loads((tmp_path / "narrow/report.json").read_text())["tile_statistics"] == "thumbnail"
    assert "3 of 3 were translated before" in i2i(*arguments, tmp_path / "narrow", *by_name).err
    again = i2i(*arguments, tmp_path / "tiled")  # tiles and whole images are the same translation, but for an overlap
    assert "3 of 3 were translated before" in again.err
    assert "were translated before" not in i2i(*arguments, tmp_path / "narrow").err


def test_python_translates_by_tiles_too(run: Path) -> None:
    translator = package.load_translator(run, device="cpu")
    image = rough(33, 50)
    pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    torch.testing.assert_close(translator(image, tile=16), translator(image), rtol=0, atol=1e-4)
    both = translator(torch.stack([image, -image]), tile=16)
    torch.testing.assert_close(both[1], translator(-image), rtol=0, atol=1e-4)
    assert np.abs(translator(pixels, tile=16).astype(int) - translator(pixels)).max() <= 1
    tiled = translator(Image.fromarray(pixels), tile=16)
    assert np.abs(np.asarray(tiled).astype(int) - translator(pixels)).max() <= 1
    with pytest.raises(ConfigError, match="from 1 up"):
        translator(image, tile=0)
    with pytest.raises(ConfigError, match="no norms over the whole image"):
        untrained("blurred", run.parent)(image, "AtoB", tile=16, tile_statistics="thumbnail")


def test_what_does_not_fit_into_memory_is_tiled_and_said(
    tmp_path: Path, run: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw(tmp_path / "in/a.png", 0, (40, 30))
    assert i2i("translate", source.parent, "-o", tmp_path / "whole", "--model", run).code == 0
    monkeypatch.setattr("i2i.inference.memory.SHARE", 1e-7)
    result = i2i("translate", source.parent, "-o", tmp_path / "tiled", "--model", run)
    assert result.code == 0
    assert "a.png: 40x30 pixels would take 0.0 GiB of memory" in result.err
    assert result.err.count("translated by tiles of 512 pixels") == 1
    assert json.loads((tmp_path / "tiled/report.json").read_text())["files"][0]["tile"] == 512
    whole, tiled = (read_image(tmp_path / folder / "a.png").astype(int) for folder in ("whole", "tiled"))
    assert np.abs(whole - tiled).max() <= 1


def test_a_network_that_sees_whole_images_only_is_refused_by_name(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    config = small_config("dualgan", toy_set, "method.noise_channels=2", "training.steps=1")
    model = train(config, tmp_path / "run").run.root
    source = draw(tmp_path / "a.png", 0)
    refused = i2i("translate", source, "--model", model, "--tile", 16)
    assert_refused(refused, "dualgan takes whole images only")
    refused = i2i("translate", source, "--model", model, "--tile-statistics", "thumbnail")
    assert_refused(refused, "dualgan takes whole images only")
    assert not (tmp_path / "a-translated.png").exists()
    assert i2i("translate", source, "--model", model).code == 0
    assert_refused(i2i("translate", source, "--model", model, "--tile", "half"), "from 16 up, or auto")


def test_a_disk_without_room_for_maps_skips_the_image(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/large.png", 0, (200, 160))
    draw(tmp_path / "in/small.png", 1, (16, 16))
    with no_space_beyond(100_000):  # a map has 200 / 4 x 160 / 4 pixels of 16 float32: 128,000 bytes
        result = i2i("translate", tmp_path / "in", "--model", run, "--tile", 64)
    assert (result.code, "translated 1 of 2" in result.out) == (1, True)
    assert "large.png: a feature map of 0.0 GB does not fit into" in result.err
    assert "TMPDIR" in result.err


def test_the_largest_image_that_is_read_bounds_tiles_too(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "a.png", 0, (40, 30))
    result = i2i("translate", source, "--model", run, "--tile", 16, "--max-pixels", 1000)
    assert result.code == 1
    assert "40x30 = 1,200 pixels are more than the 1,000 that are read: --max-pixels allows more" in result.err
    assert i2i("translate", source, "--model", run, "--tile", 16, "--max-pixels", 1200).code == 0
