"""Sets in which only some images have a partner: CycleGAN uses pairs as pairs, and all others as unpaired images."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import l1_loss

from i2i.batch import Batch
from i2i.build import build_method
from i2i.methods.cyclegan import CycleGAN
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree
from i2i.training.settling import data_of
from i2i.training.start import resume, train

from .conftest import Run, make_set, small_arguments, small_config
from .toys import assert_same, stream_of

ON = "method.paired_weight=7"


def mixed_set(root: Path, *, lone_a: int, lone_b: int, pairs: int = 3) -> Path:
    """Pairs whose B is their A, and images that have no partner."""
    make_set(root, trainA=pairs + lone_a, trainB=pairs + lone_b, testA=2, testB=2)
    for path in sorted((root / "trainB").iterdir())[:pairs]:
        shutil.copy(root / "trainA" / path.name, path)
    for path in sorted((root / "trainB").iterdir())[pairs:]:
        path.rename(path.with_name(f"only-{path.name}"))
    return root


@pytest.mark.parametrize(("lone_a", "lone_b", "epoch"), [(2, 4, 7), (0, 4, 7), (0, 0, 3)])
def test_an_epoch_shows_every_pair_once_and_the_others_between_them(
    tmp_path: Path, lone_a: int, lone_b: int, epoch: int
) -> None:
    root = mixed_set(tmp_path, lone_a=lone_a, lone_b=lone_b)
    config = small_config("cyclegan", root, ON, "data.load_size=16", "data.flip=false", "training.batch_size=1")
    data = data_of(config)
    items = list(islice(stream_of(config, data), epoch))
    pairs = [batch for batch in items if batch.paired is not None and batch.paired.item()]
    assert len(pairs) == 3
    assert all(torch.equal(batch.a, batch.of("B")) for batch in pairs)
    shown = {batch.of("B").numpy().tobytes() for batch in items}
    assert len(shown) == 3 + lone_b
    assert len({batch.a.numpy().tobytes() for batch in items}) >= 3 + min(1, lone_a)
    assert f"{3 + lone_a} images in A and {3 + lone_b} in B, of which 3 are pairs" in data.describe()


def test_pairs_share_their_crop(tmp_path: Path) -> None:
    root = mixed_set(tmp_path, lone_a=1, lone_b=1)
    config = small_config("cyclegan", root, ON, "data.load_size=20", "training.batch_size=4")
    batch = next(stream_of(config, data_of(config)))
    assert batch.paired is not None
    assert batch.paired.sum() == 3
    for a, b, paired in zip(batch.a, batch.of("B"), batch.paired, strict=True):
        assert torch.equal(a, b) == bool(paired)


def generator_losses(method: CycleGAN, batch: Batch) -> dict[str, Any]:
    return next(iter(method.updates(iter([batch])))).losses


def test_only_pairs_weigh_in_the_loss_to_partners(tmp_path: Path) -> None:
    method = build_method(small_config("cyclegan", tmp_path, ON).model)
    assert isinstance(method, CycleGAN)
    a, b = torch.rand(2, 4, 3, 16, 16).mul(2).sub(1)
    paired = torch.tensor([True, False, False, True])
    losses = generator_losses(method, Batch(a, b, paired=paired))
    fake_b, fake_a = method.generator_AtoB(a), method.generator_BtoA(b)
    torch.testing.assert_close(losses["paired_B"], 7 * l1_loss(fake_b[paired], b[paired]) / 2)
    torch.testing.assert_close(losses["paired_A"], 7 * l1_loss(fake_a[paired], a[paired]) / 2)
    method.paired_weight = 0.0
    assert_same(
        generator_losses(method, Batch(a, b)),
        {name: value for name, value in losses.items() if not name.startswith("paired")},
    )


def test_a_mixed_run_is_exact_also_where_new_images_come(tmp_path: Path) -> None:
    root = mixed_set(tmp_path / "data", lone_a=1, lone_b=2)
    settings = ("training.checkpoint_seconds=0", "training.keep_checkpoints=9", "training.steps=4", "method.history=2")
    train(small_config("cyclegan", root, ON, *settings), tmp_path / "run")
    stopped = RunFolder(Path(shutil.copytree(tmp_path / "run", tmp_path / "stopped")))
    for checkpoint in stopped.checkpoints()[1:]:
        checkpoint.unlink()
    shutil.copy(root / "trainA" / "image00.png", root / "trainB" / "image03.png")  # a partner of one that had none
    resume(stopped.root)
    trees = [
        load_tree(RunFolder(run).checkpoints()[-1], kind="checkpoint")[0] for run in (stopped.root, tmp_path / "run")
    ]
    assert_same(*({key: value for key, value in tree.items() if key != "seconds"} for tree in trees))


def test_a_set_without_pairs_is_refused(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    root = mixed_set(tmp_path / "data", lone_a=2, lone_b=2, pairs=0)
    result = i2i(*small_arguments("cyclegan", root, tmp_path / "run"), "--set", ON)
    assert result.code == 2
    assert "has a partner of the same name" in result.err
    assert "leave out method.paired_weight" in result.err
