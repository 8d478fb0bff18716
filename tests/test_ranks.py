"""Two processes train every recipe as one process does: draws, history, statistics, penalties, augmentation and all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from .toys import OF_PAPERS, ONE_OF_EACH_METHOD, joined

STEPS = 3
Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results]:
    folder = tmp_path_factory.mktemp("ranks")
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        launch = launcher if processes > 1 else []
        command = [sys.executable, *launch, "-m", "tests.ranks", str(folder / str(processes)), str(STEPS)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(folder / str(processes)) for processes in (1, 2))
    return one, two


@pytest.mark.parametrize(
    ("arch", "optimizer"), [*((name, "sgd") for name in OF_PAPERS), *((name, "own") for name in ONE_OF_EACH_METHOD)]
)
def test_two_processes_train_as_one(results: tuple[Results, Results], arch: str, optimizer: str) -> None:
    one, two = (each[arch][optimizer] for each in results)
    assert (joined(two["weights"]) - joined(one["weights"])).norm() < 1e-7 * joined(one["weights"]).norm()
    for left, right in zip(one["losses"], two["losses"], strict=True):
        assert {name: value.item() for name, value in right.items()} == pytest.approx(
            {name: value.item() for name, value in left.items()}, rel=1e-7, abs=1e-7
        )


@pytest.mark.parametrize(
    ("precision", "close"), [(torch.float64, 1e-12), (torch.float32, 2e-3), (torch.bfloat16, 2e-2)], ids=str
)
def test_batch_norm_and_its_gradients_are_those_of_the_whole_batch(
    results: tuple[Results, Results], precision: torch.dtype, close: float
) -> None:
    one, two = (each["batch norm"][str(precision)] for each in results)
    for name in one:
        # Statistics are in float32 in all precisions, of means that are far from zero, too.
        bound = min(close, 1e-6) if name in ("mean", "variance") else close
        assert (two[name] - one[name]).norm() < bound * one[name].norm(), name
    for name in ("gradient", "weight"):
        again = one["again" if name == "gradient" else "weight, again"]
        assert (two[name] - again).norm() < close * again.norm()
