"""Several answers for one input: their names, seeds and records, whatever model has noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from i2i.data.images import read_image
from i2i.errors import ConfigError
from i2i.inference.load import load_translator
from i2i.inference.precision import FEW
from i2i.training.start import train

from .conftest import Run, draw, small_config
from .toys import assert_refused


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    strong = ("networks.generator.init_gain=1", "inference.seed=5", "training.steps=1")
    return train(small_config("bicyclegan", toy_set, *strong), folder).run.root


def test_number_k_of_every_image_has_the_noise_of_the_seed_k_minus_1_later(tmp_path: Path, run: Path, i2i: Run) -> None:
    for number, size in enumerate([(16, 16), (16, 16), (23, 9)]):
        draw(tmp_path / f"in/deep/{number}.png", number, size)
    asked = ("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--precision", "fp32")
    assert "translated 6 of 6" in i2i(*asked, "--samples", 2).out
    model = load_translator(run, device="cpu")
    for number in range(3):
        image = read_image(tmp_path / f"in/deep/{number}.png")
        answers = [read_image(tmp_path / f"out/deep/{number}_{k}.png") for k in (1, 2)]
        assert not np.array_equal(answers[0], answers[1])
        for k, (answer, sample) in enumerate(zip(answers, model.samples(image, 2), strict=True)):
            assert np.abs(answer.astype(int) - model(image, seed=5 + k)).max() <= 1
            np.testing.assert_array_equal(sample, model(image, seed=5 + k))

    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["seed"], report["samples"]) == (5, 2)
    entries = [(Path(each["input"]).stem, each["output"], each["sample"], each["seed"]) for each in report["files"]]
    assert entries == [(str(n), f"deep/{n}_{k}.png", k, 4 + k) for n in range(3) for k in (1, 2)]


def test_more_samples_keep_those_that_are_there(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.png", 0)
    asked = ("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--samples")
    assert i2i(*asked, 2).code == 0
    first = (tmp_path / "out/a_1.png").stat().st_mtime_ns
    again = i2i(*asked, 3)
    assert "2 of 3 were translated before and are kept" in again.err
    assert (tmp_path / "out/a_1.png").stat().st_mtime_ns == first
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    assert "were translated before" not in i2i(*asked, 3, "--seed", 9).err
    assert "1 of 1 were translated before" in i2i(*asked, 1, "--seed", 9).err
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {each["output"] for each in report["earlier"]} == {"a_2.png", "a_3.png"}
    assert i2i(*asked, 3, "--seed", 9).code == 0  # number 1 is still ours


def test_the_number_of_answers_does_not_decide_the_precision(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.png", 0)
    for count in (1, FEW):
        out = tmp_path / str(count)
        i2i("translate", tmp_path / "in", "-o", out, "--model", run, "--samples", count, "--device", "cpu")
        assert json.loads((out / "report.json").read_text())["precision"] == "fp32"


def test_files_of_others_are_not_replaced(tmp_path: Path, run: Path, i2i: Run) -> None:
    source, other = draw(tmp_path / "in/a.png", 0), draw(tmp_path / "out/a_2.png", 1)
    before = other.read_bytes()
    for given in (source.parent, source):
        asked = ("translate", given, "-o", tmp_path / "out", "--model", run, "--samples", 2)
        assert_refused(i2i(*asked), "a_2.png exists")
    assert other.read_bytes() == before
    assert i2i("translate", source, "-o", tmp_path / "b.webp", "--model", run, "--samples", 2).code == 0
    assert {path.name for path in tmp_path.glob("*.webp")} == {"b_1.webp", "b_2.webp"}


def test_an_image_that_cannot_be_read_is_named_once(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.png", 0)
    (tmp_path / "in/b.png").write_text("hello")
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--samples", 2)
    assert (result.code, result.err.count("b.png")) == (1, 1)
    assert json.loads((tmp_path / "out/report.json").read_text())["skipped"] == 2


def test_models_without_noise_have_one_answer(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    model = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run.root
    source = draw(tmp_path / "in/a.png", 0)
    assert_refused(
        i2i("translate", source.parent, "--model", model, "--samples", 2), "cyclegan draws no noise at translation"
    )
    assert not (tmp_path / "in-translated").exists()
    with pytest.raises(ConfigError, match="one answer"):
        load_translator(model).samples(read_image(source), 2)


def test_dropout_gives_answers_too(tmp_path: Path, toy_set: Path) -> None:
    settings = ["networks.generator.depth=4", "networks.generator.init_gain=1", "training.steps=1"]
    model = load_translator(train(small_config("pix2pix", toy_set, *settings), tmp_path / "run").run.root)
    one, other = model.samples(read_image(draw(tmp_path / "a.png", 0)), 2)
    assert not np.array_equal(one, other)
