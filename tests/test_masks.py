"""Masks of pairs: found by name, moved as their pair is, weights of L1, and hidden from discriminators where 0."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2i.batch import Batch, DataSpec
from i2i.methods.pix2pix import Pix2Pix
from i2i.networks.patchgan import PatchGAN
from i2i.networks.unet import UNetGenerator
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree
from i2i.training.settling import data_of
from i2i.training.start import resume, train

from .conftest import Run, make_set, small_arguments, small_config
from .toys import assert_refused, assert_same, stream_of


@pytest.fixture
def masked_set(tmp_path: Path) -> Path:
    """Four pairs, whose masks are the red channel of B."""
    root = make_set(tmp_path / "masked", trainA=4, trainB=4, testA=2, testB=2)
    for path in sorted((root / "trainB").iterdir()):
        keep_as_mask(path, root)
    return root


def report_of(i2i: Run, run: Path, *options: object, code: int = 0) -> tuple[dict[str, Any], str]:
    """What ``i2i evaluate`` finds of the only direction, and what it prints."""
    file = run / "report.json"
    metrics = "l1,l1_not_white,psnr,ssim,alignment"
    result = i2i("evaluate", "--model", run, "--metrics", metrics, *options, "--json", file, "--overwrite")
    assert result.code == code, result.err
    (part,) = json.loads(file.read_bytes())["directions"]
    return part, result.out + result.err


def values_of(part: dict[str, Any], name: str) -> list[float]:
    found: list[float] = part["models"][0]["figures"][name]["per_image"]
    return found


def test_held_out_masks_say_what_counts(tmp_path: Path, i2i: Run) -> None:
    root = make_set(tmp_path / "set", trainA=2, trainB=2, testA=4, testB=4)
    run = tmp_path / "run"
    train(small_config("pix2pix", root, "training.steps=1"), run)
    whole, said = report_of(i2i, run)
    assert (whole["masked"], "show counts" in said) == ([], False)
    masks = root / "testMask"
    masks.mkdir()
    left = Image.fromarray(np.where(np.arange(24) < 12, 255, 0).astype(np.uint8)[None].repeat(20, 0))
    for name in ("image00", "image01", "image02"):
        left.save(masks / f"{name}.png")
    part, said = report_of(i2i, run)
    line = "only what the 3 masks in testMask show counts in l1, l1_not_white, psnr, ssim"
    assert f"{line}; 1 pairs have none, first image03.png" in said.replace("\n", " ")
    assert part["masked"] == ["l1", "l1_not_white", "psnr", "ssim"]
    assert part["data"]["sha256"] != whole["data"]["sha256"]
    for name in ("l1", "psnr", "ssim"):
        same = [one == other for one, other in zip(values_of(part, name), values_of(whole, name), strict=True)]
        assert same == [False, False, False, True]
    assert values_of(part, "alignment") == values_of(whole, "alignment")
    assert part["copy"]["l1"] != whole["copy"]["l1"]
    Image.new("L", (24, 20)).save(masks / "image00.png")
    (masks / "image01.png").write_bytes(b"no image")
    part, said = report_of(i2i, run, code=1)
    assert part["names"]["B"] == ["image02.png", "image03.png"]
    assert f"{masks / 'image00.png'}: all black" in said
    assert f"{masks / 'image01.png'}" in said


def test_two_folders_have_their_masks_in_a_third(tmp_path: Path, i2i: Run) -> None:
    make_set(tmp_path, summer=4, winter=4, clouds=4)
    run, folders = tmp_path / "run", ("--a", tmp_path / "summer", "--b", tmp_path / "winter")
    whole = small_arguments("pix2pix", tmp_path, run, steps=1)
    at = whole.index("--data")
    arguments = [*whole[:at], *whole[at + 2 :], *folders, "--set", "data.held_out=0.4"]
    trained = i2i(*arguments, "--mask", tmp_path / "clouds")
    assert trained.code == 0, trained.err  # masks of held-out pairs are those of pairs
    assert f"masks in {tmp_path / 'clouds'} say how much each pixel counts" in trained.err
    part, said = report_of(i2i, run)
    assert part["names"]["A"] == ["image00.png", "image03.png"]
    assert "only what the 2 masks in clouds show counts" in said
    assert i2i(*arguments, "--run", tmp_path / "plain").code == 0
    assert i2i(*arguments, "--run", tmp_path / "fewer", "--set", "data.held_out=0.3").code == 0
    for other, reason in (
        ("run", f"and run by the masks in {tmp_path / 'clouds'}: name the images"),
        ("fewer", f"from {tmp_path / 'summer'} and {tmp_path / 'winter'} with another data.held_out: name the images"),
    ):
        assert_refused(i2i("compare", tmp_path / "plain", tmp_path / other, "-o", tmp_path / "page.html"), reason)
    moved = (tmp_path / "clouds").rename(tmp_path / "moved")
    assert i2i("train", "--resume", run, "--steps", 2, "--mask", moved).code == 0
    (moved / "image01.png").rename(moved / "image1.png")
    checked = i2i("data", "check", *folders, "--mask", moved)
    assert "masks      3 of train in moved" in checked.out
    assert checked.err.count("image1.png: a mask of no pair") == 1
    assert_refused(i2i(*arguments, "--run", tmp_path / "other", "--mask", moved), "or leave out --mask")
    for wrong, named in (
        (("--mask", tmp_path / "summer"), "masks need a folder"),
        (("--test-mask", moved), "goes with"),
    ):
        assert_refused(i2i("data", "check", *folders, *wrong), named)


def keep_as_mask(path: Path, root: Path) -> None:
    (root / "trainMask").mkdir(exist_ok=True)
    with Image.open(path) as image:
        image.getchannel("R").save(root / "trainMask" / path.name)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_mask_moves_as_its_pair_does(masked_set: Path, tmp_path: Path, side_by_side: bool) -> None:
    root = masked_set
    if side_by_side:
        root = tmp_path / "joined"
        shutil.copytree(masked_set / "trainMask", root / "trainMask")
        (root / "train").mkdir()
        for path in (masked_set / "trainA").iterdir():
            halves = [np.asarray(Image.open(masked_set / side / path.name)) for side in ("trainA", "trainB")]
            Image.fromarray(np.hstack(halves)).save(root / "train" / path.name)
    settings = ("data.load_size=20", "training.batch_size=4", "data.augment=[{name: RandomRotate90, p: 1.0}]")
    config = small_config("pix2pix", root, *settings)
    batch = next(stream_of(config, data_of(config)))
    assert batch.mask is not None
    assert batch.b is not None
    assert batch.mask.shape == (4, 1, 16, 16)
    torch.testing.assert_close(batch.mask * 2 - 1, batch.b[:, :1], atol=1e-6, rtol=0)


def made() -> tuple[Pix2Pix, Tensor, Tensor]:
    torch.manual_seed(0)
    method = Pix2Pix(
        DataSpec(16, 1, 3),
        generator=partial(UNetGenerator, width=4, depth=3),
        discriminator=partial(PatchGAN, width=4, layers=1, norm="batch"),
    )
    return method, torch.rand(2, 1, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1


def losses(method: Pix2Pix, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)  # of dropout
    discriminator, generator = method.updates(iter([batch]))
    return generator.losses | {"discriminator": discriminator.losses["gan"]}


def test_l1_is_weighted_and_other_pixels_weigh_what_they_did() -> None:
    method, a, b = made()
    mask = torch.rand(2, 1, 16, 16)
    torch.manual_seed(1)
    expected = 100 * (mask * (method.generator(a) - b).abs()).mean()
    torch.testing.assert_close(losses(method, Batch(a, b, mask=mask))["l1"], expected)
    assert_same(losses(method, Batch(a, b, mask=torch.ones(2, 1, 16, 16))), losses(method, Batch(a, b)))


def test_nothing_is_learnt_of_what_has_weight_0() -> None:
    method, a, b = made()
    mask = (torch.arange(16) < 9).float().expand(2, 1, 16, 16).clone()
    other = torch.where(mask > 0, b, torch.rand(2, 3, 16, 16))
    assert_same(losses(method, Batch(a, other, mask=mask)), losses(method, Batch(a, b, mask=mask)))
    half = losses(method, Batch(a, b, mask=mask / 2))
    torch.testing.assert_close(half["l1"], losses(method, Batch(a, b, mask=mask))["l1"] / 2)
    assert half["discriminator"] == losses(method, Batch(a, b, mask=mask))["discriminator"]


def test_runs_with_masks_are_exact(masked_set: Path, tmp_path: Path, i2i: Run) -> None:
    settings = ("training.checkpoint_seconds=0", "training.keep_checkpoints=9", "data.memory_gib=0", "training.steps=3")
    train(small_config("pix2pix", masked_set, *settings), tmp_path / "run")
    stopped = RunFolder(Path(shutil.copytree(tmp_path / "run", tmp_path / "stopped")))
    for checkpoint in stopped.checkpoints()[1:]:
        checkpoint.unlink()
    resume(stopped.root)
    trees = [
        load_tree(RunFolder(run).checkpoints()[-1], kind="checkpoint")[0] for run in (stopped.root, tmp_path / "run")
    ]
    assert_same(*({key: value for key, value in tree.items() if key != "seconds"} for tree in trees))
    mask = masked_set / "trainMask" / "image01.png"
    Image.new("L", (24, 20), 77).save(mask)
    result = i2i("train", "--resume", tmp_path / "run", "--steps", 8)
    assert result.code == 2
    assert f"{mask}: its contents have changed since the run was started" in result.err


def test_what_lacks_a_mask_is_named(masked_set: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = small_arguments("pix2pix", masked_set, tmp_path / "run")
    assert f"masks in {masked_set / 'trainMask'} say how much" in i2i(*arguments, "--dry-run").out
    (unused,) = data_of(small_config("cyclegan", masked_set)).notes()
    assert f"the masks in {masked_set / 'trainMask'} are not used" in unused
    checked = i2i("data", "check", masked_set)
    assert checked.code == 0
    assert "masks      4 of train in trainMask, which let" in checked.out
    lone = masked_set / "trainMask" / "image02.png"
    lone.rename(lone.with_name("other.png"))
    Image.new("L", (24, 20)).save(masked_set / "trainMask" / "image03.png")
    Image.new("L", (20, 40), 255).save(masked_set / "trainMask" / "image00.png")
    (masked_set / "testMask").mkdir()
    for name in ("image00.png", "image7.png"):
        Image.new("L", (24, 20), 255).save(masked_set / "testMask" / name)
    result = i2i(*arguments)
    assert result.code == 2
    assert f"trainMask has no mask for {masked_set / 'trainA' / 'image02.png'}: add a grey image" in result.err
    checked = i2i("data", "check", masked_set)
    assert checked.code == 1
    assert "1 pairs have no mask in trainMask, first" in checked.err
    assert "other.png: a mask of no pair" in checked.err
    assert "image03.png: all black" in checked.err
    assert f"image00.png: 20x40 are other proportions than the 24x20 of {masked_set / 'trainA'}" in checked.err
    assert checked.err.count("other proportions") == 1
    assert "shapes" not in checked.out
    Image.new("RGB", (24, 24)).save(masked_set / "trainB" / "image01.png")
    shapes = "shapes     1 pair in train of images that differ in their proportions, first image01: data.fit=square"
    assert shapes in i2i("data", "check", masked_set).out
    assert "masks      1 of test in testMask, which let 100%" in checked.out
    assert "image7.png: a mask of no pair" in checked.err
    assert "in testMask, first" not in checked.err  # held-out pairs may have none
