"""Translates a folder by ``i2i translate`` and by a plain loop, in turns, as whole commands with their start.

The plain loop is what reference code does: float32, one image after another, read by Pillow and written as PNG, no
threads of its own. CPU seconds count, of each command with all of its threads, so that other work on the machine hardly
matters; the ratio is of their medians. Without a model it takes an untrained ResNet of nine blocks, width 64, as the
recipe has it at 256 pixels: the time does not depend on the weights.

usage: python -m benchmarks.translate FOLDER [--model RUN_OR_FILE] [--precision fp32 bf16] [--turns 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

PLAIN = "--plain"


def plain_loop(folder: Path, model: Path, output: Path) -> None:
    """Translates every image of ``folder`` as reference code does."""
    import numpy as np
    import torch
    from PIL import Image

    import i2i

    generator = next(iter(i2i.load_translator(model, device="cpu").method.directions().values())).generator
    output.mkdir()
    for path in sorted(folder.iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            fake = generator(image)[0]
        pixels = ((fake.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        Image.fromarray(pixels).save(output / f"{path.stem}.png")


def untrained(path: Path, arch: str = "cyclegan", settings: Sequence[str] = (), *, image_size: int = 256) -> Path:
    """A weight file of the generators of ``arch``, with ``settings`` of them, as before training."""
    import torch

    from i2i import resolve_config
    from i2i.build import build_method
    from i2i.storage.weights import save_weights

    channels = {"data.channels_a": 3, "data.channels_b": 3}
    assignments = [f"networks.generator.{setting}" for setting in settings]
    model = resolve_config(arch, options={"image_size": image_size, **channels}, assignments=assignments).model
    torch.manual_seed(0)
    save_weights(path, build_method(model).inference_state(), model, step=0)
    return path


def run(command: list[str]) -> dict[str, float]:
    """CPU seconds and seconds of a command, and its peak memory in GiB, which is no less than this process has had."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.perf_counter() - begin,
        "peak_gib": usage.ru_maxrss / 2**20,
    }


def main() -> None:
    """Prints a line of JSON for each way, and writes all to a file where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    from i2i.device import environment

    with TemporaryDirectory() as scratch:
        model, output = arguments.model or untrained(Path(scratch, "model.safetensors")), Path(scratch, "out")
        loop = [sys.executable, "-m", "benchmarks.translate", PLAIN, str(arguments.folder), str(model), str(output)]
        ours = [sys.executable, "-m", "i2i", "translate", str(arguments.folder), "-o", str(output)]
        ours += ["--model", str(model), "--device", "cpu", "--precision"]
        ways = {"plain loop": loop} | {precision: [*ours, precision] for precision in arguments.precision}
        turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(arguments.turns):
            for way, command in ways.items():
                turns[way].append(run(command))
                shutil.rmtree(output)
    medians = {way: {key: median(turn[key] for turn in runs) for key in runs[0]} for way, runs in turns.items()}
    plain = medians["plain loop"]["cpu_seconds"]
    table: dict[str, Any] = {"environment": environment(), "images": len(list(arguments.folder.iterdir())), "ways": {}}
    for way, figures in medians.items():
        rounded = {key: round(value, 3) for key, value in figures.items()}
        table["ways"][way] = {**rounded, "times_as_fast": round(plain / figures["cpu_seconds"], 2)}
        print(json.dumps({"way": way, **table["ways"][way]}))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == [PLAIN]:
        plain_loop(*map(Path, sys.argv[2:5]))
    else:
        main()
