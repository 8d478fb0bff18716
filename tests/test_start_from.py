"""A run that starts with the networks of another: what is taken, what starts afresh, and that resuming stays exact."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.build import build_method
from i2i.config.resolve import changed, parse_config, read_config
from i2i.errors import WeightsError
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree, load_weights
from i2i.training.start import train
from i2i.training.start_from import roles

from .conftest import Run, small_arguments, small_config


@pytest.fixture(scope="module")
def source(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CycleGAN with the paper's generator and a moving average."""
    config = small_config("cyclegan", toy_set, "training.ema={half_life: 2}", **{"training.steps": 3})
    return train(config, tmp_path_factory.mktemp("source") / "run").run.root


def start(run: Path) -> dict[str, Tensor]:
    """The weights after the only step of a run whose learning rates are next to nothing."""
    tree, _ = load_tree(RunFolder(run).checkpoints()[-1], kind="checkpoint")
    weights: dict[str, Tensor] = tree["engine"]["method"]
    return weights


STILL = (
    "--steps=1",
    "--set=optimizers.generator.lr=1e-12",
    "--set=optimizers.discriminator.lr=1e-12",
)


def close(one: dict[str, Tensor], other: dict[str, Tensor], prefix: str, as_: str | None = None) -> bool:
    keys = [key for key in one if key.startswith(f"{prefix}.")]
    assert keys
    return all(torch.allclose(one[key], other[key.replace(prefix, as_ or prefix, 1)], atol=1e-9) for key in keys)


