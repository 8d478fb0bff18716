"""DCGAN and WGAN with and without batch norm in the generator (Arjovsky et al. 2017, arXiv:1701.07875, figures 5 to 7).

The paper: without batch norm WGAN still makes samples, and the standard GAN fails. Four runs of the recipes ``dcgan``
and ``wgan`` for the same time each; all that changes is networks.generator.norm, and the discriminator and the critic
keep their batch norm. Writes the runs, sheet.png (64 samples of each) and figures.json, and prints a JSON line for each
run: its steps, and the KID of as many samples as there are held-out images, on EfficientNet-Lite0.
Differs from the paper: figure 6's generator also has the same number of filters in every layer, for which ``dcgan`` has
no setting, and figure 7's perceptron is left out; widths of 32, 32 pixels and minutes by default, for time.

usage: python -m benchmarks.without_batch_norm DATA -o FOLDER [--max-time 180] [--image-size 32] [--width 32] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import i2i
from i2i.data.collection import find_collection
from i2i.data.images import Pixels, write_image
from i2i.data.one_domain import read_images
from i2i.device import resolve_device
from i2i.evaluation.features.base import find_network
from i2i.evaluation.images import as_rgb
from i2i.evaluation.metrics.kernel import kernel_distance
from i2i.inference.load import load_sampler
from i2i.inference.views import sheet
from i2i.lab.drawing import new_figure, to_pixels

SHOWN, COLUMNS = 64, 8


@dataclass(frozen=True)
class Result:
    """One of the four runs."""

    arch: str
    generator_norm: str
    steps: int
    n: int
    kid_lite0: float


def train(arch: str, norm: str, arguments: argparse.Namespace) -> Path:
    """Trains one of the four and returns its run."""
    run: Path = arguments.output / f"{arch}-{norm}"
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
    i2i.train(i2i.resolve_config(arch, options=options), run)
    return run


def measure(runs: list[Path], arguments: argparse.Namespace) -> tuple[list[Result], list[list[Pixels]]]:
    """The result and the samples of every run."""
    network, collection = (
        find_network("lite0", resolve_device("cpu")),
        find_collection(arguments.data, size=arguments.image_size),
    )
    config = load_sampler(runs[0]).config
    (store,) = read_images([collection.test], config.images, config.image_size)
    truth = network.features([as_rgb(store[i]) for i in range(len(store))])
    results, samples = [], []
    for run in runs:
        sampler = load_sampler(run, device="cpu")
        drawn = [as_rgb(pixels) for pixels in sampler.sample(len(store), seed=arguments.seed)]
        config, kid = sampler.config, round(kernel_distance(network.features(drawn), truth).value, 5)
        results.append(Result(config.arch, run.name.partition("-")[2], sampler.step, len(store), kid))
        samples.append(drawn[:SHOWN])
    return results, samples


def draw_sheet(results: list[Result], samples: list[list[Pixels]], path: Path) -> None:
    """Writes the samples of all four as one image."""
    figure = new_figure(9, 9.6)
    for axes, result, drawn in zip(figure.subplots(2, 2).flat, results, samples, strict=True):
        axes.imshow(sheet(drawn, COLUMNS))
        axes.set_title(f"{result.arch}, norm of the generator: {result.generator_norm}\nKID {result.kid_lite0:.3f}")
        axes.axis("off")
    write_image(path, to_pixels(figure))


def main() -> None:
    """Runs all four, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--max-time", type=float, default=180.0, help="seconds of training for each")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    runs = [train(arch, norm, arguments) for arch in ("dcgan", "wgan") for norm in ("batch", "none")]
    results, samples = measure(runs, arguments)
    for result in results:
        print(json.dumps(asdict(result)))
    (arguments.output / "figures.json").write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    draw_sheet(results, samples, arguments.output / "sheet.png")


if __name__ == "__main__":
    main()
