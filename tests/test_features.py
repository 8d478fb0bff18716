"""What a discriminator has learnt: its features under a linear classifier, and what excites its units."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from i2i.data.collection import find_collection
from i2i.errors import ConfigError, DataError
from i2i.inference.load import load_sampler
from i2i.inference.sampler import Sampler
from i2i.networks.base import Discriminator
from i2i.probes.discriminators import discriminator_of, untrained, with_statistics_of
from i2i.probes.features import draw_training_images, measure_features, pooled_features
from i2i.probes.filters import Excitation, find_filters, guided_gradients
from i2i.probes.images import Images
from i2i.probes.linear import Features, Labels, LinearSVM
from i2i.training.start import train

from .conftest import Run, draw, small_config


def trained(arch: str, data: Path, run: Path, *settings: str) -> Path:
    """A tiny model after a few steps."""
    return train(small_config(arch, data, "training.batch_size=8", *settings), run).run.root


@pytest.fixture(scope="module")
def dcgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("dcgan", Path("digits"), tmp_path_factory.mktemp("runs") / "dcgan")


@pytest.fixture(scope="module")
def cgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("cgan", Path("digits"), tmp_path_factory.mktemp("runs") / "cgan")


@pytest.fixture(scope="module")
def sampler(dcgan: Path) -> Sampler:
    return load_sampler(dcgan, device="cpu")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_halves(tmp_path_factory.mktemp("data") / "halves")


def draw_halves(root: Path) -> Path:
    """Noise whose left or right half is brighter: the label is a linear function of the pixels."""
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 5)):
        for label, side in (("left", slice(0, 8)), ("right", slice(8, 16))):
            for number in range(count):
                pixels = random.integers(0, 60, (16, 16), np.uint8)
                pixels[:, side] += 120
                path = root / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def test_features_are_every_stage_pooled_to_a_grid_and_joined(sampler: Sampler) -> None:
    discriminator = sampler.method.discriminator
    x = torch.rand(3, 1, 16, 16) * 2 - 1
    first = discriminator.get_submodule("layer1")(x)
    second = discriminator.get_submodule("layer2")(first.clone())
    plain = torch.cat([F.max_pool2d(first, 2).flatten(1), second.flatten(1)], dim=1)
    features = pooled_features(discriminator, x)
    assert features.shape == (3, (4 + 8) * 16)
    assert torch.equal(features, plain)


def test_small_maps_are_repeated_and_odd_ones_covered(sampler: Sampler) -> None:
    class Maps(Discriminator):
        feature_count = 1

        def __init__(self) -> None:
            super().__init__()
            self.layer1, self.layer2 = nn.AvgPool2d(2), nn.AvgPool2d(3)

        def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            maps: Tensor = self.layer2(self.layer1(x))
            return maps.flatten(1)

        def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
            return features[:, 0]

        def stages(self) -> dict[str, nn.Module]:
            return dict(self.named_children())

    x = torch.arange(14.0 * 14).view(1, 1, 14, 14)
    grid, small = pooled_features(Maps(), x).view(2, 4, 4)
    assert grid[-1, -1] == F.avg_pool2d(x, 2).max()
    assert torch.equal(small, small[::2, ::2].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_the_report_is_printed_written_and_the_same_again(dcgan: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = ("features", "digits", "--model", dcgan, "--per-label", 10)
    result = i2i(*arguments, "--json", tmp_path / "one.json")
    assert result.code == 0, result.err
    assert i2i(*arguments, "--json", tmp_path / "two.json").out == result.out
    text = (tmp_path / "one.json").read_text()
    assert text == (tmp_path / "two.json").read_text()
    report = json.loads(text)
    assert (report["arch"], report["step"], report["stages"]) == ("dcgan", 6, ["layer1", "layer2"])
    assert (report["labels"], report["training"], report["held_out"]) == (10, 100, 266)
    assert (report["features"]["inputs"], report["pixels"]["inputs"]) == (192, 256)
    assert 0.2 < report["features"]["accuracy"] <= 1
    assert 0.2 < report["untrained"]["accuracy"] <= 1
    assert report["untrained"] != report["features"]
    assert 0.6 < report["pixels"]["accuracy"] <= 1
    assert (report["trained_on"], report["data"]) == ("digits", "digits")
    for part in ("digits: dcgan (6 steps)", "100 training images (10 of each label, seed 0)", "266 held-out"):
        assert part in result.out
    assert f"{report['features']['accuracy']:.2%} correct, from 192 numbers" in result.out
    assert i2i(*arguments, "--seed", 1).out != result.out


def test_pixels_that_are_separable_are_read_without_a_mistake(sampler: Sampler, halves: Path) -> None:
    report = measure_features(sampler, str(halves), per_label=None)
    assert report.pixels.accuracy == 1.0
    assert (report.labels, report.training, report.held_out, report.pixels.inputs) == (2, 16, 10, 256)


def noisy(count: int, inputs: int) -> tuple[Features, Labels]:
    """Labels that the first three of many inputs tell in part."""
    random = np.random.default_rng(0)
    x = random.normal(size=(count, inputs)).astype(np.float32)
    return x, (x[:, :3].sum(1) + random.normal(size=count) > 0).astype(np.int64)


def test_more_inputs_than_images_are_read_as_by_a_plain_svm() -> None:
    (x, labels), (others, _) = noisy(40, 60), noisy(80, 60)
    ours = LinearSVM(x, labels, 0)
    mean, deviation = x.mean(0), x.std(0)
    plain = LinearSVC(dual=False, C=ours.c).fit((x - mean) / deviation / np.sqrt(60), labels)
    guessed = plain.predict((others - mean) / deviation / np.sqrt(60))
    assert 20 < guessed.sum() < 60
    np.testing.assert_array_equal(ours.predict(others), guessed)


def test_c_means_the_same_for_any_number_of_inputs_and_follows_the_folds_of_the_seed() -> None:
    x, labels = noisy(40, 8)
    chosen = [LinearSVM(x, labels, seed).c for seed in range(6)]
    assert chosen == [LinearSVM(np.repeat(x, 50, axis=1), labels, seed).c for seed in range(6)]
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 0, 1]])
def test_a_classifier_needs_two_labels_and_two_images_of_each(labels: list[int]) -> None:
    with pytest.raises(DataError, match="needs two labels with two readable training images each"):
        LinearSVM(noisy(4, 3)[0], np.array(labels), 0)


def test_labels_stay_with_their_images_behind_an_unreadable_one(sampler: Sampler, tmp_path: Path) -> None:
    root = draw_halves(tmp_path)
    for part in ("train", "test"):
        (root / part / "left/0.png").write_text("no image")
    report = measure_features(sampler, str(root), per_label=None)
    assert (report.training, report.held_out, len(report.skipped)) == (15, 9, 2)
    assert report.pixels.accuracy == 1.0


def test_training_images_are_drawn_of_each_label_by_the_seed(halves: Path) -> None:
    collection = find_collection(str(halves), size=16)
    drawn = [draw_training_images(collection, 3, seed) for seed in (0, 0, 1)]
    names = [[image.name for image in part.images] for part in drawn]
    assert names[0] == names[1] != names[2]
    for part in drawn:
        assert part.labels == [0, 0, 0, 1, 1, 1]
        assert [image.name.parent.name for image in part.images] == ["left"] * 3 + ["right"] * 3
        assert len({image.name for image in part.images}) == 6


def test_a_single_readable_image_is_not_enough(sampler: Sampler, tmp_path: Path) -> None:
    root = draw_halves(tmp_path)
    for path in sorted((root / "test").rglob("*.png"))[1:]:
        path.write_text("no image")
    with pytest.raises(DataError, match=r"1 image of a part can be read, but two are needed; first: .*1\.png"):
        measure_features(sampler, str(root), per_label=4)


def test_labels_without_meaning_are_not_read(sampler: Sampler, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 100)):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (16, 16), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
    report = measure_features(sampler, str(tmp_path), per_label=20)
    assert 0.35 < report.features.accuracy < 0.65
    assert 0.35 < report.pixels.accuracy < 0.65


def test_measuring_leaves_the_model_as_it_was(sampler: Sampler, halves: Path) -> None:
    before = {name: value.clone() for name, value in sampler.method.state_dict().items() if not value.is_meta}
    measure_features(sampler, str(halves), per_label=4)
    find_filters(discriminator_of(sampler), str(halves))
    after = sampler.method.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None for p in sampler.method.parameters())
    assert not sampler.method.discriminator.training
    assert not any(module._forward_hooks for module in sampler.method.discriminator.modules())


def test_batch_norm_takes_the_statistics_of_all_labels(sampler: Sampler, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, brightness in (("dark", 0), ("light", 150)):
        (tmp_path / label).mkdir()
        for number in range(100):
            pixels = random.integers(brightness, brightness + 100, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    collection = find_collection(str(tmp_path), size=16)
    images = Images(collection.root, [collection.train.images], discriminator_of(sampler))
    network = sampler.method.discriminator
    conv, norm, _ = with_statistics_of(network, images.mixed_batches()).get_submodule("layer2").children()
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        x = torch.cat([x for x, _ in images.batches()])
        maps = conv(network.get_submodule("layer1")(x))
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=0.05, atol=1e-4)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), rtol=0.05, atol=1e-6)


def test_batch_norm_sees_each_image_with_its_own_label(cgan: Path) -> None:
    """A discriminator that takes labels, 1,531 images in 12 batches."""
    sampler = load_sampler(cgan, device="cpu")
    network = sampler.method.discriminator
    with torch.no_grad():
        first = network.get_submodule("layer1.0")
        assert isinstance(first, nn.Conv2d)
        first.weight[:, 1:] = torch.randn(first.weight[:, 1:].shape, generator=torch.Generator().manual_seed(0))
    collection = find_collection("digits", size=16)
    images = Images(collection.root, [collection.train.images], discriminator_of(sampler))
    label = torch.tensor(collection.train.labels) ** 2 // 9  # not in turn, and not each as often as the others
    norm = with_statistics_of(network, images.mixed_batches(label)).get_submodule("layer2.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    with torch.no_grad():
        x = torch.cat([x for x, _ in images.batches()])
        planes = F.one_hot(label, 10)[:, :, None, None].expand(-1, -1, 16, 16).float()
        maps = network.get_submodule("layer2.0")(network.get_submodule("layer1")(torch.cat([x, planes], dim=1)))
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=0.02, atol=1e-4)


def test_perceptrons_are_measured_by_their_trunk_and_have_no_filters(tmp_path: Path, halves: Path, i2i: Run) -> None:
    run = trained("gan", halves, tmp_path / "run")
    result = i2i("features", halves, "--model", run, "--per-label", 8)
    assert result.code == 0, result.err
    assert "from 4 numbers of the discriminator's trunk" in result.out
    refused = i2i("filters", halves, "--model", run, "-o", tmp_path / "a.png")
    assert refused.code == 2
    assert "has no stages with maps" in refused.err


def test_features_that_would_repeat_the_label_are_refused(cgan: Path, tmp_path: Path, halves: Path) -> None:
    with pytest.raises(ConfigError, match="gets the label beside the image"):
        measure_features(load_sampler(cgan, device="cpu"), "digits", per_label=4)
    run = trained("cgan", halves, tmp_path / "run", "networks.discriminator.labels=project")
    report = measure_features(load_sampler(run, device="cpu"), str(halves), per_label=4)
    assert report.trained_with_labels
    assert report.lines()[0] == "trained on  halves: cgan (6 steps), with labels"


@pytest.mark.parametrize(("trained_in", "evaluated_in"), [("RGB", "L"), ("L", "RGB")])
def test_another_set_than_the_one_trained_on(tmp_path: Path, i2i: Run, trained_in: str, evaluated_in: str) -> None:
    """Other sizes, channels and labels: what is read are the other set's images as the model takes them."""
    for number in range(8):
        draw(tmp_path / f"seen/{number}.png", number, mode=trained_in)
    run = trained("dcgan", tmp_path / "seen", tmp_path / "run")
    sides = {
        "up": (slice(0, 12), slice(None)),
        "down": (slice(12, 24), slice(None)),
        "left": (slice(None), slice(0, 9)),
    }
    for part, count in (("train", 6), ("test", 4)):
        for label, place in sides.items():
            for number in range(count):
                pixels = np.random.default_rng(number).integers(0, 60, (24, 30), np.uint8)
                pixels[place] += 120
                path = tmp_path / "other" / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).convert(evaluated_in).save(path)
    result = i2i("features", tmp_path / "other", "--model", run, "--per-label", 6, "--json", tmp_path / "report.json")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["trained_on"], report["data"]) == ("seen", str(tmp_path / "other"))
    assert "trained on  seen: dcgan" in result.out
    assert f"evaluated   on {tmp_path / 'other'}: 3 labels" in result.out
    assert (report["training"], report["held_out"]) == (18, 12)
    assert report["pixels"]["inputs"] == 16 * 16 * (3 if trained_in == "RGB" else 1)
    assert report["pixels"]["accuracy"] == 1.0
    assert report["features"]["accuracy"] > 0.8


