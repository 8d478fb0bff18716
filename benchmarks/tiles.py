"""Translation by tiles against translation of the whole image, and its peak memory from 1 to 100 megapixels.

``exact`` prints how far both are apart, on networks with the weights that they have before training. ``memory`` runs
``i2i translate`` as a whole command, with its start, reading and writing, on an image of noise, which no format makes
smaller, and prints the peak of its resident memory.

usage: python -m benchmarks.tiles exact [--width 16] [--tile 256]
       python -m benchmarks.tiles memory [--width 4] [--blocks 9] [--megapixels 1 4 16 36 64 100] [--tile 512]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.translate import run, untrained
from i2i import load_translator
from i2i.inference.translator import Translator

NETWORKS = {
    "ResNet-9": ("cyclegan", ["blocks=9"]),
    "ResNet-6, three halvings, skips, blurred, residual": (
        "cyclegan-fast",
        ["blocks=6", "halvings=3", "skips=true", "downsample=blurred", "upsample=blurred", "output=residual"],
    ),
    "U-Net of depth 8, dropout and statistics of the image": ("pix2pix", ["depth=8"]),
}
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
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 2 - 1
    begin = time.perf_counter()
    whole = translator.translate(image, "AtoB")[0]
    middle = time.perf_counter()
    tiled = translator.translate_by_tiles(image[0], "AtoB", side=tile)
    end = time.perf_counter()
    return f"{(tiled - whole).abs().max().item():.1e} | {middle - begin:.1f} | {end - middle:.1f}"


def memory(width: int, blocks: int, megapixels: list[int], tile: str, precision: str) -> None:
    """Prints a table of peak memory."""
    print("| megapixels | peak memory, MiB | CPU seconds |\n|---|---|---|")
    with TemporaryDirectory() as scratch:
        source, output = Path(scratch, "in.png"), Path(scratch, "out.png")
        weights = untrained(Path(scratch, "w.safetensors"), "cyclegan", [f"width={width}", f"blocks={blocks}"])
        for number in megapixels:
            side = round((number * 1e6) ** 0.5)
            noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(noise).save(source, compress_level=0)
            del noise
            command = [sys.executable, "-m", "i2i", "translate", str(source), "-o", str(output)]
            command += ["--model", str(weights), "--device", "cpu", "--precision", precision, "--overwrite"]
            figures = run([*command, "--tile", tile, "--max-pixels", str(side * side)])
            print(f"| {number} | {figures['peak_gib'] * 1024:,.0f} | {figures['cpu_seconds']:,.0f} |", flush=True)


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["exact", "memory"])
    parser.add_argument("--width", type=int)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--megapixels", type=int, nargs="+", default=[1, 4, 16, 36, 64, 100])
    parser.add_argument("--tile")
    parser.add_argument("--precision", default="fp32")
    given = parser.parse_args()
    if given.table == "exact":
        exact(given.width or 16, int(given.tile or 256))
    else:
        memory(given.width or 4, given.blocks, given.megapixels, given.tile or "512", given.precision)


if __name__ == "__main__":
    main()
