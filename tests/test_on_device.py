"""``data.on_device``: batches that are cut out on the device have the bits of those that loaders make."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.config.schema import Config
from i2i.data import on_device
from i2i.data.training_set import TrainingData
from i2i.storage.runs import RunFolder
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_arguments, small_config
from .test_mixed import mixed_set
from .toys import assert_refused, assert_same, dataset_of, prepare

CPU = torch.device("cpu")
ON = "data.on_device=true"


def masked(root: Path) -> Path:
    """Pairs with masks."""
    make_set(root, trainA=5, trainB=5)
    for image in sorted((root / "trainA").iterdir()):
        draw(root / "trainMask" / image.name, 7 + int(image.stem[-2:]), mode="L")
    return root


def deep(root: Path) -> Path:
    """Domains of 16 bits and of 8."""
    make_set(root, trainA=0, trainB=4)
    (root / "trainA").mkdir(parents=True)
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 65_536, (22, 22), dtype=np.uint16)
        Image.fromarray(values).save(root / f"trainA/{number}.png")
    return root


def broken(root: Path) -> Path:
    """Two domains with an image that only decoding finds damaged: the first of A, and one of B."""
    make_set(root, trainA=4, trainB=6)
    for name in ("trainA/image00.png", "trainB/image02.png"):
        (root / name).write_bytes((root / name).read_bytes()[:60])
    return root


PAIRS = "method.paired_weight=7"
SETS: dict[str, tuple[str, Callable[[Path], Path], list[str]]] = {
    "pairs with masks": ("pix2pix", masked, []),
    "unpaired": ("cyclegan", lambda root: make_set(root, trainA=6, trainB=5), ["data.channels_b=1"]),
    "one shape": ("cyclegan", lambda root: make_set(root, trainA=3, trainB=5), ["data.fit=shorter"]),
    "labels": ("cgan", lambda root: make_set(root, **{"train/red": 4, "train/blue": 3}), []),
    "mixed": ("cyclegan", lambda root: mixed_set(root, lone_a=2, lone_b=3), [PAIRS]),
    "mixed, all of A in pairs": ("cyclegan", lambda root: mixed_set(root, lone_a=0, lone_b=2), [PAIRS]),
    "16 bits": ("cyclegan", deep, ["method.identity_weight=0"]),
    "unreadable": ("cyclegan", broken, []),
}
GEOMETRIES = {"crop and flip": (20, True), "neither": (16, False), "crop": (20, False), "flip": (16, True)}


def batches(prepared: tuple[Config, TrainingData], *, first: int) -> list[dict[str, object]]:
    """Batches of both ranks of two, from number ``first`` on."""
    config, data = prepared
    streams = (data.batches(dataset_of(config, data, rank, 2), first, workers=0, device=CPU) for rank in (0, 1))
    return [vars(batch) for stream in streams for batch in islice(stream, 4)]


@pytest.mark.parametrize(
    ("name", "geometry"),
    [*((name, way) for name in SETS for way in list(GEOMETRIES)[:2]), ("unpaired", "crop"), ("labels", "flip")],
)
def test_batches_are_those_of_the_usual_path(tmp_path: Path, name: str, geometry: str) -> None:
    arch, make, settings = SETS[name]
    root, (load_size, flip) = make(tmp_path), GEOMETRIES[geometry]
    given = [*settings, f"data.load_size={load_size}", f"data.flip={str(flip).lower()}", "training.batch_size=4"]
    usual, ours = prepare(arch, root, *given), prepare(arch, root, *given, ON)
    assert_same(batches(usual, first=0), batches(ours, first=0))
    assert usual[1].problems() == ours[1].problems()
    assert len(ours[1].problems()) == 2 * (name == "unreadable")
    assert_same(batches(usual, first=9), batches(prepare(arch, root, *given, ON), first=9))


def test_a_run_has_the_weights_of_the_usual_path_and_goes_on_exactly(tmp_path: Path, i2i: Run) -> None:
    data, constant = make_set(tmp_path / "data", train=7), "training.schedule.constant=1"
    usual = train(small_config("gan", data, constant, "training.steps=3"), tmp_path / "usual").run
    made = i2i(*small_arguments("gan", data, tmp_path / "run", steps=1), "--set", constant, "--set", ON)
    assert (made.code, "7 decoded images are kept on cpu: " in made.err) == (0, True), made.err
    on = i2i("train", "--resume", tmp_path / "run", "--steps", 2)
    assert (on.code, "images are kept" in on.err) == (0, True), on.err
    off = i2i("train", "--resume", tmp_path / "run", "--steps", 3, "--set", "data.on_device=false")
    assert (off.code, "images are kept" in off.err) == (0, False), off.err
    assert RunFolder(tmp_path / "run").model.read_bytes() == usual.model.read_bytes()
    draw(data / "train/image01.png", 77)
    changed = i2i("train", "--resume", tmp_path / "run", "--steps", 4, "--set", ON)
    assert_refused(changed, "image01.png: its contents have changed since the run was started")


@pytest.fixture
def told(tmp_path: Path, i2i: Run) -> Callable[..., str]:
    """What a training says last that is refused."""

    def run(arch: str, data: object, *settings: str) -> str:
        given = (part for setting in (ON, *settings) for part in ("--set", setting))
        result = i2i(*small_arguments(arch, Path(str(data)), tmp_path / "run", steps=1), *given)
        assert result.code == 2, result.err
        return result.err.splitlines()[-1]

    return run


def test_what_cannot_be_on_the_device_is_refused(
    tmp_path: Path, toy_set: Path, told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "with data.on_device none are there: leave out" in told("cyclegan", toy_set, "data.augment=[{name: Blur}]")
    assert "data.on_device: ring2d is drawn" in told("gan", "ring2d", "image_size=1")
    monkeypatch.setattr(on_device, "free_memory", lambda device: 1000)
    assert "images take 1.27e-05 GiB, and cpu has 9.31e-07 GiB free: lower data.load_size" in told("cyclegan", toy_set)
    assert not (tmp_path / "run").exists()


def test_what_decoding_finds_is_named(tmp_path: Path, told: Callable[..., str]) -> None:
    shapes = make_set(tmp_path / "shapes", trainA=2, trainB=2)
    draw(shapes / "trainB/image01.png", 1, size=(20, 20))
    said = told("cyclegan", shapes, "data.fit=shorter", "data.load_size=20")
    assert "trainB/image01.png is 20x20 and others are 24x20: set data.fit=square" in said
    bad = make_set(tmp_path / "bad", trainA=9, trainB=9)
    for path in bad.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert "more than 3 of 18 items cannot be read" in told("cyclegan", bad)