def test_an_unreadable_image_is_named(dcgan: Path, tmp_path: Path, i2i: Run) -> None:
    for part, count in (("train", 4), ("test", 2)):
        for label in ("red", "green"):
            for number in range(count):
                draw(tmp_path / part / label / f"{number}.png", number)
    (tmp_path / "test/red/1.png").write_text("no image")
    for command in (("features", "--per-label", 4), ("filters", "-o", tmp_path / "out.png")):
        result = i2i(command[0], tmp_path, "--model", dcgan, *command[1:])
        assert result.code == 1
        assert "left out" in result.err
        assert "1.png: not an image" in result.err
        assert "3 held-out images" in result.out


class TwoLayers(Discriminator):
    """An image of one pixel, two units on it, and one on these."""

    feature_count = 1

    def __init__(self, first: list[float], second: list[float], as_layers: bool) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
        self.layer1.weight.data = torch.tensor(first).view(2, 1, 1, 1)
        self.layer2.weight.data = torch.tensor(second).view(1, 2, 1, 1)
        self.rectifier = nn.LeakyReLU(0.2, inplace=True) if as_layers else lambda x: F.leaky_relu(x, 0.2)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        maps: Tensor = self.layer2(self.rectifier(self.layer1(x)))
        return maps.flatten(1)

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        return features[:, 0]

    def stages(self) -> dict[str, nn.Module]:
        return {"layer2": self.layer2}


