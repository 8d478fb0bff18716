"""``i2i sample``: sheets, folders, walks, arithmetic, codes and dropped features, of tiny trained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.build import check_buildable
from i2i.config import resolve_config
from i2i.errors import ConfigError
from i2i.inference.load import load_sampler
from i2i.inference.sample import parse_arithmetic
from i2i.inference.standing import PASSES, take_standing_statistics
from i2i.training.start import train

from .conftest import Run, small_config


@pytest.fixture(scope="module")
def cgan(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config("cgan", labelled_set), tmp_path_factory.mktemp("runs") / "cgan").run.root


@pytest.fixture(scope="module")
def infogan(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Weights large enough that a code changes a picture by more than a shade.
    config = small_config("infogan", labelled_set, "networks.generator.init=kaiming")
    return train(config, tmp_path_factory.mktemp("runs") / "infogan").run.root


def pixels_of(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def test_a_sheet_has_rows_of_ten(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i("sample", "--model", cgan, "-o", tmp_path / "sheet.png", "--count", 13)
    assert (result.code, "drew 13 pictures with cgan (6 steps)" in result.out) == (0, True)
    sheet = pixels_of(tmp_path / "sheet.png")
    assert sheet.shape == (32, 160, 3)
    assert (sheet[16:, 48:] == 255).all()  # the last row is filled up with white


def test_a_folder_holds_the_pictures_of_the_sheet(cgan: Path, tmp_path: Path, i2i: Run) -> None:
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


def test_a_label_is_given_by_its_name(cgan: Path) -> None:
    sampler = load_sampler(cgan)
    assert sampler.labels == ("blue", "green", "red")
    z = sampler.latents([0])
    by_hand = sampler.generate(z, torch.tensor([2]))
    (red,) = sampler.sample(1, label="red")
    np.testing.assert_array_equal(red, (by_hand[0].permute(1, 2, 0).numpy() * 127.5 + 127.5).round())
    in_turn = list(sampler.sample(3))
    (green,) = list(sampler.sample(2, label="green"))[1:]
    np.testing.assert_allclose(in_turn[1].astype(int), green, atol=1)


def test_a_walk_starts_and_ends_at_samples(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    assert i2i("sample", "--model", cgan, "-o", tmp_path / "walk.png", "--walk", 2, "--label", "red").code == 0
    strip = pixels_of(tmp_path / "walk.png")
    assert strip.shape == (16, 9 * 16, 3)
    ends = list(load_sampler(cgan).sample(2, label="red"))
    for end, place in zip(ends, (slice(0, 16), slice(-16, None)), strict=True):
        np.testing.assert_allclose(strip[:, place].astype(int), end, atol=1)
    with Image.open(tmp_path / "walk.gif") as film:
        assert getattr(film, "n_frames", 0) > 8


def test_arithmetic_adds_averaged_latents(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    assert parse_arithmetic("3,17 , 40 - 5,8 + 2") == [(1, [3, 17, 40]), (-1, [5, 8]), (1, [2])]
    for wrong in ("", "1 2", "a - b", "1,,2", "1 -", "1 + - 2"):
        with pytest.raises(ConfigError, match="write numbers of the sheet"):
            parse_arithmetic(wrong)
    arguments = ("sample", "--model", cgan, "-o", tmp_path / "sum.png", "--label", "red")
    assert i2i(*arguments, "--arithmetic", "1 - 2 + 2").code == 0
    row = pixels_of(tmp_path / "sum.png")
    assert row.shape == (16, 12 * 16, 3)  # three terms, the result, eight neighbours
    np.testing.assert_allclose(row[:, 48:64].astype(int), row[:, :16], atol=1)


def test_codes_are_traversed_along_rows(infogan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("sample", "--model", infogan, "-o", tmp_path / "codes.png")
    assert i2i(*arguments, "--traverse", "continuous1", "--count", 2).code == 0
    rows = pixels_of(tmp_path / "codes.png")
    assert rows.shape == (32, 160, 3)
    assert not np.array_equal(rows[:, :16], rows[:, -16:])
    wrong = i2i(*arguments, "--traverse", "hue")
    assert wrong.code == 2
    assert "category1, continuous1, continuous2" in wrong.err


def test_dropped_features_are_gone_only_while_asked(cgan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("sample", "--model", cgan, "-o", tmp_path / "dropped.png", "--count", 3)
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
        (["--truncation", "-1"], "above 0"),
        (["--walk", "2", "--traverse", "category1"], "give one of --walk, --traverse"),
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
    assert (sampled.code, "use i2i translate" in sampled.err) == (2, True)
    translated = i2i("translate", toy_set / "testA", "-o", tmp_path / "out", "--model", cgan)
    assert (translated.code, "use i2i sample" in translated.err) == (2, True)


def test_samples_have_standing_statistics(labelled_set: Path, tmp_path: Path) -> None:
    """BigGAN: those of pictures from the weights that are sampled, with the truncation of the samples."""
    settings = ["networks.generator.width=2", "networks.discriminator.width=2", "training.steps=1", "training.ema=0.9"]
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
    with pytest.raises(ConfigError, match="have batch norm: set it to running"):
        check_buildable(config)
