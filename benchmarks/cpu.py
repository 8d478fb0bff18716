"""What i2i gains on a CPU over plain code, as one table: training, translation and loading.

Plain is what the papers' reference code does: ``PlainCycleGAN`` of training.py, the loop of translate.py, and the
pipeline of loading.py. All by CPU seconds on one thread, in turns. The share of the peak is of the best rate that this
core reaches, measured before, in a 3x3 convolution or a matrix product of the same precision; FLOP are those of
convolutions. Memory is that beyond what there is before the first step, or all of a command. Images are squares cut out
of the photographs in FOLDER, saved as JPEG. It takes about half an hour; ``--share 0.1`` does a tenth of the work.
Translation needs fewer products than are counted, so that its share can be above one.

usage: python -m benchmarks.cpu FOLDER [-o FILE.json] [--share 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import configured
from benchmarks.translate import untrained
from i2i.data.images import list_images, read_image, write_image
from i2i.device import cpu_computes_in_bf16, environment
from i2i.inference.load import load_translator
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.stage import CPU

NARROW = ["networks.generator.width=32", "networks.discriminator.width=32"]
TRAINING: tuple[tuple[int, int, list[str], int], ...] = ((64, 4, NARROW, 40), (128, 1, [], 20), (256, 1, [], 5))
"""Sides, batches and settings of the recipe cyclegan, and how many steps."""
LOADING = ((64, 16), (256, 4))
"""Sides and batches."""


class Row(NamedTuple):
    """A line of the table: what was computed, and how; ``cost`` is in CPU seconds, each of a step or an image."""

    what: str
    way: str
    cost: float
    times_as_fast: float
    peak_mib: float | None = None
    share_of_peak: float | None = None

    def __str__(self) -> str:
        memory = "" if self.peak_mib is None else f"{self.peak_mib:,.0f}"
        share = "" if self.share_of_peak is None else f"{self.share_of_peak:.0%}"
        return f"| {self.what} | {self.way} | {self.cost:.4g} | {self.times_as_fast:.2f} | {memory} | {share} |"


def peak(dtype: torch.dtype) -> float:
    """The most FLOP a CPU second on one thread, of convolutions and matrix products as generators have them."""
    images, kernels = torch.rand(1, 256, 64, 64, dtype=dtype), torch.rand(256, 256, 3, 3, dtype=dtype)
    rows, columns = torch.rand(1024, 1024, dtype=dtype), torch.rand(1024, 1024, dtype=dtype)
    of_convolution, of_product = 2 * 256 * 256 * 9 * 64 * 64, 2 * 1024**3
    best = 0.0
    with torch.no_grad():
        for _ in range(20):
            begin = time.process_time()
            conv2d(images, kernels, padding=1)
            middle = time.process_time()
            torch.mm(rows, columns)
            best = max(best, of_convolution / (middle - begin), of_product / (time.process_time() - middle))
    return best


def training(peaks: dict[str, float], share: float) -> Iterator[Row]:
    """Steps of CycleGAN."""
    for side, batch, settings, steps in TRAINING:
        command = ["benchmarks.training", "--size", str(side), "--batch", str(batch)]
        command += [part for setting in settings for part in ("--set", setting)]
        table = answer(*command, "--steps", str(max(2, round(share * steps))))
        for way, cost in table["cpu_seconds_per_step"].items():
            precision = "fp32" if way == "plain" else way
            flop = Rehearsal(configured(side, batch, precision, settings), CPU()).step()[1].flop
            memory = answer(*command, "--memory", way)
            name = f"step of `cyclegan`, {side} px, batch {batch}"
            yield Row(name, way, cost, table["times_as_fast"][way], memory, flop / cost / peaks[precision])


def translation(peaks: dict[str, float], share: float, photographs: Path, scratch: Path) -> Iterator[Row]:
    """``i2i translate`` with ResNet-9, as whole commands, whose start is shared by the images of a folder of 200."""
    few, many = max(2, round(4 * share)), max(6, round(24 * share))
    model, side = untrained(scratch / "model.safetensors"), 256
    generator = next(iter(load_translator(model, device="cpu").method.directions().values())).generator
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        generator(torch.zeros(1, 3, side, side))
    flop, ways = counted.get_total_flops(), {}
    for count in (few, many):
        folder = cut(photographs, scratch / str(count), side, count)
        ways[count] = answer("benchmarks.translate", str(folder), "--model", str(model), written=scratch / "json")[
            "ways"
        ]
    costs = {}
    for way, figures in ways[many].items():
        image = (figures["cpu_seconds"] - ways[few][way]["cpu_seconds"]) / (many - few)
        start = figures["cpu_seconds"] - many * image
        costs[way] = image, image + start / 200, figures["peak_gib"] * 1024
    for way, (image, of_200, memory) in costs.items():
        precision = "bf16" if way == "bf16" else "fp32"
        times = costs["plain loop"][1] / of_200
        part = flop / image / peaks[precision]
        yield Row(f"translation of one of 200 JPEGs, ResNet-9, {side} px", way, of_200, times, memory, part)


def loading(share: float, photographs: Path, scratch: Path) -> Iterator[Row]:
    """Images from files to batches."""
    for side, batch in LOADING:
        folder = cut(photographs, scratch / f"loading{side}", side * 5 // 4, 200)
        command = ["benchmarks.loading", str(folder), "--size", str(side), "--batch", str(batch)]
        table = answer(*command, "--images", str(max(200, round(2000 * share * 64 / side))))
        for way, rate in table["images_per_second"].items():
            yield Row(f"image for training, {side} px", way, 1 / rate, table["times_as_fast"][way])


def cut(photographs: Path, folder: Path, side: int, count: int) -> Path:
    """A folder of ``count`` squares out of the photographs in turn, as JPEG."""
    images, random = [read_image(path) for path in list_images(photographs)], np.random.default_rng(0)
    images = [image for image in images if min(image.shape[:2]) >= side]
    if not images:
        raise SystemExit(f"{photographs}: no image of {side}x{side} pixels or more")
    for number in range(count):
        image = images[number % len(images)]
        top, left = (random.integers(length - side + 1) for length in image.shape[:2])
        write_image(folder / f"{number:04}.jpg", image[top : top + side, left : left + side])
    return folder


def answer(module: str, *arguments: str, written: Path | None = None) -> Any:
    """What a benchmark prints, or writes, as JSON; it has one thread."""
    given = [] if written is None else ["--json", str(written)]
    command = [sys.executable, "-m", module, *arguments, *given]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ).stdout
    return json.loads(printed if written is None else written.read_text())


def main() -> None:
    """Prints the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--share", type=float, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peaks = {"fp32": peak(torch.float32), "bf16": peak(torch.bfloat16)}
    emulated = "" if cpu_computes_in_bf16() else ", which it emulates"
    rates = {precision: f"{rate / 1e9:.0f} GFLOP/s in {precision}" for precision, rate in peaks.items()}
    print(f"{environment()}\npeak of a core: {rates['fp32']}, {rates['bf16']}{emulated}\n")
    print(
        "| | | CPU seconds | times as fast | memory, MiB | share of the peak |\n|---|---|---|---|---|---|", flush=True
    )
    rows = []
    with TemporaryDirectory() as scratch:
        parts = (
            loading(arguments.share, arguments.folder, Path(scratch)),
            translation(peaks, arguments.share, arguments.folder, Path(scratch)),
            training(peaks, arguments.share),
        )
        for part in parts:
            for row in part:
                rows.append(row)
                print(row, flush=True)
    if arguments.output:
        table = {"environment": environment(), "peaks": peaks, "rows": [row._asdict() for row in rows]}
        arguments.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
