"""Memory, file descriptors and threads of one long training with previews and checkpoints: are they flat?

The training is that of ``benchmarks.soak`` without its faults. Slopes are those of straight lines through all samples
after the first tenth of the steps, in which caches fill up, and before the last step.

usage: python -m benchmarks.long_run [--steps 5000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from benchmarks.disturbed import last_logged, make_images, new_training
from i2i.device import environment
from i2i.storage.runs import RunFolder

EVERY = 0.25
"""Seconds between two samples."""


class Sample(NamedTuple):
    """What a process holds after a step; memory is what is resident, in MiB."""

    step: int
    memory: float
    descriptors: int
    threads: int


def samples(process: subprocess.Popen[bytes], run: RunFolder) -> Iterator[Sample]:
    """Samples of the process until it ends, from its first logged step on."""
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        step = last_logged(run)
        try:
            with seen.oneshot():
                sample = Sample(step, seen.memory_info().rss / 2**20, seen.num_fds(), seen.num_threads())
        except psutil.Error:
            return
        if step and sample.memory:  # none: it has just ended
            yield sample
        time.sleep(EVERY)


def slope(taken: list[Sample], name: str) -> float:
    """How much more there is after 1,000 steps."""
    steps = np.array([sample.step for sample in taken])
    values = np.array([getattr(sample, name) for sample in taken])
    return float(1000 * np.polyfit(steps, values, 1)[0])


def main() -> None:
    """Prints a table; exits with 1 if the training fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        make_images(Path(folder) / "data", 0)
        process = subprocess.Popen(new_training(run.root, Path(folder) / "data", arguments.steps))
        taken = list(samples(process, run))
    settled = [sample for sample in taken if arguments.steps / 10 < sample.step < arguments.steps]
    figures = {
        name: {
            "first": round(getattr(settled[0], name), 1),
            "last": round(getattr(settled[-1], name), 1),
            "most": round(max(getattr(sample, name) for sample in settled), 1),
            "per 1,000 steps": round(slope(settled, name), 3),
        }
        for name in Sample._fields[1:]
    }
    print("| | first | last | most | per 1,000 steps |\n|---|---|---|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {' | '.join(f'{value:,}' for value in values.values())} |")
    print(f"{arguments.steps:,} steps, {len(settled)} samples, {environment()}")
    if arguments.json is not None:
        content = {"steps": arguments.steps, "environment": environment(), "figures": figures}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