def test_a_run_starts_with_the_settings_and_all_networks_of_another(source: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i("train", "--from", source, *STILL, "--run", tmp_path / "next")
    assert result.code == 0, result.err
    assert f"from {source}: generator_AtoB, generator_BtoA, discriminator_A, discriminator_B\n" in result.err
    before, after = start(source), start(tmp_path / "next")
    assert close(before, after, "discriminator_A")
    averaged = load_weights(source / "model.safetensors").tensors
    assert close(averaged, after, "generator_AtoB")
    assert not close(averaged, before, "generator_AtoB")
    one, other = RunFolder(source).read_config(), RunFolder(tmp_path / "next").read_config()
    assert (one.networks, one.method, one.data) == (other.networks, other.method, other.data)
    assert other.training.start_from == str(source)


def test_the_last_weights_by_option(source: Path, tmp_path: Path, i2i: Run) -> None:
    last = "--set=training.start_weights=last"
    assert i2i("train", "--from", source, *STILL, last, "--run", tmp_path / "next").code == 0
    assert close(start(source), start(tmp_path / "next"), "generator_AtoB")
    idle = i2i("train", "--arch", "cyclegan-fast", last)
    assert idle.code == 2
    assert "training.start_weights would have no effect" in idle.err


def test_another_recipe_takes_networks_by_their_role(source: Path, toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i(
        *small_arguments("cut", toy_set, tmp_path / "next", steps=1),
        *("--from", source, *STILL[1:]),
        *("--set=networks.generator={downsample: strided, upsample: transposed}",),
        *("--set=networks.discriminator.downsample=strided", "--set=method.features=4"),
    )
    assert result.code == 0, result.err
    assert f"from {source}: generator, discriminator; starting afresh: heads (not in it)" in result.err
    assert close(start(source), start(tmp_path / "next"), "discriminator_B", "discriminator")


def test_a_lone_generator_is_enough(source: Path, toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    exported = tmp_path / "net_G.pth"
    assert i2i("export-state", source, "-o", exported, "--direction", "BtoA").code == 0
    assert i2i("import", exported, "-o", tmp_path / "lone.safetensors").code == 0
    result = i2i(
        *small_arguments("cyclegan", toy_set, tmp_path / "next", steps=1),
        *("--from", tmp_path / "lone.safetensors", *STILL[1:]),
    )
    assert result.code == 0, result.err
    assert "lone.safetensors: generator_AtoB; starting afresh: generator_BtoA (not in it)" in result.err
    averaged = load_weights(source / "model.safetensors").tensors
    assert close(averaged, start(tmp_path / "next"), "generator_BtoA", "generator_AtoB")


def test_networks_that_do_not_fit_start_afresh(source: Path, toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    wide = i2i(
        *("train", "--from", source, *STILL, "--run", tmp_path / "wide", "--set", "networks.discriminator.width=6")
    )
    assert wide.code == 0, wide.err
    assert "discriminator_A (" in wide.err
    assert " is 6 x 3 x 4 x 4, and 4 x 3 x 4 x 4 in it)" in wide.err
    other = i2i(*small_arguments("pix2pix", toy_set, tmp_path / "none"), "--from", source)
    assert other.code == 2
    assert "no network of it fits this recipe: generator (it has other layers)" in other.err
    assert not (tmp_path / "none").exists()


def test_another_size_keeps_the_networks(source: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i("train", "--from", source, *STILL, "--image-size", 256, "--run", tmp_path / "large", "--dry-run")
    assert result.code == 0, result.err
    assert f"from {source}: generator_AtoB, generator_BtoA, discriminator_A, discriminator_B\n" in result.err
    config = parse_config(read_config(source / "config.yaml"))
    assert "blocks: 1" in result.out
    assert config.data.load_size == 18  # for crops of 16, as 286 is for crops of 256
    assert "load_size: 288" in result.out


def test_what_is_missing_is_named(tmp_path: Path, i2i: Run) -> None:
    for arguments in (("--arch", "cyclegan-fast"), ()):
        result = i2i("train", *arguments, "--from", tmp_path / "nothing")
        assert result.code == 2
        assert f"{tmp_path / 'nothing'}: no such run folder or weight file" in result.err


def test_weights_alone_need_a_recipe_and_have_no_last_step(source: Path, tmp_path: Path, i2i: Run) -> None:
    weights = source / "model.safetensors"
    result = i2i("train", "--from", weights)
    assert result.code == 2
    assert f"--from {weights}: it has no settings of a training: give --arch too" in result.err
    config = parse_config(read_config(source / "config.yaml"))
    with pytest.raises(WeightsError, match="has no checkpoint, and so no weights of the last step"):
        train(
            changed(config, {"training.start_from": str(weights), "training.start_weights": "last"}), tmp_path / "new"
        )
    assert not (tmp_path / "new").exists()


def test_a_run_without_weights_yet_says_so(source: Path, tmp_path: Path, i2i: Run) -> None:
    (tmp_path / "young").mkdir()
    shutil.copy(source / "config.yaml", tmp_path / "young")
    result = i2i("train", "--from", tmp_path / "young")
    assert result.code == 2
    assert f"{tmp_path / 'young'} has written no weights yet" in result.err


@pytest.mark.parametrize("arch", ["bicyclegan", "cyclegan", "dualgan", "pix2pix"])
def test_no_two_networks_have_one_role(arch: str, toy_set: Path) -> None:
    method = build_method(small_config(arch, toy_set).model)
    assert len(set(roles(method).values())) == len(roles(method)) >= 2


def test_other_settings_of_weights_that_fit_are_named(source: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i(
        "train", "--from", source, *STILL, "--set=networks.generator.output=residual", "--run", tmp_path / "new"
    )
    assert result.code == 0, result.err
    assert "so that its weights have to adapt: networks.generator.output=tanh (here residual)\n" in result.err


def test_other_settings_of_critics_are_named_as_those_of_discriminators(
    toy_set: Path, tmp_path: Path, i2i: Run
) -> None:
    given = small_arguments("dualgan", toy_set, tmp_path / "critics", steps=1)
    assert i2i(*given, "--set=networks.discriminator.norm=instance").code == 0
    result = i2i(
        "train",
        "--from",
        tmp_path / "critics",
        *STILL,
        "--set=networks.discriminator.norm=none",
        "--run",
        tmp_path / "new",
    )
    assert "critic_A, critic_B" in result.err, result.err
    assert "weights have to adapt: networks.discriminator.norm=instance (here none)\n" in result.err


def test_a_resumed_run_needs_no_source(source: Path, tmp_path: Path, i2i: Run) -> None:
    kept, whole, cut = tmp_path / "source", tmp_path / "whole", tmp_path / "cut"
    shutil.copytree(source, kept)
    constant = "--set=training.schedule.constant=1"
    assert i2i("train", "--from", kept, "--steps", 2, constant, "--run", whole).code == 0
    assert i2i("train", "--from", kept, "--steps", 1, constant, "--run", cut).code == 0
    shutil.rmtree(kept)
    result = i2i("train", "--resume", cut, "--steps", 2)
    assert result.code == 0, result.err
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    shutil.rmtree(cut / "checkpoints")
    (cut / "model.safetensors").unlink()
    gone = i2i("train", "--resume", cut)
    assert gone.code == 2
    assert "no such run folder or weight file" in gone.err
