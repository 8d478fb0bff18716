"""Seconds of a training step of several recipes, which take turns, so that what else the machine does hits all alike.

The settings hold for all of them. Prints a JSON line for each: the median of its turns, the images of the source
domain in a second, and how many times as many as the first recipe's.

usage: python -m benchmarks.speed DATA --arch cyclegan fastcut cut [--steps 20] [--turns 5] [--set KEY=VALUE]...
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

from i2i import resolve_config
from i2i.training.trainer import Trainer


def main() -> None:
    """Times the recipes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    settings = {"options": {"data.path": str(arguments.data)}, "assignments": arguments.assignments}
    trainers = {arch: Trainer(resolve_config(arch, **settings)) for arch in arguments.arch}
    seconds: dict[str, list[float]] = {arch: [] for arch in trainers}
    for _ in range(arguments.turns):
        for arch, trainer in trainers.items():
            seconds[arch].append(trainer.probe(arguments.steps))
    rates = {arch: trainers[arch].config.training.batch_size / median(turns) for arch, turns in seconds.items()}
    for arch, rate in rates.items():
        figures = {
            "arch": arch,
            "seconds_per_step": round(median(seconds[arch]), 4),
            "images_per_second": round(rate, 2),
            "times_the_first": round(rate / rates[arguments.arch[0]], 2),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
