"""Two processes that share each batch train the same weights as one that has it whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.data.batches import draw
from i2i.storage.weights import load_weights
from i2i.training.engine import Engine

from .conftest import small_arguments, small_config


def test_two_processes_equal_one(toy_set: Path, tmp_path: Path) -> None:
    """Also where one of them meets a picture that cannot be read: it is replaced in both, and all know of it."""
    data = Path(shutil.copytree(toy_set, tmp_path / "data"))
    rank_1 = data / f"trainA/picture{draw(0, 'A', 8, 1):02}.png"
    rank_1.write_bytes(rank_1.read_bytes()[:60])
    # SGD: Adam would blow up the rounding of gradients that are zero in exact arithmetic.
    settings = ["method.history=0", "training.log_every=1"]
    settings += [
        f"optimizers.{player}.{key}" for player in ("generator", "discriminator") for key in ("name=sgd", "lr=0.001")
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    for name, start in (("one", ["-m"]), ("two", launcher)):
        arguments = small_arguments("cyclegan", data, tmp_path / name, steps=2)
        arguments += [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, *start, "i2i", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 1, result.stderr
        assert result.stderr.count(f"replaced: {rank_1}") == 1
        assert result.stdout.count("trained 2 steps") == 1
    one, two = (flat(load_weights(tmp_path / name / "model.safetensors")[2]) for name in ("one", "two"))
    initial = flat(Engine(small_config("cyclegan", toy_set), torch.device("cpu")).inference_weights())
    assert (two - one).norm() < 0.01 * (one - initial).norm()
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    for left, right in zip(*lines, strict=True):
        assert json.loads(left) == pytest.approx(json.loads(right), rel=1e-3)


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])
