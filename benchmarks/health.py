"""Whether the doctor leaves healthy runs alone, and what it costs.

Three recipes in small forms with their built-in sets and several seeds: for every figure of the doctor its most
suspicious value over the second half of all runs beside its threshold, and the signs that were on. Then the seconds of
a look in turns with those of a step, and what part of the run's time the looks take at their cadence.

usage: python -m benchmarks.health [--recipe cyclegan-fast dcgan pix2pix] [--seeds 0 1 2] [--steps 600] [--turns 5]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from i2i import resolve_config
from i2i.config.schema import Config
from i2i.doctor.records import read_records
from i2i.doctor.sign import Sign
from i2i.doctor.signs import sign_of
from i2i.doctor.watch import Watch
from i2i.storage.runs import RunFolder
from i2i.training.health import HealthCheck
from i2i.training.start import train
from i2i.training.trainer import Trainer

SMALL = "data.path=openmoji image_size=32 data.load_size=32 networks.generator.width=16 networks.discriminator.width=16"
RECIPES = {
    "cyclegan-fast": f"{SMALL} networks.generator.blocks=3",
    "dcgan": "data.path=digits image_size=28 networks.generator.width=32 networks.discriminator.width=32 "
    "training.batch_size=64",
    "pix2pix": f"{SMALL} networks.generator.depth=5 networks.discriminator.layers=2 training.batch_size=4",
}
"""Forms of recipes that learn in minutes on one core."""


def config_of(arch: str, seed: int, steps: int, more: Sequence[str]) -> Config:
    """A small form of a recipe that trains for ``steps``."""
    options = {"training.seed": seed, "training.steps": steps}
    assignments = [*RECIPES[arch].split(), "health.every=100", "training.log_every=20", *more]
    return resolve_config(arch, options=options, assignments=assignments)


def figures_of(run: RunFolder) -> tuple[int, dict[str, list[float]], list[str]]:
    """The number of steps, the figures of the second half of a run, and the signs that were on in it or at its end."""
    records, watch = list(read_records(run.metrics)), Watch()
    last = int(records[-1]["step"])
    figures: dict[str, list[float]] = {}
    rung = []
    for record in records:
        rung += [finding.tag for finding in watch.add(record, over=record is records[-1])]
        if record["step"] >= last / 2:
            for tag, value in record.items():
                if sign_of(tag) is not None:
                    figures.setdefault(tag, []).append(value)
    return last, figures, rung


def sign_at(tag: str) -> Sign:
    """The sign of a figure."""
    found = sign_of(tag)
    assert found is not None, tag
    return found[0]


def cost_of(arch: str, turns: int, more: Sequence[str]) -> dict[str, float]:
    """Seconds of a step and of a look, in turns, and the part of a run's time that looks take at the usual cadence."""
    trainer = Trainer(resolve_config(arch, assignments=[*RECIPES[arch].split(), *more]))
    check = HealthCheck(trainer, Path("none"))
    steps, looks = [trainer.probe(3)], list[float]()
    check.look(trainer)
    for _ in range(turns):
        steps.append(trainer.probe(3))
        start = time.perf_counter()
        check.look(trainer)
        looks.append(time.perf_counter() - start)
    step, look, every = median(steps), median(looks), trainer.config.health.every
    return {"step": round(step, 4), "look": round(look, 4), "every": every, "cost": round(look / (every * step), 5)}


def main() -> None:
    """Trains, and prints a table and a line of costs for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    for arch in arguments.recipe:
        worst: dict[str, float] = {}
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                outcome = train(config_of(arch, seed, arguments.steps, arguments.assignments), Path(folder) / "run")
                steps, figures, rung = figures_of(outcome.run)
            print(json.dumps({"arch": arch, "seed": seed, "steps": steps, "signs": rung}), flush=True)
            for tag, values in figures.items():
                known = [worst[tag]] if tag in worst else []
                worst[tag] = (max if sign_at(tag).side == "above" else min)([*values, *known])
        for tag, value in worst.items():
            print(f"{arch:14} {tag:38} {value:9.4f}   {sign_at(tag).side} {sign_at(tag).threshold:g}")
        print(json.dumps({"arch": arch} | cost_of(arch, arguments.turns, arguments.assignments)), flush=True)


if __name__ == "__main__":
    main()
