"""``i2i filters`` of translators: discriminators from a run's checkpoint, on the images that each of them judges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.probes.discriminators import load_discriminator, untrained
from i2i.probes.filters import Excitation, find_filters
from i2i.storage.weights import load_tree
from i2i.training.engine import Engine
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_arguments, small_config
from .toys import CPU, TRANSLATORS, assert_refused, prepare, stream_of


@pytest.fixture(scope="module")
def cyclegan(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CycleGAN after 3 steps, whose domains have other numbers of channels."""
    settings = ("training.steps=3", "data.channels_b=1", "method.identity_weight=0")
    return train(small_config("cyclegan", toy_set, *settings), tmp_path_factory.mktemp("runs") / "cyclegan").run.root


def pixels_of(path: Path, channels: int) -> torch.Tensor:
    with Image.open(path) as image:
        small = image.convert("L" if channels == 1 else "RGB").resize((16, 16), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small, np.float32).reshape(16, 16, channels) / 127.5 - 1).permute(2, 0, 1)


def test_the_command_looks_into_a_discriminator_of_a_run(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    assert i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=2)).code == 0
    outputs = ("-o", tmp_path / "sheet.png", "--json", tmp_path / "sheet.json")
    result = i2i("filters", toy_set, "--model", tmp_path / "run", *outputs, "--units", 2, "--images")
    assert result.code == 0, result.err
    assert "guided gradients of discriminator_A's layer2, units 0, 1, at the 3 of 3 held-out images" in result.out
    assert "right: cyclegan trained on toy (2 steps)" in result.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (3 * 132 + 4), 16 + 2 * 68 + 4)
    chosen = ("--network", "discriminator_B", "--stage", "layer1_conv")
    arguments = ("filters", toy_set, "--model", tmp_path / "run", *outputs, *chosen, "--units", "3,")
    assert_refused(i2i(*arguments), "sheet.png exists", "--overwrite")
    result = i2i(*arguments, "--overwrite")
    assert result.code == 0, result.err
    assert "guided gradients of discriminator_B's layer1_conv, units 3, at the 2 of 2 held-out images" in result.out
    report = json.loads((tmp_path / "sheet.json").read_text())
    assert (report["discriminator"], report["domains"], report["step"]) == ("discriminator_B", ["B"], 2)


@pytest.mark.parametrize(("name", "domain", "channels"), [("discriminator_A", "A", 3), ("discriminator_B", "B", 1)])
def test_it_is_the_trained_one_on_the_images_of_its_domain(
    cyclegan: Path, toy_set: Path, name: str, domain: str, channels: int
) -> None:
    tree, _ = load_tree(cyclegan / "checkpoints/step-00000003.safetensors", kind="checkpoint")
    probed = load_discriminator(cyclegan, name=name, device="cpu")
    assert (probed.name, probed.domains, probed.step) == (name, (domain,), 3)
    state = probed.network.state_dict()
    assert state
    assert all(torch.equal(value, tree["engine"]["method"][f"{name}.{key}"]) for key, value in state.items())
    files = sorted((toy_set / f"test{domain}").iterdir())
    x = torch.stack([pixels_of(file, channels) for file in files])
    with torch.no_grad():
        expected = probed.network.stages()["layer1"](x).amax((2, 3)).sort(dim=0, descending=True).values
    # A set of two domains, and a folder of the one.
    for data, held_out in ((toy_set, True), (toy_set / f"test{domain}", False)):
        found = find_filters(probed, str(data), stage="layer1", units=4)
        assert (found.searched, found.held_out) == (len(files), held_out)
        torch.testing.assert_close(found.trained.responses, expected.T)
        assert found.trained.gradients.shape == (4, len(files), channels, 16, 16)
        assert found.trained.gradients.any()
        assert not torch.equal(found.trained.gradients, found.untrained.gradients)
    assert not torch.equal(*(untrained(probed, seed).state_dict()["layer1.0.weight"] for seed in (0, 1)))


def test_an_unreadable_checkpoint_is_gone_back_from(cyclegan: Path, toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = Path(shutil.copytree(cyclegan, tmp_path / "run"))
    (run / "checkpoints/step-00000009.safetensors").write_bytes(b"cut")
    result = i2i("filters", toy_set, "--model", run, "-o", tmp_path / "out.png")
    assert result.code == 0, result.err
    assert "step-00000009.safetensors is not a weight file of i2i" in result.err
    assert "going back to step-00000003.safetensors" in result.err
    assert "(3 steps)" in result.out
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"cut")
    assert_refused(i2i("filters", toy_set, "--model", run), "step-00000009.safetensors is not a weight file of i2i")
    shutil.rmtree(run / "checkpoints")
    assert_refused(i2i("filters", toy_set, "--model", run), "has no checkpoint, which alone holds")


