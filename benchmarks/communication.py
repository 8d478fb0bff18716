"""Which share of a step the exchanges of 2 CPU processes take: ``python -m benchmarks.communication [ARCH ...]``.

Recipes at 64 px with their own networks and two images for each process, in float32 over gloo. Ahead of each exchange
the processes wait for each other, so that waiting for a slower one is not counted as communication. Each process needs
a core of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, distributed

from i2i import resolve_config
from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.planning.report import with_known_data
from i2i.training.engine import Engine
from i2i.training.start import leave_processes
from i2i.world import world

RECIPES = ("cyclegan-fast", "pix2pix", "cut", "dcgan")
PROCESSES, IMAGES, SIZE, STEPS = 2, 2, 64, 6
FEW = 2**16
"""Bytes of a small exchange: statistics of batch norm, and no gradients."""


class Clock:
    """Seconds that all-reduces have taken, and small ones of them, and that processes have waited ahead of them."""

    def __init__(self) -> None:
        self.exchanging = self.small = self.waiting = 0.0
        self._reduce: Callable[..., Any] = distributed.all_reduce
        distributed.all_reduce = self._timed

    def _timed(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        distributed.barrier()
        met = time.perf_counter()
        done = self._reduce(tensor, *args, **kwargs)
        took = time.perf_counter() - met
        self.waiting += met - start
        self.exchanging += took
        self.small += took if tensor.nbytes <= FEW else 0.0
        return done


def config_of(arch: str) -> Config:
    """A recipe at this size, with channels and labels of its data."""
    settings = [f"image_size={SIZE}", f"training.batch_size={PROCESSES * IMAGES}", "training.precision=fp32"]
    return with_known_data(lambda _: resolve_config(arch, assignments=settings))(0)


def batches(config: Config) -> Iterator[Batch]:
    """Noise: what is in an image takes no time."""
    images = config.data.images
    a, b = (torch.rand(IMAGES, channels, SIZE, SIZE) * 2 - 1 for channels in (images.channels_a, images.channels_b))
    label = torch.zeros(IMAGES, dtype=torch.int64) if images.labels else None
    while True:
        yield Batch(a, b, label)


def measured(arch: str, clock: Clock) -> str:
    """A row of the table."""
    config = config_of(arch)
    engine, stream = Engine(config, torch.device("cpu")), batches(config)
    engine.step(stream, 0.0)
    start, clock.exchanging, clock.small, clock.waiting = time.perf_counter(), 0.0, 0.0, 0.0
    for _ in range(STEPS):
        engine.step(stream, 0.0)
    seconds = time.perf_counter() - start - clock.waiting
    share = 100 * clock.exchanging / seconds
    exchanges, small = (f"{1e3 * each / STEPS:.0f} ms" for each in (clock.exchanging, clock.small))
    return f"| `{arch}` | {seconds / STEPS:.2f} s | {exchanges} | {small} | {share:.1f} % |"


def main() -> None:
    """Starts the processes, or is one of them."""
    archs = sys.argv[1:] or RECIPES
    if "RANK" not in os.environ:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
        subprocess.run([sys.executable, *launch, "-m", "benchmarks.communication", *archs], check=True)
        return
    torch.set_num_threads(1)
    PartialState(cpu=True)
    clock = Clock()
    if world().rank == 0:
        print("| recipe | step | exchanges | small ones | share |\n|---|---|---|---|---|")
    for arch in archs:
        row = measured(arch, clock)
        if world().rank == 0:
            print(row, flush=True)
    leave_processes()


if __name__ == "__main__":
    main()
