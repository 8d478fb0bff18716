"""DCGAN and WGAN with and without batch norm in the generator (Arjovsky et al. 2017, arXiv:1701.07875, figures 5 to 7).

The paper: without batch norm WGAN still makes samples, and the standard GAN fails. Four runs of the recipes ``dcgan``
and ``wgan`` for the same time each; all that changes is networks.generator.norm, and every critic or discriminator
keeps its own. Writes the runs, sheet.png (64 samples each) and figures.json with the KID of ``benchmarks.kid``, where
the data has a held-out part.
Differs from the paper: figure 6's generator also has the same number of filters in every layer, which ``dcgan`` has no
setting for, and figure 7's perceptron is left out; widths of 32 and 32 pixels by default, for time.

usage: python -m benchmarks.without_batch_norm DATA -o FOLDER [--max-time 180] [--image-size 32] [--width 32] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import i2i
from i2i.data.images import write_image
from i2i.inference.load import load_sampler
from i2i.inference.sample import sheet
from i2i.lab.drawing import new_figure, to_pixels

SAMPLES, COLUMNS = 64, 8


def train(arch: str, norm: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains one of the four and measures it."""
    run = arguments.output / f"{arch}-{norm}"
    options = {
        "data.path": arguments.data,
        "data.load_size": arguments.image_size,
        "image_size": arguments.image_size,
        "training.max_time": arguments.max_time,
        "training.seed": arguments.seed,
        "networks.generator.norm": norm,
        "networks.generator.width": arguments.width,
        "networks.discriminator.width": arguments.width,
    }
    outcome = i2i.train(i2i.resolve_config(arch, options=options), run)
    command = [sys.executable, "-m", "benchmarks.kid", str(run), arguments.data, "--seed", str(arguments.seed)]
    kid = subprocess.run(command, capture_output=True, text=True)
    if kid.returncode:
        print(f"no KID: {kid.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    measured = {} if kid.returncode else json.loads(kid.stdout)
    return {"arch": arch, "norm": norm, "steps": outcome.step} | {k: v for k, v in measured.items() if "kid" in k}


def draw(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Writes the contact sheet."""
    figure = new_figure(9, 10)
    for axes, row in zip(figure.subplots(2, 2).flat, rows, strict=True):
        sampler = load_sampler(arguments.output / f"{row['arch']}-{row['norm']}", device="cpu")
        pixels = sheet(sampler.sample(SAMPLES, seed=arguments.seed), COLUMNS)
        axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
        kid = f", KID {row['kid_lite0']:.3f}" if "kid_lite0" in row else ""
        axes.set_title(f"{row['arch']}, generator norm: {row['norm']}\n{row['steps']:,} steps{kid}")
        axes.axis("off")
    write_image(arguments.output / "sheet.png", to_pixels(figure))


def main() -> None:
    """Runs all four, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--max-time", type=float, default=180.0, help="seconds of training for each")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = [train(arch, norm, arguments) for arch in ("dcgan", "wgan") for norm in ("batch", "none")]
    for row in rows:
        print(json.dumps(row))
    (arguments.output / "figures.json").write_text(json.dumps(rows, indent=2) + "\n")
    draw(rows, arguments)


if __name__ == "__main__":
    main()