@pytest.mark.parametrize("as_layers", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "response", "gradient"),
    [
        ([2.0, -1.0], [3.0, 4.0], 5.2, 6.0),  # the second unit's input is negative
        ([2.0, 1.0], [3.0, -1.0], 5.0, 6.0),  # the gradient that reaches the second unit is negative
        ([2.0, 1.0], [3.0, 4.0], 10.0, 10.0),  # nothing is held back
    ],
)
def test_the_guided_rule_by_hand(
    first: list[float], second: list[float], response: float, gradient: float, as_layers: bool
) -> None:
    network = TwoLayers(first, second, as_layers)
    found = guided_gradients(network, "layer2", 0, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(
        torch.stack([value.flatten() for value in found]), torch.tensor([[response], [gradient]])
    )


def test_guided_gradients_equal_a_plain_restatement(sampler: Sampler) -> None:
    network = sampler.method.discriminator
    (conv1, *_), (conv2, norm, _) = (stage.children() for stage in network.stages().values())
    assert isinstance(conv1, nn.Conv2d)
    assert isinstance(conv2, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    x, unit = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, 3
    with torch.no_grad():
        before1 = conv1(x)
        before2 = norm(conv2(F.leaky_relu(before1, 0.2)))
        largest = F.leaky_relu(before2, 0.2)[:, unit].flatten(1).max(1)
        back = torch.zeros_like(before2)
        for number, place in enumerate(largest.indices.tolist()):
            back[number, unit].view(-1)[place] = 1
        back *= (before2 > 0) * (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None]
        back = F.conv_transpose2d(back, conv2.weight, stride=2, padding=1)
        back = F.conv_transpose2d(back.clamp_min(0) * (before1 > 0), conv1.weight, stride=2, padding=1)
    responses, gradients = guided_gradients(network, "layer2", unit, x)
    torch.testing.assert_close(responses, largest.values)
    torch.testing.assert_close(gradients, back)
    assert gradients.abs().max() > 0


@pytest.mark.parametrize("side", ["trained", "untrained"])
def test_filters_show_the_most_exciting_images_first(sampler: Sampler, halves: Path, side: str) -> None:
    found = find_filters(discriminator_of(sampler), str(halves), stage="layer1", units=[2, 0], columns=3, seed=5)
    assert (found.units, found.searched, found.held_out) == ((2, 0), 10, True)
    shown: Excitation = getattr(found, side)
    assert shown.images.shape == shown.gradients.shape == (2, 3, 1, 16, 16)
    network = sampler.method.discriminator if side == "trained" else untrained(discriminator_of(sampler), 5)
    with torch.no_grad():
        files = sorted((halves / "test").rglob("*.png"))
        x = torch.stack([torch.from_numpy(np.array(Image.open(file), np.float32) / 127.5 - 1)[None] for file in files])
        maps = network.stages()["layer1"](x)  # the first layer has no batch norm
        expected = maps[:, [2, 0]].amax((2, 3)).topk(3, dim=0)
    torch.testing.assert_close(shown.responses, expected.values.T)
    torch.testing.assert_close(shown.images, x[expected.indices.T])
    sheet = shown.sheet()
    assert sheet.shape == (2 * (64 + 4) + 4, 3 * (64 + 4) + 4, 1)
    for cell in (sheet[y : y + 64, x : x + 64] for y in (4, 72) for x in (4, 72, 140)):
        assert np.abs(cell - 127.5).max() > 127  # scaled by its own largest value
    assert shown.sheet(images=True).shape == (2 * (64 + 4) + 4, 3 * (128 + 4) + 4, 1)


def test_filters_see_each_image_with_its_own_label(cgan: Path, halves: Path, tmp_path: Path) -> None:
    """By the labels' names, which have other numbers in the model, and behind an image that cannot be read."""
    for name, label in (("left", "7"), ("right", "3")):
        shutil.copytree(halves / "test" / name, tmp_path / "train" / label)
    (tmp_path / "train/3/0.png").write_text("no image")
    sampler = load_sampler(cgan, device="cpu")
    first = sampler.method.discriminator.get_submodule("layer1.0")
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        first.weight[:, 1:] = 0.02 * torch.randn(4, 10, 4, 4, generator=torch.Generator().manual_seed(0))
        files = [*sorted((tmp_path / "train/3").iterdir())[1:], *sorted((tmp_path / "train/7").iterdir())]
        labels = torch.tensor([int(file.parent.name) for file in files])
        x = torch.stack([torch.from_numpy(np.array(Image.open(file), np.float32) / 127.5 - 1)[None] for file in files])
        planes = F.one_hot(labels, 10)[:, :, None, None].expand(-1, -1, 16, 16).float()
        expected = sampler.method.discriminator.get_submodule("layer1")(torch.cat([x, planes], dim=1)).amax((2, 3))
    shown = find_filters(discriminator_of(sampler), str(tmp_path), stage="layer1", units=4, columns=9).trained
    torch.testing.assert_close(shown.responses, expected.sort(dim=0, descending=True).values.T)


def test_untrained_filters_are_left_of_trained_ones(sampler: Sampler, halves: Path) -> None:
    found = find_filters(discriminator_of(sampler), str(halves), units=2, columns=3)
    assert not torch.equal(found.trained.gradients, found.untrained.gradients)
    title, sheet = np.split(found.sheet(), [16])
    np.testing.assert_array_equal(sheet, np.concatenate([found.untrained.sheet(), found.trained.sheet()], axis=1))
    left, right = np.hsplit(title, 2)
    assert left.min() < 100
    assert right.min() < 100
    assert not np.array_equal(left, right)


def test_untrained_weights_follow_the_seed(sampler: Sampler) -> None:
    x = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        one, same, other = (untrained(discriminator_of(sampler), seed)(x) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_filters_are_drawn_for_models_with_and_without_labels(
    dcgan: Path, cgan: Path, tmp_path: Path, i2i: Run
) -> None:
    for run in (dcgan, cgan):
        arguments = ("--units", "0,5", "--json", tmp_path / "out/sheet.json", "--overwrite")
        result = i2i("filters", "digits", "--model", run, "-o", tmp_path / "out/sheet.png", *arguments)
        assert result.code == 0, result.err
        assert "layer2, units 0, 5, at the 8 of 266 held-out images" in result.out
        assert f"left: untrained (seed 0); right: {run.name} trained on digits (6 steps)" in result.out
        with Image.open(tmp_path / "out/sheet.png") as sheet:
            assert sheet.size == (2 * (8 * 68 + 4), 16 + 2 * 68 + 4)
        report = json.loads((tmp_path / "out/sheet.json").read_text())
        assert (report["arch"], report["stage"], report["units"], report["seed"]) == (run.name, "layer2", [0, 5], 0)
        sides = [report[side] for side in ("left", "right")]
        assert [side["network"] for side in sides] == ["untrained", "trained"]
        assert [np.shape(side["responses"]) for side in sides] == [(2, 8), (2, 8)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["features", "digits", "--per-label", 1000], "label '0' of digits has 147 training images, but 1000"),
        (["features", "digits", "--per-label", 1], "--per-label"),
        (["features", "nowhere"], "no such data folder"),
        (["features"], "Missing argument 'DATA'"),
        (["filters", "digits", "--stage", "layer9"], "no stage of that name; it has layer1, layer2"),
        (["filters", "digits", "--units", "0,8"], "stage layer2 has 8, numbered from 0 to 7"),
        (["filters", "digits", "--units", "9"], "9 units: stage layer2 has 8"),
        (["filters", "digits", "--units", "0"], "0 units: stage layer2 has 8"),
        (["filters", "digits", "--units", "all"], "give a number of units, e.g. 6, or their indices, e.g. 0,5,9"),
        (["filters", "digits", "-o", "sheet.text"], "is no image's name"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(dcgan: Path, i2i: Run, arguments: list[object], named: str) -> None:
    result = i2i(*arguments, "--model", dcgan)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert named in result.err


def test_data_and_models_of_another_kind_are_named(
    dcgan: Path, cgan: Path, toy_set: Path, halves: Path, tmp_path: Path, i2i: Run
) -> None:
    translator = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "translator").run.root
    draw(tmp_path / "plain/a.png", 0)
    draw(tmp_path / "plain/b.png", 1)
    for label in ("red", "green"):
        for number in range(2):
            draw(tmp_path / f"whole/train/{label}/{number}.png", number)
    for command, data, model, named in (
        ("features", "digits", translator, "does not generate them from noise"),
        (
            "filters",
            "digits",
            translator / "model.safetensors",
            "holds only the generators of a cyclegan: give its run",
        ),
        ("features", tmp_path / "plain", dcgan, "has no labels"),
        ("features", tmp_path / "whole", dcgan, "has no held-out images: give test/<label>/"),
        ("filters", tmp_path / "plain", cgan, "has no labels, but the discriminator of this model needs them"),
        ("filters", halves, cgan, "label 'left': this model has no label of that name"),
    ):
        result = i2i(command, data, "--model", model)
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert named in result.err
