"""``i2i sample --drop-feature``: a generator with weights set by hand forgets what boxes show, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.build import build_method
from i2i.config.resolve import changed
from i2i.errors import DataError
from i2i.inference.load import load_sampler
from i2i.inference.sampler import Sampler
from i2i.methods.generative import GenerativeMethod
from i2i.probes.forget import Box, drop_features, find_maps
from i2i.probes.linear import MapWeights
from i2i.storage.weights import save_weights

from .conftest import Run, small_config

LEFT, RIGHT = (0, 4, 8, 12), (8, 4, 16, 12)
"""Where the square of 16x16 pixels can be: x0, y0, x1, y1."""
SQUARE, DARK, SAME = (1, 3), 0, 2
"""The maps of the stage up1: two draw the square, one a dark one at the other side, one is the same everywhere."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DCGAN that draws a bright square left where the first latent number is above zero, right where it is below."""
    settings = ("networks.generator.norm=none", "networks.discriminator.norm=none", "data.channels_a=1")
    config = changed(small_config("dcgan", Path("digits"), *settings), {"data.labels": ()})
    method = build_method(config.model)
    assert isinstance(method, GenerativeMethod)
    generator = method.generator.requires_grad_(False)
    for parameter in generator.parameters():
        parameter.zero_()
    (project, up, head) = (_transposed(generator.get_submodule(name)) for name in ("project", "up1", "head"))
    sides = torch.zeros(4, 4)
    sides[1:3, 0:2], sides[1:3, 2:4] = 1, -1
    project.weight[0, 0], project.weight[0, 1] = sides, -sides  # the ReLU behind it leaves one side
    up.weight[0, SQUARE[0], 1:3, 1:3], up.weight[0, SQUARE[1], 1:3, 1:3] = 1, 0.5  # each value twice in both directions
    up.weight[1, DARK, 1:3, 1:3] = 1
    assert up.bias is not None
    up.bias[SAME] = 1
    head.weight[list(SQUARE), 0, 1:3, 1:3] = 2
    head.weight[DARK, 0, 1:3, 1:3] = -2
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_weights(path, method.inference_state(), config.model, 1)
    return path


def _transposed(stage: nn.Module) -> nn.ConvTranspose2d:
    return next(layer for layer in stage.modules() if isinstance(layer, nn.ConvTranspose2d))


@pytest.fixture(scope="module")
def sampler(model: Path) -> Sampler:
    return load_sampler(model, device="cpu")


def drawn_by(sampler: Sampler, number: int) -> float:
    """The latent number that decides where the square is, and how bright."""
    return sampler.latents([number])[0, 0].item()


def boxes_on(sampler: Sampler, *, count: int, bright: bool = True) -> list[Box]:
    """Boxes on the first samples whose square is easily seen: round the bright one, or round the dark one."""
    boxes: list[Box] = []
    for number in range(200):
        value = drawn_by(sampler, number)
        if abs(value) > 0.3 and len(boxes) < count:
            boxes.append(Box(sample=number, box=LEFT if (value > 0) == bright else RIGHT))
    assert {box.box for box in boxes} == {LEFT, RIGHT}
    return boxes


def written(path: Path, boxes: list[Box]) -> Path:
    path.write_text(json.dumps([box.model_dump() for box in boxes]))
    return path


