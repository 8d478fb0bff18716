"""Files that an earlier i2i wrote are read by this one: a folder of each format lies in tests/files and never changes.

``python -m tests.test_formats`` writes the folder of today's format, where there is none yet.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from i2i.data.images import read_image
from i2i.exchange.state_files import import_state
from i2i.inference.load import load
from i2i.inference.sampler import Sampler
from i2i.storage.weights import FORMAT, load_tree, load_weights
from i2i.training.start import resume, train

from .conftest import small_config
from .test_foreign import resnet

FORMATS = sorted((Path(__file__).parent / "files").glob("format-*"))
NAMES = ("sampler", "translator", "imported.safetensors")
INPUT = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def write(folder: Path) -> None:
    """A run that can go on with built-in data, a translator, an imported translator, and what they draw."""
    settings = ("training.steps=2", "training.threads=1", "training.ema.half_life=10")
    train(small_config("cgan", Path("digits"), *settings), folder / "sampler")
    train(small_config("cyclegan", Path("openmoji"), *settings), folder / "translator")
    for path in (folder / "translator").iterdir():
        if path.name != "model.safetensors":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("tb", "samples"):
        shutil.rmtree(folder / "sampler" / name)
    torch.manual_seed(0)
    torch.save(resnet(1, width=2).state_dict(), folder / "G.pth")
    import_state(folder / "G.pth", folder / "imported.safetensors")
    (folder / "G.pth").unlink()
    for name in NAMES:
        Image.fromarray(drawn(folder / name)).save(folder / f"{name}.png")


def drawn(model_file: Path) -> NDArray[np.uint8]:
    model = load(model_file, device="cpu")
    return np.concatenate(list(model.sample(3)), 1)[..., 0] if isinstance(model, Sampler) else model(INPUT)


def test_every_format_up_to_todays_has_its_folder() -> None:
    assert [int(folder.name.removeprefix("format-")) for folder in FORMATS] == list(range(2, FORMAT + 1))


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", NAMES)
def test_weight_files_draw_what_they_drew(folder: Path, name: str) -> None:
    expected = read_image(folder / f"{name}.png", 1 if name == "sampler" else 3)
    image = drawn(folder / name).astype(int)
    assert np.abs(image - expected.reshape(image.shape)).max() <= 1  # rounding differs between CPUs


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_a_run_goes_on(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "sampler", tmp_path / "run")
    (checkpoint,) = (run / "checkpoints").iterdir()
    before = load_tree(checkpoint, kind="checkpoint")[0]["engine"]
    assert resume(run, 3, settings={"training.device": "cpu"}).step == 3
    (*_, newest) = sorted((run / "checkpoints").iterdir())
    after = load_tree(newest, kind="checkpoint")[0]["engine"]
    assert (before["step"], after["step"]) == (2, 3)
    for name in (name for name in before["method"] if name.endswith((".weight", ".bias"))):
        assert (after["method"][name] - before["method"][name]).abs().max() < 0.01, name
    assert load_weights(run / "model.safetensors").step == 3


if __name__ == "__main__":
    write(Path(__file__).parent / "files" / f"format-{FORMAT}")