def test_what_cannot_be_looked_into_is_one_line(cyclegan: Path, toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    weights = shutil.copy(cyclegan / "model.safetensors", tmp_path)
    for model in (weights, cyclegan / "model.safetensors"):
        result = i2i("filters", toy_set, "--model", model)
        assert_refused(result, "holds only the generators of a cyclegan: give its run folder")
    result = i2i("filters", toy_set, "--model", cyclegan, "--network", "critic")
    assert_refused(result, "network 'critic'", "it has discriminator_A, discriminator_B")
    result = i2i("filters", toy_set, "--model", cyclegan, "--stage", "layer9")
    assert_refused(result, "no stage of that name; it has layer1_conv, layer1, layer2_conv, layer2")
    draw(tmp_path / "empty/trainA/a.png", 0)
    assert_refused(i2i("filters", tmp_path / "empty", "--model", cyclegan), "trainB/ is missing")
    assert_refused(i2i("features", toy_set, "--model", cyclegan), "does not generate them from noise")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("data") / "pairs", trainA=4, trainB=4, testA=3, testB=3)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_discriminator_of_pairs_is_shown_pairs(pairs: Path, tmp_path: Path, direction: str, i2i: Run) -> None:
    settings = ("training.steps=1", f"method.direction={direction}", "data.channels_a=1")
    run = train(small_config("pix2pix", pairs, *settings), tmp_path / "run").run.root
    (pairs / "testA/only.png").write_bytes((pairs / "testA/image00.png").read_bytes())  # has no partner
    probed = load_discriminator(run, device="cpu")
    source, target = direction[0], direction[-1]
    assert probed.domains == (source, target)
    found = find_filters(probed, str(pairs), stage="layer1", units=4, columns=2)
    assert found.searched == 3
    channels = {"A": 1, "B": 3}
    x = torch.stack(
        [
            torch.cat([pixels_of(pairs / f"test{d}/image{i:02}.png", channels[d]) for d in (source, target)])
            for i in range(3)
        ]
    )
    with torch.no_grad():
        expected = probed.network.stages()["layer1"](x).amax((2, 3)).topk(2, dim=0)
    torch.testing.assert_close(found.trained.responses, expected.values.T)
    torch.testing.assert_close(found.trained.images, x[expected.indices.T])
    result = i2i("filters", pairs, "--model", run, "-o", tmp_path / "sheet.png", "--units", 1)
    assert f"discriminator's layer2, units 0, at the 3 of 3 held-out pairs of {source} and {target}" in result.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (3 * 132 + 4), 16 + 68 + 4)
    assert_refused(i2i("filters", pairs / "testA", "--model", run), "found neither trainA/ and trainB/ nor train/")


def test_a_pair_is_shown_side_by_side() -> None:
    gradients = torch.zeros(1, 1, 4, 32, 32)
    gradients[:, :, 0], gradients[:, :, 3] = 2.0, -2.0
    images = torch.ones(1, 1, 4, 32, 32)
    sheet = Excitation(torch.zeros(1, 1), images, gradients, (1, 3)).sheet(images=True)
    assert sheet.shape == (68 + 4, 4 * 64 + 2 * 4, 3)
    first, second, *shown = np.split(sheet[4:68, 4:260], 4, axis=1)
    assert (first == 255).all()
    assert (second == 255).all()
    assert (shown[0] == 255).all()
    assert [np.unique(shown[1][..., i]).tolist() for i in range(3)] == [[128], [128], [0]]


@pytest.mark.parametrize("arch", TRANSLATORS)
def test_every_discriminator_of_a_translator_says_what_it_judges(arch: str, toy_set: Path) -> None:
    other = [] if arch.startswith(("cut", "fastcut")) else ["data.channels_b=1"]  # CUT wants equal channels
    same = ["method.identity_weight=0"] if arch.startswith(("cyclegan", "enco")) else []
    config, data = prepare(arch, toy_set, *other, *same)
    engine = Engine(config, CPU)
    judges = engine.method.judges()
    assert [id(judge.network) for judge in judges.values()] == [id(d) for d in engine.method.players()["discriminator"]]
    batch = next(stream_of(config, data))
    images = {"A": batch.a, "B": batch.other()}
    for name, judge in judges.items():
        assert getattr(engine.method, name) is judge.network
        assert judge.network(torch.cat([images[domain] for domain in judge.domains], dim=1)).ndim == 4
        assert judge.network.stages()