def centres(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of a sheet of 16x16 samples, the middle of the left and of the right place: (rows, columns, 2)."""
    return np.stack([pixels[8::16, 4::16], pixels[8::16, 12::16]], axis=-1)


def test_exactly_the_maps_that_draw_what_is_in_the_boxes_are_found(sampler: Sampler) -> None:
    found = find_maps(sampler, "up1", boxes_on(sampler, count=70))  # more than a batch
    assert (found.maps, found.count, found.samples) == (SQUARE, 4, 70)
    assert (found.inside, found.outside) == (70 * 16, 70 * 16)  # a square of 8 pixels is 4x4 of 8x8 locations
    assert found.accuracy == 1.0
    assert find_maps(sampler, "up1", boxes_on(sampler, count=6, bright=False)).maps == (DARK,)


def test_the_accuracy_is_that_on_samples_left_out_of_the_fit() -> None:
    """With more maps than locations a regression learns everything by heart, meaning or none."""
    random = np.random.default_rng(0)
    activations = random.normal(size=(60, 200)).astype(np.float32)
    positive, origin = random.random(60) < 0.5, np.repeat(np.arange(6), 10)
    fitted = MapWeights(activations, positive, origin)
    centred = activations - activations.mean(0)
    learnt = (centred @ (fitted.weights / activations.std(0)) > 0) == positive
    assert learnt.mean() > 0.95
    assert fitted.accuracy is not None
    assert fitted.accuracy < 0.75


def test_what_the_boxes_show_is_forgotten_in_new_samples(
    model: Path, sampler: Sampler, tmp_path: Path, i2i: Run
) -> None:
    boxes = boxes_on(sampler, count=6)
    file, first = written(tmp_path / "squares.yaml", boxes), max(box.sample for box in boxes) + 1
    arguments = ("sample", "--model", model, "-o", tmp_path / "forgot.png", "--count", 8)
    result = i2i(*arguments, "--drop-feature", f"up1:{file}")
    assert result.code == 0, result.err
    whole, without = centres(np.asarray(Image.open(tmp_path / "forgot.png")))
    left = np.array([drawn_by(sampler, number) > 0 for number in range(first, first + 8)])
    np.testing.assert_array_equal(whole[:, 0] > 128, left)  # the samples after those with boxes
    np.testing.assert_array_equal(whole[:, 1] > 128, ~left)
    assert without.max() == 128
    np.testing.assert_array_equal(without.min(axis=1), whole.min(axis=1))  # the dark one is still there
    for part in (
        "6 on 6 samples: 96 locations of up1 inside, 96",
        "100.0% correct",
        "(50.0% by chance)",
        "2 of 4 maps",
    ):
        assert part in result.out
    again = (tmp_path / "forgot.png").read_bytes()
    assert i2i(*arguments, "--overwrite", "--drop-feature", f"up1:{file}").out == result.out
    assert (tmp_path / "forgot.png").read_bytes() == again
    # What it prints is the other form of the option.
    assert "up1:1,3" in result.out
    by_number = drop_features(sampler, "up1:1,3", count=2, label=None, seed=0)
    assert (by_number.maps, by_number.lines) == (SQUARE, ())


def test_boxes_are_on_the_samples_of_the_seed(sampler: Sampler, tmp_path: Path) -> None:
    """The other seed puts the square elsewhere in some of these samples, and the boxes no longer fit."""
    file = written(tmp_path / "boxes.json", boxes_on(sampler, count=8))
    assert drop_features(sampler, f"up1:{file}", count=1, label=None, seed=0).maps == SQUARE
    assert "100.0% correct" not in drop_features(sampler, f"up1:{file}", count=1, label=None, seed=1).lines[1]


def test_maps_of_a_model_with_standing_statistics_are_those_of_its_samples(tmp_path: Path) -> None:
    """Its first sample takes the statistics, from 512 other images; nothing of these is among the maps."""
    settings = ("networks.generator.attention=8", "networks.discriminator.attention=8", "inference.statistics=standing")
    config = changed(
        small_config("biggan", Path("digits"), *settings), {"data.labels": ("a", "b"), "data.channels_a": 1}
    )
    torch.manual_seed(0)
    save_weights(tmp_path / "model.safetensors", build_method(config.model).inference_state(), config.model, 1)
    boxes = [Box(sample=number, box=LEFT) for number in range(4)]
    fresh, used = (load_sampler(tmp_path / "model.safetensors", device="cpu") for _ in range(2))
    list(used.sample(1))
    assert find_maps(fresh, "up1", boxes) == find_maps(used, "up1", boxes)


def test_one_sample_has_no_other_to_be_measured_on(sampler: Sampler) -> None:
    found = find_maps(sampler, "up1", boxes_on(sampler, count=6)[:1])
    assert (found.maps, found.accuracy) == (SQUARE, None)
    assert "not measured" in found.lines()[1]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("- {sample: 0, box: [0, 0, 17, 8]}", "box 1, [0.0, 0.0, 17.0, 8.0], is not inside a sample of 16x16 pixels"),
        ("- {sample: 0, box: [-1, 0, 8, 8]}", "is not inside a sample"),
        ("- {sample: 0, box: [8, 0, 4, 8]}", "0 <= x0 < x1 <= 16"),
        ("- {sample: 0, box: [0, 0, .nan, 8]}", "box 1 is not like {sample: 3, box: [10, 4, 26, 20]} (box.2"),
        ("- {sample: 0, box: [0, 0, 8]}", "(box.3: Field required)"),
        ("- {sample: 0, box: [0, 0, 8, 8]}\n- {sample: -2, box: [0, 0, 8, 8]}", "box 2 is not like"),
        ("- {sample: 0, bocks: [0, 0, 8, 8]}", "box 1 is not like"),
        ("- 7", "(the entry: "),
        ("- {sample: 0, box: [0.2, 0.2, 0.8, 0.8]}", "holds no location of this stage, which has one every 2 pixels"),
        ("- {sample: 4, box: [0, 0, 16, 16]}", "boxes on sample 4 leave nothing outside"),
        ("[]", "holds no list of boxes"),
        ("", "holds no list of boxes"),
        ("sample: 0", "holds no list of boxes"),
        ("- {sample: 0, box: [", "is no YAML file"),
        (b"\x89PNG\r\n\x1a\n\x00", "is no YAML file"),
        (None, "No such file or directory"),
    ],
)
def test_boxes_that_cannot_be_used_are_one_line(
    model: Path, tmp_path: Path, content: str | bytes | None, named: str, i2i: Run
) -> None:
    file = tmp_path / "boxes.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = i2i("sample", "--model", model, "-o", tmp_path / "out.png", "--drop-feature", f"up1:{file}")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert named in result.err
    assert not (tmp_path / "out.png").exists()


def test_a_stage_that_draws_nothing_in_the_boxes(model: Path, sampler: Sampler, tmp_path: Path, i2i: Run) -> None:
    file = written(tmp_path / "boxes.yaml", [Box(sample=0, box=(0, 0, 16, 4)), Box(sample=1, box=(0, 0, 16, 4))])
    with pytest.raises(DataError, match="no map of up1 has a weight above zero"):
        drop_features(sampler, f"up1:{file}", count=1, label=None, seed=0)
    for wrong in (f"up9:{file}", f"{file}", "up1:"):
        result = i2i("sample", "--model", model, "-o", tmp_path / "out.png", "--drop-feature", wrong)
        assert result.code == 2
        assert "write STAGE:3,17 or STAGE:BOXES.yaml with a stage of project, up1" in result.err


def test_without_scikit_learn_nothing_is_computed(
    sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> Tensor:
        raise AssertionError("the generator ran")

    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(sampler.method.generator, "forward", refuse)
    with pytest.raises(DataError, match=r"needs sklearn: .*pip install 'i2i\[demo\]'"):
        drop_features(sampler, f"up1:{tmp_path / 'boxes.yaml'}", count=1, label=None, seed=0)
