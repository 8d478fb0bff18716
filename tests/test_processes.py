"""Two processes that share each batch train the same weights as one that has it whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from i2i.data.batches import draw
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_weights
from i2i.training.engine import Engine

from .conftest import small_arguments, small_config
from .toys import joined


def test_two_processes_equal_one(toy_set: Path, tmp_path: Path) -> None:
    """Also where one of them meets an image that cannot be read: it is replaced in both, and all know of it."""
    data = Path(shutil.copytree(toy_set, tmp_path / "data"))
    rank_1 = data / f"trainA/image{draw(0, 'A', 8, 1):02}.png"
    rank_1.write_bytes(rank_1.read_bytes()[:60])
    # SGD: Adam would blow up the rounding of gradients that are zero in exact arithmetic.
    settings = ["method.history=0", "training.log_every=1"]
    settings += [
        f"optimizers.{player}.{key}" for player in ("generator", "discriminator") for key in ("name=sgd", "lr=0.001")
    ]
    on_cpus = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for name, start in (("one", ["-m"]), ("two", [*LAUNCHER, "-m", "--"])):
        arguments = small_arguments("cyclegan", data, tmp_path / name, steps=2)
        arguments += ["--device", "auto"]  # which has to find that processes share CPUs
        arguments += [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, *start, "i2i", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, env=on_cpus)
        assert result.returncode == 1, result.stderr
        assert result.stderr.count(f"replaced: {rank_1}") == 1
        assert result.stdout.count("trained 2 steps") == 1
    one, two = (joined(load_weights(tmp_path / name / "model.safetensors")[2]) for name in ("one", "two"))
    initial = joined(Engine(small_config("cyclegan", toy_set), torch.device("cpu")).inference_weights())
    assert (two - one).norm() < 0.01 * (one - initial).norm()
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    for left, right in zip(*lines, strict=True):
        assert json.loads(left) == pytest.approx(json.loads(right), rel=1e-3)


STEPS = 80
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_a_killed_rank_and_a_stopped_one_end_in_the_same_weights(toy_set: Path, tmp_path: Path) -> None:
    """torchrun starts both again and they go on, SIGTERM to one stops both, and after a resume nothing is different."""
    settings = ("method.history=5", "training.checkpoint_seconds=0", "training.log_every=4")
    named = [part for setting in settings for part in ("--set", setting)]

    def launched(*arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, *LAUNCHER, "--max-restarts", str(restarts), "-m", "--", "i2i", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    whole = launched(*small_arguments("cyclegan", toy_set, tmp_path / "whole", steps=STEPS), *named)
    assert whole.communicate()[0].count(f"trained {STEPS} steps") == 1
    run = RunFolder(tmp_path / "run")
    broken = launched(*small_arguments("cyclegan", toy_set, run.root, steps=STEPS), *named, restarts=1)
    started = wait_for_step(run, 3)
    os.kill(process_of(broken.pid, rank=1).pid, signal.SIGKILL)
    wait_for_step(run, started + 5)
    os.kill(process_of(broken.pid, rank=1).pid, signal.SIGTERM)
    said = broken.communicate(timeout=60)[0]
    assert "continuing at step" in said
    assert "stopped at step" in said
    resumed = launched("train", "--resume", run.root)
    assert resumed.communicate()[0].count(f"trained {STEPS} steps") == 1
    assert run.model.read_bytes() == RunFolder(tmp_path / "whole").model.read_bytes()
    lines = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]
    assert lines == list(range(4, STEPS + 1, 4))


def wait_for_step(run: RunFolder, step: int) -> int:
    """The step of the newest checkpoint, as soon as it is beyond ``step``."""
    for _ in range(600):
        newest = [int(path.stem.removeprefix("step-")) for path in run.checkpoints()][-1:]
        if newest and newest[0] > step:
            return newest[0]
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint beyond step {step}")


def process_of(launcher: int, *, rank: int) -> psutil.Process:
    """The process of a rank."""
    for child in psutil.Process(launcher).children(recursive=True):
        if child.environ().get("RANK") == str(rank) and "train" in child.cmdline():
            return child
    raise AssertionError(f"no process of rank {rank}")


def test_a_rank_that_does_not_answer_ends_the_others(toy_set: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = ("--set", "training.checkpoint_seconds=0", "--set", "training.rank_timeout=2")
    arguments = [*small_arguments("cyclegan", toy_set, run.root, steps=100_000), *settings]
    command = [sys.executable, *LAUNCHER, "-m", "--", "i2i", *map(str, arguments)]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_step(run, 1)
    first, other = (process_of(training.pid, rank=rank) for rank in (0, 1))
    other.suspend()
    psutil.wait_procs([first], timeout=30)
    other.resume()
    said = training.communicate(timeout=60)[0]
    assert re.search(r"^error: another process .* does not answer; the last good state is \S+safetensors$", said, re.M)
