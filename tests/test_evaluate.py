"""``i2i evaluate``: what it measures of which images, what stands beside it, and what it says of several models."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import i2i as package
from i2i.batch import Needs
from i2i.config.schema import DataConfig, ImageConfig
from i2i.data.images import Pixels, read_image
from i2i.data.store import resized
from i2i.errors import DataError
from i2i.evaluation.compare import compare
from i2i.evaluation.evaluate import Request, evaluate
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.features.base import FeatureNetwork
from i2i.evaluation.held_out import Half, HeldOut, PartName, Wanted, read_held_out
from i2i.evaluation.images import ImageSet
from i2i.evaluation.metrics.base import Metric

from .conftest import Run, draw, make_set, small_config
from .test_identity import nobody, shared_folder  # noqa: F401 (a fixture)
from .toys import CPU, assert_refused

IMAGES = ImageConfig(channels_a=3, channels_b=3)


@pytest.fixture(scope="module")
def named_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs by name: as many test images in A as in B."""
    return make_set(tmp_path_factory.mktemp("data") / "pairs", trainA=6, trainB=6, testA=4, testB=4)


def trained(arch: str, data: Path, folder: Path, *settings: str, **options: Any) -> Path:
    return package.train(small_config(arch, data, *settings, **options), folder).run.root


