"""KID between samples of a noise-to-image run and images that its training has not seen.

As many samples as there are held-out images; EfficientNet-Lite0 features as in ``quality.py``, so the figure compares
runs on one set and is no published KID. Beside it the KID of as many training images, which is what perfect samples
would have. Prints a JSON line.

usage: python -m benchmarks.kid RUN DATA [--seed 0]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.quality import FeatureNet, kernel_distance
from i2i.data.collection import Part, find_collection
from i2i.data.heads import spread
from i2i.data.images import Pixels
from i2i.data.one_domain import read_images
from i2i.inference.load import load_sampler


def as_rgb(pixels: Pixels) -> Pixels:
    """Grey images with three equal channels."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def main() -> None:
    """Samples and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sampler = load_sampler(arguments.run)
    collection = find_collection(arguments.data, size=sampler.config.image_size)
    few = Part(spread(collection.train.images, len(collection.test.images)), [])
    stores = read_images([collection.test, few], sampler.config.images, sampler.config.image_size)
    held_out, seen = ([as_rgb(store[i]) for i in range(len(store))] for store in stores)
    drawn = [as_rgb(pixels) for pixels in sampler.sample(len(held_out), seed=arguments.seed)]
    features = FeatureNet()
    truth, fake, real = features(held_out), features(drawn), features(seen)
    figures = {
        "arch": sampler.config.arch,
        "steps": sampler.step,
        "image_size": sampler.config.image_size,
        "n": len(held_out),
        "kid_lite0": round(kernel_distance(fake, truth), 5),
        "kid_lite0_of_training_images": round(kernel_distance(real[: len(truth)], truth), 5),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
