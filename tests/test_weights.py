"""Files of tensors: written without a copy in memory, read once, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import i2i
from i2i.errors import DataError, WeightsError
from i2i.storage.weights import FORMAT, load_tree, save_tree
from i2i.training.start import train

from .conftest import no_space_beyond, small_config


def test_saving_needs_no_copy_in_memory(tmp_path: Path) -> None:
    # In a process of its own, whose peak nothing else has raised. The tensors have 256 MiB.
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from i2i.device import peak_memory\n"
        "from i2i.storage.weights import save_tree\n"
        "tree = {str(i): torch.ones(2**24) for i in range(4)}\n"
        "before = peak_memory(torch.device('cpu'))\n"
        f"save_tree(Path({str(tmp_path / 'tree')!r}), tree, {{}}, kind='checkpoint')\n"
        "print(peak_memory(torch.device('cpu')) - before)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.1


def test_tensors_that_share_memory_come_back_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tree = {"whole": whole, "same": whole, "part": whole[2:4], "row": whole.reshape(2, 3), "turned": whole.flip(0)}
    save_tree(tmp_path / "tree", tree, {}, kind="checkpoint")
    again, _ = load_tree(tmp_path / "tree", kind="checkpoint")
    for name, tensor in tree.items():
        assert torch.equal(again[name], tensor), name
    again["whole"].zero_()
    assert torch.equal(again["same"], whole)


def test_a_model_is_read_once(toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run")
    reads: list[Path] = []

    def counted(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, object]]:
        reads.append(path)
        return load_tree(path, kind=kind)

    monkeypatch.setattr("i2i.storage.weights.load_tree", counted)
    i2i.load(tmp_path / "run")
    assert reads == [tmp_path / "run/model.safetensors"]


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_tree(path, {"a": torch.ones(1)}, {}, kind="checkpoint")
    with no_space_beyond(4000), pytest.raises(DataError, match=r"cannot write .*weights"):
        save_tree(path, {"a": torch.zeros(1000)}, {}, kind="checkpoint")
    assert load_tree(path, kind="checkpoint")[0]["a"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_bit_that_flips_anywhere_is_noticed(toy_set: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run
    for path, kind in ((run.model, "weights"), (run.checkpoints()[-1], "checkpoint")):
        whole = path.read_bytes()
        load_tree(path, kind=kind)
        for position in [8, 100, len(whole) - 1, *np.random.default_rng(0).integers(0, len(whole), 60).tolist()]:
            damaged = bytearray(whole)
            damaged[position] ^= 4
            (tmp_path / "damaged").write_bytes(damaged)
            with pytest.raises(WeightsError, match=r"damaged|not a file of i2i|format"):
                load_tree(tmp_path / "damaged", kind=kind)


def test_another_format_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for written, way_out in ((FORMAT + 1, "upgrade i2i"), (FORMAT - 1, "train again")):
        with monkeypatch.context() as patch:
            patch.setattr("i2i.storage.weights.FORMAT", written)
            save_tree(tmp_path / "tree", {}, {}, kind="checkpoint")
        with pytest.raises(WeightsError, match=f"format {written}.*{way_out}"):
            load_tree(tmp_path / "tree", kind="checkpoint")


def test_a_weight_file_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_tree(tmp_path / "tree.safetensors", {"a": torch.ones(2)}, {}, kind="weights")
    assert (tmp_path / "tree.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
