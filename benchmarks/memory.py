"""The estimate of memory beside what real steps take on a CPU.

Each measurement has a process of its own: it takes a step of a tiny copy first, so that code is loaded, builds the
recipe, gives back what is free, and notes its resident memory. Shown is by how much the highest resident memory of the
next steps lies above that. The estimate is that of ``--dry-run``, without what there is before the steps.

usage: python -m benchmarks.memory [ARCH ...] [--sizes 64 128 256] [--set KEY=VALUE]...        (Linux)
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from i2i import resolve_config
from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.device import cpu_computes_in_bf16
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.stage import CPU
from i2i.training.engine import Engine

TRANSLATORS = ["cyclegan", "cyclegan-fast", "pix2pix", "dualgan", "cut", "fastcut"]
STEPS = 3
TINY = ["networks.generator.width=4", "networks.discriminator.width=4"]
NARROW = ["networks.generator.width=32", "networks.discriminator.width=32"]
MIB = 2**20


def main() -> None:
    """Prints the table, or the measurement of one row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archs", nargs="*", default=TRANSLATORS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--set", dest="assignments", action="append", default=NARROW)
    parser.add_argument("--measure", metavar="PRECISION", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        config = configured(arguments.archs[0], arguments.sizes[0], arguments.measure, arguments.assignments)
        print(measured(config))
        return
    print("| recipe | size | precision | estimate, MiB | measured, MiB | ratio |\n|---|---|---|---|---|---|")
    for arch in arguments.archs:
        for size in arguments.sizes:
            for precision in ["fp32", "bf16"] if cpu_computes_in_bf16() else ["fp32"]:
                expected = estimated(configured(arch, size, precision, arguments.assignments)) / MIB
                given = [part for setting in arguments.assignments for part in ("--set", setting)]
                command = ["-m", "benchmarks.memory", arch, "--sizes", str(size), "--measure", precision, *given]
                child = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
                found = int(child.stdout) / MIB
                row = f"| `{arch}` | {size} | {precision} | {expected:,.0f} | {found:,.0f} | {expected / found:.2f} |"
                print(row, flush=True)


def configured(arch: str, size: int, precision: str, assignments: list[str]) -> Config:
    """The recipe at a size in a precision."""
    options = {"image_size": size, "training.device": "cpu", "training.precision": precision}
    return resolve_config(arch, options=options, assignments=assignments)


def estimated(config: Config) -> int:
    """The bytes that steps take beyond those that are there before."""
    rehearsal = Rehearsal(config, CPU())
    return rehearsal.peak().total - rehearsal.before


def measured(config: Config) -> int:
    """The same of real steps, by the highest resident memory."""
    tiny = configured(config.arch, 32, config.training.precision, TINY)
    take_steps(Engine(tiny, torch.device("cpu")), tiny, 1)
    engine = Engine(config, torch.device("cpu"))
    return highest_beyond(lambda: take_steps(engine, config, STEPS))


def highest_beyond(work: Callable[[], None]) -> int:
    """By how many bytes the highest resident memory of ``work`` lies above what there is before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would not count when work takes it
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    work()
    return resident("VmHWM") - before


def take_steps(engine: Engine, config: Config, steps: int) -> None:
    """Trains on noise."""

    def batches() -> Iterator[Batch]:
        shape = (config.training.batch_size, 3, config.image_size, config.image_size)
        while True:
            yield Batch(torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1)

    stream = batches()
    for _ in range(steps):
        engine.step(stream, 0.0)


def resident(name: str) -> int:
    """Bytes of resident memory: now (VmRSS), or the most (VmHWM)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


if __name__ == "__main__":
    main()
