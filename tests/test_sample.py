"""``i2i sample``: sheets, folders, walks, arithmetic, codes and dropped features, against images drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.build import build_method, check_buildable
from i2i.config.resolve import resolve_config
from i2i.data.batches import to_pixels
from i2i.errors import ConfigError
from i2i.inference.load import load_sampler
from i2i.inference.sampler import Sampler
from i2i.inference.standing import PASSES, take_standing_statistics
from i2i.inference.views import parse_arithmetic, walk
from i2i.methods.generative import GenerativeMethod
from i2i.methods.infogan import InfoGAN
from i2i.storage.weights import save_weights
from i2i.training.start import train

from .conftest import Run, small_config
from .toys import assert_refused, prepare

Pixels = NDArray[np.uint8]


def vivid(arch: str, data: Path, path: Path, *settings: str) -> Path:
    """A weight file with weights so large that every latent number and label changes the image by much."""
    config, _ = prepare(arch, data, *settings)
    method = build_method(config.model)
    assert isinstance(method, GenerativeMethod)
    random = torch.Generator().manual_seed(0)
    for module in method.generator.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.25, generator=random)
    save_weights(path, method.inference_state(), config.model, 6)
    return path


@pytest.fixture(scope="module")
def cgan(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vivid("cgan", labelled_set, tmp_path_factory.mktemp("models") / "cgan.safetensors")


@pytest.fixture(scope="module")
def infogan(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vivid("infogan", labelled_set, tmp_path_factory.mktemp("models") / "infogan.safetensors")


def pixels_of(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def test_a_sheet_has_rows_of_ten(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i("sample", "--model", cgan, "-o", tmp_path / "sheet.png", "--count", 13)
    assert (result.code, "generated 13 images with cgan (6 steps)" in result.out) == (0, True)
    sheet = pixels_of(tmp_path / "sheet.png")
    assert sheet.shape == (32, 160, 3)
    assert (sheet[16:, 48:] == 255).all()  # the last row is filled up with white


def test_a_folder_holds_the_images_of_the_sheet(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    for output in ("sheet.png", "folder"):
        assert i2i("sample", "--model", cgan, "-o", tmp_path / output, "--count", 4, "--seed", 7).code == 0
    files = sorted((tmp_path / "folder").iterdir())
    assert [path.name for path in files] == [f"{i:05}.png" for i in range(4)]
    sheet = pixels_of(tmp_path / "sheet.png")
    for i, path in enumerate(files):
        np.testing.assert_array_equal(pixels_of(path), sheet[:, 16 * i : 16 * i + 16])
    again = i2i("sample", "--model", cgan, "-o", tmp_path / "folder", "--count", 4)
    assert again.code == 2
    assert "exists and is not empty" in again.err


def by_hand(sampler: Sampler, z: Tensor, label: int | None = None) -> Pixels:
    """The image of one latent (latent,)."""
    labels = None if label is None else torch.tensor([label])
    with torch.no_grad():
        image = sampler.method.generator(z[None], labels)[0]
    pixels: Pixels = (image.permute(1, 2, 0).numpy() * 127.5 + 127.5).round().astype(np.uint8)
    return pixels


def assert_same(pixels: Pixels, expected: Pixels) -> None:
    """Equal but for the last bit of a rounding, in images of which no two are alike."""
    assert expected.std() > 10
    np.testing.assert_allclose(pixels.astype(int), expected, atol=1)


def cells(path: Path) -> list[list[Pixels]]:
    """The images of a sheet of 16x16 pixels, by rows."""
    sheet = pixels_of(path)
    return [np.split(row, sheet.shape[1] // 16, axis=1) for row in np.split(sheet, len(sheet) // 16)]


def test_a_sample_is_a_function_of_its_number_the_seed_and_the_label(cgan: Path) -> None:
    sampler = load_sampler(cgan, device="cpu")
    assert sampler.labels == ("blue", "green", "red")
    images = list(sampler.sample(70, seed=3))  # more than a batch; the labels in turn
    for number in (0, 1, 2, 63, 64, 69):
        one = sampler.latents([number], seed=3)[0]
        assert_same(images[number], by_hand(sampler, one, number % 3))
        assert np.abs(images[number].astype(int) - by_hand(sampler, one, (number + 1) % 3)).mean() > 5
    z = sampler.latents(range(70), seed=3)
    together = to_pixels(sampler.generate(z, sampler.labels_for(range(70))))
    assert_same(together[69], images[69])
    red = list(sampler.sample_numbers(range(1, 70), label="red", seed=3))
    for number in (1, 64, 69):
        assert_same(red[number - 1], by_hand(sampler, sampler.latents([number], seed=3)[0], 2))
    assert not torch.equal(sampler.latents([0], seed=3), sampler.latents([0], seed=4))


def test_truncated_latents_are_drawn_again(cgan: Path, tmp_path: Path, labelled_set: Path, i2i: Run) -> None:
    sampler = load_sampler(cgan, device="cpu")
    assert sampler.latents(range(10)).abs().max() > 0.5
    z = sampler.latents(range(10), truncation=0.5)
    assert 0.4 < z.abs().max() <= 0.5
    assert z.std() > 0.2  # drawn again, and not cut off
    assert i2i("sample", "--model", cgan, "-o", tmp_path / "a.png", "--count", 3, "--truncation", 0.5).code == 0
    for number, image in enumerate(cells(tmp_path / "a.png")[0][:3]):
        assert_same(image, by_hand(sampler, z[number], number))
    uniform = vivid("cgan", labelled_set, tmp_path / "model.safetensors", "method.prior=uniform")
    result = i2i("sample", "--model", uniform, "-o", tmp_path / "b.png", "--truncation", 0.5)
    assert result.code == 2
    assert "uniform and not normal" in result.err


def test_a_walk_goes_through_samples_by_spherical_interpolation(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("--walk", 3, "--label", "red", "--seed", 5)
    assert i2i("sample", "--model", cgan, "-o", tmp_path / "walk.png", *arguments).code == 0
    sampler = load_sampler(cgan, device="cpu")
    z = sampler.latents(range(3), seed=5)
    strip = [image for row in cells(tmp_path / "walk.png") for image in row]
    assert len(strip) == 2 * 9  # 17, filled up
    for place, latent in ((0, z[0]), (8, z[1]), (16, z[2])):
        assert_same(strip[place], by_hand(sampler, latent, 2))
    half = torch.arccos(torch.cosine_similarity(z[0], z[1], dim=0)) / 2
    assert_same(strip[4], by_hand(sampler, (z[0] + z[1]) / (2 * torch.cos(half)), 2))
    with Image.open(tmp_path / "walk.gif") as film:
        assert getattr(film, "n_frames", 0) == 17 + 15  # there and back


def test_a_walk_of_an_infogan_keeps_its_codes(infogan: Path) -> None:
    sampler = load_sampler(infogan, device="cpu")
    z = sampler.latents(range(2), seed=1)
    noise = sampler.method.noise
    assert not torch.equal(z[0, noise:], z[1, noise:])
    last = walk(sampler, 2, label=None, seed=1)[-1]
    assert_same(last, by_hand(sampler, torch.cat([z[1, :noise], z[0, noise:]])))


def test_arithmetic_adds_averaged_latents(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    assert parse_arithmetic("3,17 , 40 - 5,8 + 2") == [(1, [3, 17, 40]), (-1, [5, 8]), (1, [2])]
    for wrong in ("", "1 2", "a - b", "1,,2", "1 -", "1 + - 2"):
        with pytest.raises(ConfigError, match="write numbers of the sheet"):
            parse_arithmetic(wrong)
    arguments = ("sample", "--model", cgan, "-o", tmp_path / "sum.png", "--label", "red", "--seed", 5)
    assert i2i(*arguments, "--arithmetic", "1,4 - 2 + 0").code == 0
    (row,) = cells(tmp_path / "sum.png")
    assert len(row) == 12  # three terms, the result, eight neighbours
    sampler = load_sampler(cgan, device="cpu")
    z = sampler.latents(range(5), seed=5)
    first = (z[1] + z[4]) / 2
    for image, latent in zip(row[:4], (first, z[2], z[0], first - z[2] + z[0]), strict=True):
        assert_same(image, by_hand(sampler, latent, 2))
    for number, neighbour in enumerate(row[4:], 4):
        distances = [np.abs(neighbour.astype(int) - other).mean() for other in row[:number]]
        assert min(distances) > 1
        assert distances[3] < min(distances[0], distances[2])  # nearer to the result than to samples


def test_codes_are_traversed_along_rows(infogan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("sample", "--overwrite", "--model", infogan, "-o", tmp_path / "codes.png")
    sampler = load_sampler(infogan, device="cpu")
    method, z = sampler.method, sampler.latents(range(2), seed=5)
    assert isinstance(method, InfoGAN)
    for code in ("continuous1", "category1"):
        assert i2i(*arguments, "--traverse", code, "--count", 2, "--seed", 5).code == 0
        rows = cells(tmp_path / "codes.png")
        assert [len(row) for row in rows] == [10, 10]
        for i in range(10):
            latents = method.with_code(z, code, i, 10)
            for row, latent in zip(rows, latents, strict=True):
                assert_same(row[i], by_hand(sampler, latent))
        assert np.abs(rows[0][0].astype(int) - rows[0][-1]).mean() > 1
    wrong = i2i(*arguments, "--traverse", "hue")
    assert wrong.code == 2
    assert "category1, continuous1, continuous2" in wrong.err


def test_dropped_features_are_gone_only_while_asked(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("sample", "--overwrite", "--model", cgan, "-o", tmp_path / "dropped.png", "--count", 3)
    every_map = ",".join(map(str, range(4)))
    assert i2i(*arguments, "--drop-feature", f"up1:{every_map}").code == 0
    rows = pixels_of(tmp_path / "dropped.png")
    assert rows.shape == (32, 48, 3)
    flat = rows[16:].reshape(16, 3, 16, 3)
    np.testing.assert_array_equal(flat, np.broadcast_to(flat[:1, :1, :1], flat.shape))  # nothing is left to draw
    assert rows[:16].std() > 0
    for wrong, named in (("up1:4", "has 4"), ("up9:0", "project"), ("up1", "STAGE:3,17")):
        result = i2i(*arguments, "--drop-feature", wrong)
        assert result.code == 2
        assert named in result.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--label", "mauve"], "blue, green, red"),
        (["--truncation", "-1"], "from 0.001 to 10"),
        (["--walk", "2", "--traverse", "category1"], "give one of --walk, --traverse"),
        (["--walk", "2", "--truncation", "0.5"], "leave it out with --walk"),
        (["--walk", "2", "-o", "folder"], "end the name in .png"),
        (["--traverse", "category1"], "has no codes"),
        (["--count", "0"], "--count"),
    ],
)
def test_mistakes_are_one_line(cgan: Path, arguments: list[str], named: str, i2i: Run, tmp_path: Path) -> None:
    output = [] if "-o" in arguments else ["-o", tmp_path / "out.png"]
    result = i2i("sample", "--model", cgan, *output, *arguments)
    assert result.code == 2
    assert named in result.err
    assert result.err.count("\n") == 1


def test_translators_are_not_sampled_and_samplers_do_not_translate(
    cgan: Path, toy_set: Path, tmp_path: Path, i2i: Run
) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run.root
    sampled = i2i("sample", "--model", run, "-o", tmp_path / "out.png")
    assert_refused(sampled, "use i2i translate")
    translated = i2i("translate", toy_set / "testA", "-o", tmp_path / "out", "--model", cgan)
    assert_refused(translated, "use i2i sample")


def test_samples_have_standing_statistics(labelled_set: Path, tmp_path: Path) -> None:
    """BigGAN: those of images from the weights that are sampled, with the truncation of the samples."""
    settings = [f"networks.{role}.width=2" for role in ("generator", "discriminator")]
    settings += ["training.steps=1", "training.ema.half_life=10"]
    run = train(small_config("biggan", labelled_set, *settings), tmp_path / "run").run.root
    sampler = load_sampler(run)
    norm = sampler.method.generator.get_submodule("head.0")
    trained = norm.get_buffer("running_mean").clone()

    def mean_after(truncation: float | None) -> torch.Tensor:
        list(sampler.sample(1, truncation=truncation))
        return norm.get_buffer("running_mean").clone()

    whole, narrow = mean_after(None), mean_after(0.1)
    assert not torch.allclose(whole, trained)
    assert not torch.allclose(whole, narrow)
    assert torch.equal(mean_after(None), whole)

    # By hand: the mean over passes of what comes in.
    passes: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0]))
    take_standing_statistics(sampler.method, seed=0, truncation=None)
    hook.remove()
    assert len(passes) == PASSES
    means = torch.stack([x.mean((0, 2, 3)) for x in passes])
    assert means.std(0).max() > 0
    torch.testing.assert_close(norm.get_buffer("running_mean"), means.mean(0), atol=1e-5, rtol=1e-4)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in passes])
    torch.testing.assert_close(norm.get_buffer("running_var"), variances.mean(0), atol=1e-5, rtol=1e-4)
    assert not any(module.training for module in sampler.method.generator.modules())


@pytest.mark.parametrize("arch", ["pix2pix", "gan"])
def test_standing_statistics_need_a_generator_that_can_have_them(arch: str) -> None:
    config = resolve_config(arch, assignments=["inference.statistics=standing"])
    with pytest.raises(ConfigError, match="with batch norm: set it to running"):
        check_buildable(config)
