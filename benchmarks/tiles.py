"""Translation by tiles against translation of the whole image, and its peak memory from 1 to 100 megapixels.

``exact`` prints how far both are apart, on networks with the weights that they have before training. ``memory`` runs
``i2i translate`` as a whole command, with its start, reading and writing, on an image of noise, which no format makes
smaller, and prints the peak of its resident memory, which Linux tells of the process itself. ``onnx`` does as ``exact``
with an exported file, with CPU seconds.

usage: python -m benchmarks.tiles exact [--width 16] [--tile 256]
       python -m benchmarks.tiles onnx [--width 16] [--tile 512]
       python -m benchmarks.tiles memory [--width 4] [--blocks 9] [--megapixels 1 4 16 36 64 100] [--tile 512]
                                         [--format png]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.translate import untrained
from i2i import load_translator
from i2i.exchange.export import export_model
from i2i.inference.translator import Translator
from i2i.tiling.settings import Tiles

NETWORKS = {
    "ResNet-9": ("cyclegan", ["blocks=9"]),
    "ResNet-6, three halvings, skips, blurred, residual": (
        "cyclegan-fast",
        ["blocks=6", "halvings=3", "skips=true", "downsample=blurred", "upsample=blurred", "output=residual"],
    ),
    "U-Net of depth 8, dropout and statistics of the image": ("pix2pix", ["depth=8"]),
}
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 0},
    "tiff": {"format": "TIFF"},
    "deflate": {"format": "TIFF", "compression": "tiff_deflate"},
}
"""What Pillow writes the images as."""
SIZES = [(256, 256), (500, 333), (97, 1031), (640, 960), (1234, 777)]


def exact(width: int, tile: int) -> None:
    """Prints a table of the largest differences, of values in [-1, 1]."""
    print("| network | width x height | largest difference | whole, s | by tiles, s |\n|---|---|---|---|---|")
    with TemporaryDirectory() as scratch:
        for number, (name, (arch, settings)) in enumerate(NETWORKS.items()):
            weights = untrained(Path(scratch, f"{number}.safetensors"), arch, [f"width={width}", *settings])
            translator = load_translator(weights, device="cpu").faster("AtoB", "fp32")
            for size in SIZES:
                print(f"| {name} | {size[0]}x{size[1]} | {_compared(translator, size, tile)} |", flush=True)


def _compared(translator: Translator, size: tuple[int, int], tile: int) -> str:
    width, height = size
    image = _smooth(height, width)
    begin = time.perf_counter()
    whole = translator.translate(image, "AtoB")[0]
    middle = time.perf_counter()
    tiled = translator.translate_by_tiles(image[0], "AtoB", Tiles(tile))
    end = time.perf_counter()
    return f"{(tiled - whole).abs().max().item():.1e} | {middle - begin:.1f} | {end - middle:.1f}"


def _smooth(height: int, width: int) -> Tensor:
    """An image (1, 3, H, W) without hard edges."""
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 2 - 1


def onnx(width: int, tile: int) -> None:
    """Prints a table for the ONNX file of a ResNet-9."""
    print("| image | largest difference | whole, CPU s | by tiles | with a thumbnail |\n|---|---|---|---|---|")
    with TemporaryDirectory() as scratch:
        weights = untrained(Path(scratch, "w.safetensors"), "cyclegan", [f"width={width}", "blocks=9"])
        images = [np.random.default_rng(0).integers(0, 256, (40, 33, 3), np.uint8)]
        translator = load_translator(export_model(weights, images, output=Path(scratch, "AtoB.onnx")).path)
        for side in (1024, 2048):
            image = _smooth(side, side)[0]

            def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
                begin = time.process_time()
                return work(), time.process_time() - begin

            by_tiles = partial(translator.translate_by_tiles, image, None)
            whole, seconds = timed(partial(translator.translate, image[None]))
            tiled, seconds_tiled = timed(partial(by_tiles, Tiles(tile)))
            _, seconds_reduced = timed(partial(by_tiles, Tiles(tile, statistics="thumbnail")))
            apart = (tiled - whole[0]).abs().max().item()
            print(f"| {side}x{side} | {apart:.1e} | {seconds:.1f} | {seconds_tiled:.1f} | {seconds_reduced:.1f} |")


def memory(width: int, blocks: int, megapixels: list[int], tile: str, precision: str, kind: str) -> None:
    """Prints a table of peak memory; the outputs have the format of the inputs, TIFF without compression."""
    print("| megapixels | peak memory, MiB | CPU seconds |\n|---|---|---|")
    suffix = "png" if kind == "png" else "tiff"
    with TemporaryDirectory() as scratch:
        source, output = Path(scratch, f"in.{suffix}"), Path(scratch, f"out.{suffix}")
        weights = untrained(Path(scratch, "w.safetensors"), "cyclegan", [f"width={width}", f"blocks={blocks}"])
        for number in megapixels:
            side = round((number * 1e6) ** 0.5)
            noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(noise).save(source, **FORMATS[kind])
            del noise
            command = [sys.executable, "-m", "i2i", "translate", str(source), "-o", str(output)]
            command += ["--model", str(weights), "--device", "cpu", "--precision", precision, "--overwrite"]
            peak, seconds = _peak([*command, "--tile", tile, "--max-pixels", str(side * side)])
            print(f"| {number} | {peak / 2**20:,.0f} | {seconds:,.0f} |", flush=True)


def _peak(command: list[str]) -> tuple[int, float]:
    """The most bytes of memory that a command has had, and its CPU seconds.

    Not by the peak that the system reports of a process that has ended, which is no less than that of its parent.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return peak, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["exact", "onnx", "memory"])
    parser.add_argument("--width", type=int)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--megapixels", type=int, nargs="+", default=[1, 4, 16, 36, 64, 100])
    parser.add_argument("--tile")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--format", choices=FORMATS, default="png")
    given = parser.parse_args()
    if given.table == "exact":
        exact(given.width or 16, int(given.tile or 256))
    elif given.table == "onnx":
        onnx(given.width or 16, int(given.tile or 512))
    else:
        tile = given.tile or "512"
        memory(given.width or 4, given.blocks, given.megapixels, tile, given.precision, given.format)


if __name__ == "__main__":
    main()
