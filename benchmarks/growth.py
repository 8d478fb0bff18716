"""How cost grows: a training step with image size and batch, a start with the images, a translation with its files.

Each point is a process of its own, on one thread: CPU seconds, and peak memory with what Python and torch take. The
networks are CycleGAN's with few filters, because growth is asked for. Images for starts and translations are one file
of 16 px under many names. Writes the figures as JSON, and curves.

usage: python -m benchmarks.growth -o growth.json --figure growth.png
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

WIDTH = 16
STEPS = 3
POINTS = {
    "image size, px (batch 1)": (64, 128, 256, 512),
    "batch (64 px)": (1, 2, 4, 8, 16),
    "training images of each domain": (1_000, 10_000, 100_000),
    "files to translate": (200, 1_000, 5_000),
}
KINDS = dict(zip(("size", "batch", "images", "files"), POINTS, strict=True))


def settings(**more: Any) -> dict[str, Any]:
    """Those that all points share."""
    networks = {f"networks.{role}.width": WIDTH for role in ("generator", "discriminator")}
    return {"training.device": "cpu", "training.precision": "fp32", "training.threads": 1, **networks, **more}


def step(size: int, batch: int) -> float:
    """CPU seconds of a training step, the shortest of a few."""
    import torch

    from i2i import resolve_config
    from i2i.bench.training import random_batch
    from i2i.training.engine import Engine

    torch.set_num_threads(1)
    config = resolve_config("cyclegan", options=settings(image_size=size, **{"training.batch_size": batch}))
    engine, images = Engine(config, torch.device("cpu")), random_batch(config)

    def seconds() -> float:
        begin = time.process_time()
        engine.step(repeat(images), 0.0)
        return time.process_time() - begin

    return min(seconds() for _ in range(STEPS))


def start(count: int) -> float:
    """CPU seconds until a run on ``count`` images of each domain is ready for its first step."""
    from i2i import resolve_config
    from i2i.training.trainer import Trainer

    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        for folder in ("trainA", "trainB"):
            many_names(Path(scratch, folder), count)
        options = settings(image_size=64, **{"data.path": scratch})
        begin = time.process_time()
        Trainer(resolve_config("cyclegan", options=options))
        return time.process_time() - begin


def translate(count: int) -> float:
    """CPU seconds of the translation of ``count`` files by a tiny generator."""
    from benchmarks.translate import untrained
    from i2i.inference.load import load_translator
    from i2i.inference.plan import plan
    from i2i.inference.translate import translate_files

    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        folder, model = many_names(Path(scratch, "in"), count), Path(scratch, "model.safetensors")
        translator = load_translator(untrained(model, settings=["width=4"], image_size=64), device="cpu")
        begin = time.process_time()
        translate_files(translator, plan(folder, Path(scratch, "out"), "png"), None, precision="fp32")
        return time.process_time() - begin


def many_names(folder: Path, count: int) -> Path:
    """A folder of one image under ``count`` names; a file system allows some ten thousand for a file."""
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06}.png"
        if number % 10_000 == 0:
            first = path
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        else:
            os.link(first, path)
    return folder


MEASURES: Mapping[str, Callable[[int], float]] = {
    "size": lambda size: step(size, 1),
    "batch": lambda batch: step(64, batch),
    "images": start,
    "files": translate,
}


def draw(table: dict[str, Any], path: Path) -> None:
    """Curves of seconds and of memory, both axes logarithmic but that of memory."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(12, 3), layout="constrained")
    for axes, (title, points) in zip(figure.subplots(1, len(table)), table.items(), strict=True):
        values, seconds, memories = ([point[key] for point in points] for key in ("value", "cpu_seconds", "peak_gib"))
        axes.plot(values, seconds, "o-", color="C0")
        axes.set(xscale="log", yscale="log", xlabel=title)
        axes.yaxis.set(major_locator=FixedLocator(seconds), minor_locator=NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.2g}"))
        axes.set_ylabel("CPU seconds", color="C0")
        axes.xaxis.set(major_locator=FixedLocator(values), minor_locator=NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        memory = axes.twinx()
        memory.plot(values, memories, "s--", color="C1")
        memory.set_ylim(0, 1.1 * max(memories))
        memory.set_ylabel("peak GiB", color="C1")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measures every point and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("growth.json"))
    parser.add_argument("--figure", type=Path, default=Path("growth.png"))
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=[*KINDS], help="Others are taken from OUTPUT.")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        kind, value = arguments.point
        seconds = MEASURES[kind](int(value))
        import torch

        from i2i.device import environment, peak_memory

        peak = peak_memory(torch.device("cpu"))
        figures = {"value": int(value), "cpu_seconds": round(seconds, 3), "peak_gib": round(peak, 3)}
        print(json.dumps({**figures, "environment": environment()}))
        return
    content = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"points": {}}
    for kind in arguments.kind:
        points = []
        for value in POINTS[KINDS[kind]]:
            command = [sys.executable, "-m", "benchmarks.growth", "--point", kind, str(value)]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            points.append(json.loads(result.stdout.splitlines()[-1]))
            content["environment"] = points[-1].pop("environment")
            print(kind, points[-1], flush=True)
        content["points"][KINDS[kind]] = points
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    draw({title: content["points"][title] for title in POINTS if title in content["points"]}, arguments.figure)


if __name__ == "__main__":
    main()
