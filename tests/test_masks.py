"""Masks of pairs: found by name, moved as their pair is, weights of L1, and hidden from discriminators where 0."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

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
from i2i.training.start import resume, train

from .conftest import Run, make_set, small_arguments, small_config
from .toys import assert_same, load_for, stream_of


@pytest.fixture
def masked_set(tmp_path: Path) -> Path:
    """Four pairs, whose masks are the red channel of B."""
    root = make_set(tmp_path / "masked", trainA=4, trainB=4, testA=2, testB=2)
    for path in sorted((root / "trainB").iterdir()):
        keep_as_mask(path, root)
    return root


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
    batch = next(stream_of(config, load_for(config)))
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
    (unused,) = load_for(small_config("cyclegan", masked_set)).notes()
    assert f"the masks in {masked_set / 'trainMask'} are not used" in unused
    checked = i2i("data", "check", masked_set)
    assert checked.code == 0
    assert "masks      4 in trainMask, which let" in checked.out
    lone = masked_set / "trainMask" / "image02.png"
    lone.rename(lone.with_name("other.png"))
    Image.new("L", (24, 20)).save(masked_set / "trainMask" / "image03.png")
    result = i2i(*arguments)
    assert result.code == 2
    assert f"trainMask has no mask for {masked_set / 'trainA' / 'image02.png'}: add a grey image" in result.err
    checked = i2i("data", "check", masked_set)
    assert checked.code == 1
    assert "1 pairs have no mask in trainMask, first" in checked.err
    assert "other.png: a mask of no pair" in checked.err
    assert "image03.png: all black" in checked.err
