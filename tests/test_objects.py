"""Images as Python objects: what a translator takes, gives back, and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i.errors import ConfigError, DataError
from i2i.inference.load import load_translator
from i2i.inference.translator import Translator
from i2i.training.start import train

from .conftest import small_config

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config("cyclegan", toy_set, "training.steps=1")
    return train(config, tmp_path_factory.mktemp("objects") / "run").run.root


@pytest.fixture(scope="module")
def translator(run: Path) -> Translator:
    return load_translator(run)


def test_a_tensor_comes_back_in_its_precision(translator: Translator) -> None:
    image = torch.rand(3, 16, 16) * 2 - 1
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        assert translator(image.to(dtype)).dtype == dtype


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (255.0, "255"), (-2.0, "2")])
def test_a_tensor_of_another_range_is_refused(translator: Translator, value: float, said: str) -> None:
    image = torch.zeros(3, 16, 16)
    image[0, 3, 4] = value
    with pytest.raises(DataError, match=rf"in \[-1, 1\] is needed, and this one has values as far from 0 as {said}$"):
        translator(image)


@pytest.mark.parametrize("array", [PIXELS[None], PIXELS[..., :2], PIXELS[:0], PIXELS.astype(np.uint16), PIXELS / 255])
def test_an_array_of_another_shape_or_type_is_named(translator: Translator, array: np.ndarray) -> None:
    with pytest.raises(DataError) as refused:
        translator(array)
    assert str(refused.value).endswith(f"is needed, and not {array.dtype} {array.shape}")


def test_a_side_of_tiles_is_a_number(translator: Translator) -> None:
    with pytest.raises(ConfigError, match=r"tiles of '16' pixels: give a whole number"):
        translator(PIXELS, tile="16")  # type: ignore[arg-type]
