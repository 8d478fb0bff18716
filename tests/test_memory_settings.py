"""Settings that follow from memory: the batch that fits, activations that are computed again, and what fits instead."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from i2i.errors import ConfigError
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.stage import CPU
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_weights
from i2i.training import fitting_batch, out_of_memory
from i2i.training.callbacks import Callback, always
from i2i.training.fitting_batch import require_one_process
from i2i.training.start import train
from i2i.training.trainer import Trainer

from .conftest import Run, small_arguments, small_config
from .toys import assert_refused, assert_same


def free_for(batch: int, data: Path, monkeypatch: pytest.MonkeyPatch, where: ModuleType) -> None:
    """Lets the machine have just the memory that a batch of the small CycleGAN is estimated to need."""
    stage = CPU()
    needed = Rehearsal(small_config("cyclegan", data), stage).peak(batch).total + stage.context
    monkeypatch.setattr(where, "free_memory", lambda device: needed / where.SHARE + 2**15)


def test_a_run_fills_the_memory_and_keeps_its_batch(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    made = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "auto", steps=2), "--batch-size", "auto")
    assert made.code == 0, made.err
    assert made.err.count("training.batch_size auto: 4, the largest power of two that fits into 80% of the") == 1
    assert "there are 6 images" in made.err
    assert RunFolder(tmp_path / "auto").read_config().training.batch_size == 4
    on = i2i("train", "--resume", tmp_path / "auto", "--steps", 3)
    assert (on.code, "batch_size" in on.err) == (0, False), on.err
    config = RunFolder(tmp_path / "auto").read_config()
    given = train(config, tmp_path / "given").run
    assert (tmp_path / "auto/model.safetensors").read_bytes() == given.model.read_bytes()


def test_the_batch_is_what_is_estimated_to_fit(
    toy_set: Path, i2i: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*small_arguments("cyclegan", toy_set, tmp_path / "run"), "--batch-size", "auto", "--dry-run"]
    free_for(2, toy_set, monkeypatch, fitting_batch)
    result = i2i(*command)
    assert (result.code, "  batch_size: 2\n" in result.out) == (0, True), result.err
    assert "a batch of 2 at 16 px" in result.out
    assert "training.batch_size auto: 2, the largest power of two" in result.err
    assert "4 would take" in result.err
    monkeypatch.setattr(fitting_batch, "free_memory", lambda device: 2**29)
    assert_refused(i2i(*command), "training.batch_size auto: a batch of 1 at 16 px needs", "lower image_size")
    assert_refused(i2i(*command, "--device", "cuda"), "" if torch.cuda.is_available() else "add --memory")
    assert_refused(
        i2i("bench", "--arch", "cyclegan", "--set", "training.batch_size=auto"), "number that is to be timed"
    )
    assert_refused(i2i(*command, "--set", "training.batch_size=many"), "training.batch_size")
    with pytest.raises(ConfigError, match=r"for one process.* a multiple of 2"):
        require_one_process(2)


def test_a_step_without_memory_says_what_fits(toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(trainer: Trainer) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    free_for(4, toy_set, monkeypatch, out_of_memory)
    config = small_config("cyclegan", toy_set, "training.batch_size=16", "training.steps=1", "data.on_device=true")
    with pytest.raises(ConfigError) as raised:
        train(config, tmp_path / "run", callbacks=[Callback(always, too_large)])
    said = str(raised.value)
    assert "out of memory: lower training.batch_size (and raise training.accumulate instead)" in said
    assert "training.batch_size=4" in said
    assert "estimated to fit into" in said
    assert "; data.on_device=false frees 1.27e-05 GiB" in said
    assert "no checkpoint was written yet" in said
    monkeypatch.setitem(sys.modules, "i2i.planning.stage", None)  # as with a torch that lacks what planning needs
    with pytest.raises(ConfigError, match="out of memory: lower") as raised:
        train(config, tmp_path / "other", callbacks=[Callback(always, too_large)])
    assert "estimated" not in str(raised.value)


@pytest.mark.parametrize("arch", ["cyclegan", "bicyclegan", "cut"])
def test_activations_that_are_computed_again_change_no_bit(arch: str, toy_set: Path, tmp_path: Path) -> None:
    config = small_config(arch, toy_set, "training.steps=2")
    again = small_config(arch, toy_set, "training.steps=2", "training.checkpoint_activations=true")
    runs = [train(each, tmp_path / name).run for each, name in ((config, "kept"), (again, "again"))]
    kept, computed = (load_weights(run.model).tensors for run in runs)
    assert_same(kept, computed)
    wide = ["image_size=64", "data.load_size=64", "networks.generator.width=32"]
    wide += ["networks.generator.depth=6"] if arch == "bicyclegan" else ["networks.generator.blocks=6"]
    peaks = [
        Rehearsal(small_config(arch, toy_set, *wide, f"training.checkpoint_activations={word}"), CPU()).peak().total
        for word in ("false", "true")
    ]
    assert peaks[1] < {"cyclegan": 0.6, "bicyclegan": 1.0, "cut": 0.9}[arch] * peaks[0]


def test_generators_from_noise_compute_nothing_again(labelled_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.checkpoint_activations would have no effect"):
        train(small_config("dcgan", labelled_set, "training.checkpoint_activations=true"), tmp_path / "run")