@pytest.fixture(scope="module")
def runs(named_set: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small CycleGAN of two seeds, the second as on another machine and looked at less often."""
    folder, elsewhere = tmp_path_factory.mktemp("runs"), ("training.graphs=true", "training.rank_timeout=60")
    return [
        trained("cyclegan", named_set, folder / f"seed{seed}", f"training.seed={seed}", "training.steps=2", *other)
        for seed, other in ((0, ()), (1, elsewhere))
    ]


def report_of(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(path.read_bytes())
    return tree


def test_figures_are_those_of_the_held_out_images(named_set: Path, runs: list[Path], tmp_path: Path, i2i: Run) -> None:
    file = tmp_path / "report.json"
    result = i2i("evaluate", "--model", runs[0], "--metrics", "l1,alignment,memorisation", "--json", file)
    assert result.code == 0, result.err
    assert "copy" in result.out
    assert "pairs by file name: 4" in result.out
    report = report_of(file)
    parts = {part["direction"]: part for part in report["directions"]}
    assert set(parts) == {"AtoB", "BtoA"}
    translator = package.load_translator(runs[0])
    for direction, (source, target) in {"AtoB": ("testA", "testB"), "BtoA": ("testB", "testA")}.items():
        values, copies = [], []
        for name in ("image00.png", "image01.png", "image02.png", "image03.png"):
            pixels, truth = (resized(read_image(named_set / side / name), 16, "square") for side in (source, target))
            values.append(_distance(translator(pixels, direction), truth))
            copies.append(_distance(pixels, truth))
        [model] = parts[direction]["models"]
        assert model["figures"]["l1"]["per_image"] == pytest.approx(values, abs=1e-6)
        assert model["figures"]["l1"]["value"] == pytest.approx(np.mean(values), abs=1e-6)
        assert parts[direction]["copy"]["l1"]["value"] == pytest.approx(np.mean(copies))
        assert parts[direction]["real"]["l1"]["value"] == 0
        assert parts[direction]["copy"]["alignment"]["details"]["own"] == pytest.approx(1)
        assert parts[direction]["real"]["memorisation"]["value"] == 0.5
        assert parts[direction]["n"] == {"outputs": 4, "real": 4, "training": 6}
        assert model["cost"]["parameters"] > 0
        assert model["cost"]["macs"] > 0
    assert report["environment"]
    assert "features" in report["cpu"]


def _distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean() / 255)


def test_everything_by_default_and_in_several_models(runs: list[Path], tmp_path: Path, i2i: Run) -> None:
    file = tmp_path / "report.json"
    result = i2i("evaluate", "--model", runs[0], "--model", runs[1], "--json", file)
    assert result.code == 0, result.err
    report = report_of(file)
    assert report["feature_network"]["name"] == "lite0"
    for part in report["directions"]:
        measured = {
            "l1",
            "psnr",
            "ssim",
            "kid_lite0",
            "precision_lite0",
            "recall_lite0",
            "swd",
            "alignment",
            "memorisation",
        }
        assert set(part["models"][0]["figures"]) == measured
        assert set(part["real"]) == set(part["copy"]) == measured
        assert "2,048" in part["unavailable"]["fid_lite0"]
        assert "176 px" in part["unavailable"]["ms_ssim"]
        assert {comparison["metric"] for comparison in part["comparisons"]} == measured - {"memorisation"}
        for comparison in part["comparisons"]:
            own = [model["figures"][comparison["metric"]]["value"] for model in part["models"]]
            assert comparison["difference"] == pytest.approx(own[0] - own[1])
            assert (comparison["better"] is None) == (abs(comparison["difference"]) <= comparison["spread"])
        [seeds] = part["seeds"]
        assert seeds["seeds"] == [0, 1]
        values = [model["figures"]["l1"]["value"] for model in part["models"]]
        assert seeds["figures"]["l1"] == pytest.approx([np.mean(values), min(values), max(values)])
    again = i2i("evaluate", "--model", runs[0], "--model", runs[1], "--json", file)
    assert_refused(again, "report.json", "--overwrite")


def test_an_evaluation_repeats_its_figures(runs: list[Path]) -> None:
    request = Request(metrics=["swd", "alignment"], device="cpu")
    one, other = (evaluate([runs[0]], request) for _ in range(2))
    for left, right in zip(one.parts, other.parts, strict=True):
        for name, figure in left.models[0].figures.items():
            assert figure.value == right.models[0].figures[name].value


def test_two_processes_find_what_one_finds(tmp_path: Path, i2i: Run) -> None:
    """Of translations and samples, each in several batches; the second process says nothing."""
    data = make_set(tmp_path / "pairs", trainA=2, trainB=2, testA=40, testB=40)
    drawings = make_set(tmp_path / "drawings", train=2, test=70)
    translates = trained("cyclegan", data, tmp_path / "translates", "training.steps=1")
    samples = trained("dcgan", drawings, tmp_path / "samples", "training.steps=1")
    command = ["evaluate", "--device", "cpu", "--metrics", "l1,swd,memorisation"]
    command += [part for model in (translates, samples) for part in ("--model", str(model))]
    alone = i2i(*command, "--json", tmp_path / "one.json")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "i2i"]
    both = subprocess.run([*launch, *command, "--json", str(tmp_path / "two.json")], capture_output=True, text=True)
    assert both.returncode == alone.code == 1, both.stderr  # samples have no l1
    assert both.stdout.count("memorisation") == alone.out.count("memorisation")
    assert both.stderr.count("left out: ") == alone.err.count("left out: ") == 1
    one, two = (report_of(tmp_path / f"{name}.json")["directions"] for name in ("one", "two"))
    assert len(one[0]["models"][0]["figures"]["l1"]["per_image"]) == 40
    assert one[2]["n"]["outputs"] == 70
    for part in (*one, *two):
        for model in part["models"]:
            del model["cost"]
    assert two == one


@pytest.mark.parametrize("arch", ["dcgan", "cgan"])
def test_samples_are_held_against_held_out_images(arch: str, labelled_set: Path, tmp_path: Path, i2i: Run) -> None:
    for number in range(9):  # two of each label at least
        draw(tmp_path / "data" / "test" / ("red", "green", "blue")[number % 3] / f"{number}.png", number)
    (tmp_path / "data" / "train").symlink_to(labelled_set / "train")
    run = trained(arch, tmp_path / "data", tmp_path / "run", "training.steps=1", image_size=28)
    file = tmp_path / "report.json"
    result = i2i(
        "evaluate", "--model", run, "--json", file, "--metrics", "swd,memorisation,label_accuracy,label_diversity"
    )
    assert result.code == (0 if arch == "cgan" else 1), result.err
    [part] = report_of(file)["directions"]
    assert part["direction"] == "samples"
    assert part["n"] == {"outputs": 9, "real": 9, "training": 12}
    assert part["copy"] == {}
    if arch == "dcgan":
        assert "labels" in part["unavailable"]["label_accuracy"]
        assert "label_accuracy of samples" in result.err
        return
    assert part["labels"] == ["blue", "green", "red"]
    assert len(part["models"][0]["figures"]["label_accuracy"]["per_image"]) == 9
    assert part["real"]["label_diversity"]["value"] == pytest.approx(1, abs=0.2)


def test_a_metric_is_one_class(runs: list[Path], named_set: Path) -> None:
    class Brightness(Metric, name="brightness"):
        """The mean of all outputs, in [0, 1]."""

        def measure(self, images: Evaluated) -> Figure:
            return mean_of(np.array([pixels.mean() / 255 for pixels in images.outputs]))

    try:
        report = evaluate([runs[0]], Request(metrics=["brightness"], device="cpu"))
    finally:
        del Metric.members["brightness"]
    translator = package.load_translator(runs[0])
    outputs = [translator(resized(read_image(p), 16, "square")) for p in sorted((named_set / "testA").iterdir())]
    figure = report.parts[0].models[0].figures["brightness"]
    assert figure.value == pytest.approx(np.mean([pixels.mean() for pixels in outputs]) / 255)
    assert report.parts[0].copy["brightness"].n == 4


def held_out(data: Path, needs: Needs = "unpaired", **wanted: Any) -> HeldOut:
    given: dict[str, Any] = {"split": "test", "count": 10} | wanted
    return read_held_out(Wanted(DataConfig(path=str(data)), IMAGES, 16, needs, **given))


class Means(FeatureNetwork, name="means"):
    """Knows how many images it has seen."""

    label, sha256, seen = "means", "1", 0

    def compute(self, images: Sequence[Pixels]) -> Tensor:
        Means.seen += len(images)
        return torch.from_numpy(np.stack([pixels.mean((0, 1), np.float32) for pixels in images]))


def test_features_of_real_images_are_computed_once(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one evaluation of four outputs of two models in two directions, and never again."""
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    request = Request(features="means", metrics=["kid", "precision"], device="cpu")
    outputs, held_out, training = 2 * 2 * 4, 2 * 4, 2 * 4
    reports = []
    for seen in (outputs + held_out + training, outputs):
        Means.seen = 0
        reports.append(evaluate(runs, request))
        assert Means.seen == seen
    one, two = (report.parts[1] for report in reports)
    assert one.real["kid_means"].value == two.real["kid_means"].value
    assert one.copy["precision_means"].value == two.copy["precision_means"].value


def test_kept_features_are_those_of_these_images_by_this_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    pixels = [np.full((4, 4, 3), 50 * number, np.uint8) for number in range(4)]
    other = [*pixels[:3], np.full((4, 4, 3), 151, np.uint8)]

    def computed(images: Sequence[Pixels], *, real: bool = True, weights: str = "1") -> int:
        network, asked = Means(CPU), ImageSet(images, real=real)
        network.sha256, Means.seen = weights, 0
        found = Evaluated(asked, asked, network=network).features(asked)
        assert found.tolist() == [image[0, 0].tolist() for image in images]
        return Means.seen

    assert [computed(pixels), computed(pixels)] == [4, 0]
    [kept] = (tmp_path / "features").iterdir()
    assert [computed(other), computed(other[::-1]), computed(pixels, weights="2")] == [4, 4, 4]
    assert [computed(pixels, real=False), computed(pixels)] == [4, 0]
    content = kept.read_bytes()
    for damaged in (content[:-9], content[:-1] + bytes([content[-1] ^ 1]), b""):
        kept.write_bytes(damaged)
        assert [computed(pixels), computed(pixels)] == [4, 0]
    monkeypatch.setattr("i2i.evaluation.features.kept.MOST_BYTES", 2 * len(content))
    os.utime(kept, (0, 0))
    assert computed(pixels, weights="3") == 4
    assert len(list((tmp_path / "features").iterdir())) == 2
    assert not kept.exists()
    monkeypatch.setenv("I2I_CACHE", str(kept.with_suffix("") / "none"))
    kept.with_suffix("").write_bytes(b"")  # the folder cannot be made
    assert computed(pixels) == 4


def test_partners_are_found_by_name(named_set: Path, toy_set: Path, tmp_path: Path) -> None:
    found = held_out(named_set)
    assert (found.paired, found.trains_in_pairs) == (True, True)
    assert not held_out(named_set, pairs=False).paired
    fewer = held_out(toy_set)  # three and two: each of the two has a partner
    assert fewer.paired
    assert fewer.sides["A"].names == fewer.sides["B"].names == ["image00.png", "image01.png"]
    others = make_set(tmp_path / "others", trainA=2, trainB=2, testA=3, testB=3)
    (others / "testB" / "image02.png").rename(others / "testB" / "apart.png")
    apart = held_out(others)
    assert not apart.paired
    assert any("2 of 3 names" in note for note in apart.notes)
    strict = held_out(others, "paired")
    assert strict.paired
    assert len(strict.sides["A"].images) == 2
    assert len(strict.skipped) == 2
    few = held_out(named_set, count=2)
    assert few.sides["A"].names == few.sides["B"].names == ["image00.png", "image02.png"]


def test_images_that_cannot_be_read_are_left_out_with_their_partners(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", trainA=2, trainB=2, testA=4, testB=4)
    (data / "testA" / "image01.png").write_bytes(b"broken")
    found = held_out(data)
    assert found.sides["A"].names == found.sides["B"].names == ["image00.png", "image02.png", "image03.png"]
    [line] = found.skipped
    assert "image01.png" in line
    whole = held_out(make_set(tmp_path / "whole", trainA=2, trainB=2, testA=4, testB=4))
    assert whole.digest != found.digest


def test_the_validation_part(named_set: Path, tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", trainA=2, trainB=2, valA=3, valB=3)
    assert held_out(data, split="val").sides["A"].names == ["image00.png", "image01.png", "image02.png"]
    with pytest.raises(DataError, match="no held-out images"):
        held_out(data)
    with pytest.raises(DataError, match="no held-out images"):
        held_out(named_set, split="val")


@pytest.mark.parametrize("split", ["test", "val"])
def test_images_that_are_too_large_or_closed_are_named_in_every_part(
    split: PartName,
    shared_folder: Path,  # noqa: F811
) -> None:
    data = make_set(shared_folder / "data", trainA=2, trainB=2, **{f"{split}A": 3, f"{split}B": 3})
    wide = draw(data / f"{split}A" / "wide.png", 0, (40, 30))
    closed = draw(data / f"{split}B" / "closed" / "image.png", 0).parent
    closed.chmod(0)
    small, large = (DataConfig(path=str(data), max_pixels=most) for most in (1000, 2000))
    wanted = Wanted(small, IMAGES, 16, "unpaired", split, 10, pairs=False)
    try:
        with nobody(shared_folder):
            found, all_of_it = read_held_out(wanted), read_held_out(replace(wanted, data=large))
    finally:
        closed.chmod(0o700)
    assert found.skipped == [
        f"{closed}: Permission denied",
        f"{wide}: 40x30 = 1,200 pixels are more than the 1,000 that are read: --max-pixels allows more",
    ]
    assert all_of_it.skipped == [f"{closed}: Permission denied"]
    assert "wide.png" in all_of_it.sides["A"].names


def test_the_largest_image_is_that_of_the_run_unless_another_is_asked_for(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path / "data", trainA=2, trainB=2, testA=3, testB=3)
    wide = draw(data / "testA" / "image01.png", 0, (40, 30))
    run = trained("cyclegan", data, tmp_path / "run", "training.steps=1", "data.max_pixels=1000")
    evaluate, compare = ("evaluate", "--metrics", "swd", "--model", run), ("compare", run, "-o", tmp_path / "page.html")
    for command in (evaluate, (*compare, "--overwrite")):
        result = i2i(*command)
        assert (result.code, result.err.count(f"left out: {wide}")) == (1, 1), result.err
        assert "--max-pixels allows more" in result.err
        result = i2i(*command, "--max-pixels", 2000)
        assert result.code == 0, result.err


def test_a_name_with_control_characters_stays_one_name(tmp_path: Path, named_set: Path, i2i: Run) -> None:
    data, run = tmp_path / "a\nset", tmp_path / "red\x1b[31m\nrun"
    data.symlink_to(named_set)
    trained("cyclegan", data, run, "training.steps=1")
    result = i2i("evaluate", "--model", run, "--metrics", "l1")
    assert result.code == 0, result.err
    assert "\x1b" not in result.out
    assert "red\\x1b[31m\\nrun (1 step)" in result.out
    assert "/a\\nset (test)" in result.out


def test_classes_in_sub_folders(runs: list[Path], tmp_path: Path, i2i: Run) -> None:
    data = tmp_path / "data"
    for folder in ("trainA", "trainB", "testA", "testB"):
        for number in range(6):
            draw(data / folder / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    file = tmp_path / "report.json"
    result = i2i(
        "evaluate", "--model", runs[0], "--data", data, "--task", "classify", "--metrics", "l1", "--json", file
    )
    assert result.code == 0, result.err
    part = report_of(file)["directions"][0]
    assert part["labels"] == ["cat", "dog"]
    assert set(part["models"][0]["figures"]) == {"l1", "label_accuracy"}


def test_the_bootstrap_knows_a_paired_difference_from_chance() -> None:
    metric, draws = Metric.named("l1")(), np.random.default_rng(0)
    images = draws.uniform(0, 1, 60)
    better = [mean_of(images), mean_of(images + draws.normal(0.01, 0.01, 60))]
    found = compare(metric, "l1", better, 0, 1, seed=0)
    assert found.better == 0
    assert found.probability is not None
    assert found.probability > 0.999
    assert found.spread == pytest.approx(0.01 / np.sqrt(60), rel=0.3)
    assert better[0].spread is not None
    assert better[0].spread > 10 * found.spread  # images differ far more than the models do
    same = compare(metric, "l1", [better[0], better[0]], 0, 1, seed=0)
    assert (same.better, same.probability, same.difference) == (None, 0.5, 0)
    reverse = compare(metric, "l1", better[::-1], 0, 1, seed=0)
    assert reverse.better == 1
    assert reverse.probability is not None
    assert reverse.probability < 0.001


def test_a_difference_of_sets_within_the_spread_is_none() -> None:
    kid = Metric.named("kid")()
    figures = [Figure(0.050, 10, 0.004), Figure(0.053, 10, 0.002), Figure(0.056, 10, 0.002)]
    assert compare(kid, "kid", figures, 0, 1, seed=0).better is None
    assert compare(kid, "kid", figures, 0, 2, seed=0).better == 0


def test_flicker_of_frames_in_the_order_of_their_names(runs: list[Path], tmp_path: Path, i2i: Run) -> None:
    frames = [draw(tmp_path / "clip" / f"{number}.png", seed=number // 3) for number in range(4)]
    model, file = ("evaluate", "--model", runs[0], "--metrics", "flicker"), tmp_path / "figures.json"
    result = i2i(*model, "--data", frames[0].parent, "--json", file, "--count", 3)
    assert result.code == 0, result.err
    assert "clip 3 frames" in result.out
    assert "the first 3 frames" in result.out
    for part in report_of(file)["directions"]:
        assert part["names"]["A"] == ["0.png", "1.png", "2.png"]
        assert part["models"][0]["figures"]["flicker"]["value"] == 0
        assert part["real"] == {}
    i2i(*model, "--data", frames[0].parent, "--json", file, "--overwrite")
    assert all(part["models"][0]["figures"]["flicker"]["value"] > 0 for part in report_of(file)["directions"])
    assert_refused(i2i(*model), "flicker needs a clip", "--data VIDEO")
    assert_refused(i2i(*model[:-1], "l1,flicker", "--data", frames[0].parent), "name it alone")
    assert_refused(i2i(*model, "--data", runs[0].parent / "none"), "no such data folder")


def test_what_cannot_be_evaluated_is_refused(runs: list[Path], toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    model = ("evaluate", "--model", runs[0])
    assert_refused(i2i(*model, "--metrics", "kidd"), "no metric 'kidd'", "did you mean kid")
    assert_refused(i2i(*model, "--task", "drive"), "no task 'drive'", "classify, segment")
    assert_refused(i2i(*model, "--features", "vgg"), "vgg", "lite0")
    assert_refused(i2i(*model, "--data", tmp_path / "none"), "no such data folder")
    weights = tmp_path / "alone.safetensors"
    weights.write_bytes((runs[0] / "model.safetensors").read_bytes())
    assert_refused(i2i("evaluate", "--model", weights), "alone.safetensors", "--data")
    points = trained("unrolled", Path("ring2d"), tmp_path / "points", "training.steps=1", image_size=1)
    assert_refused(i2i("evaluate", "--model", points), "points")


def test_halves_of_numbered_records_are_by_their_numbers(tmp_path: Path) -> None:
    """Whose names, such as t10k-images-idx3-ubyte.gz#000007, have a dot before the number."""
    for part, count in (("train", 4), ("t10k", 16)):
        images = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
        content = struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        content = struct.pack(">HBB1I", 0, 8, 1, count) + bytes(count)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(content)
    halves: list[Half] = ["choosing", "reporting"]
    chosen, reported = (held_out(tmp_path, "one domain", half=half, count=16).sides["A"].names for half in halves)
    assert len(chosen) + len(reported) == 16
    assert min(len(chosen), len(reported)) >= 2
    assert not set(chosen) & set(reported)
