"""Which average of the weights translates best: one training run is followed by several, and each is measured.

The averages do not touch the training, so that all of them end on the same weights. Prints a JSON line for each
average and direction, with L1, SSIM and KID on the held-out pairs of DATA, and one for no average.

usage: python -m benchmarks.averages DATA --steps 1500 [--seed 0] [--arch cyclegan-fast] [--set KEY=VALUE]...
       --average HALF_LIFE[:RAMP] ...
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from i2i import resolve_config
from i2i.config.schema import AverageConfig
from i2i.data.images import list_images, read_image
from i2i.evaluation.evaluated import Evaluated
from i2i.evaluation.features.base import find_network
from i2i.evaluation.images import ImageSet
from i2i.evaluation.measure import choose, measured
from i2i.inference.translator import Translator
from i2i.networks.at_inference import as_at_inference
from i2i.storage.runs import RunFolder
from i2i.training.average import WeightAverage
from i2i.training.engine import Engine
from i2i.training.trainer import Trainer

DIRECTIONS = {"AtoB": ("testA", "testB"), "BtoA": ("testB", "testA")}


class Several(WeightAverage):
    """The recipe's own average, with others that are moved beside it."""

    def __init__(self, engine: Engine, others: dict[str, AverageConfig]) -> None:
        training = engine.config.training
        assert training.ema is not None
        images = training.batch_size * training.accumulate
        super().__init__(engine.method.averaged(), training.ema, images)
        self.each = {name: WeightAverage(engine.method.averaged(), config, images) for name, config in others.items()}

    def update(self, steps_done: int) -> None:
        """Moves every average."""
        super().update(steps_done)
        for average in self.each.values():
            average.update(steps_done)


def translated(engine: Engine, average: WeightAverage | None, source: Path, direction: str) -> ImageSet:
    """The translations of every image of ``source`` by the averaged weights."""
    images = [Image.open(path).convert("RGB") for path in list_images(source)]
    wanted = engine.config.inference.model_dump()
    with nullcontext() if average is None else average.applied(), as_at_inference([engine.method], **wanted):
        translator = Translator(engine.method, engine.config.model, engine.step_count, engine.device)
        return ImageSet([np.asarray(translator(image, direction)) for image in images])


def main() -> None:
    """Trains once, and measures every average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", default="cyclegan-fast")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--average", nargs="+", required=True)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    others = {}
    for text in arguments.average:
        half_life, _, ramp = text.partition(":")
        others[text] = AverageConfig(half_life=float(half_life), ramp=float(ramp) if ramp else None)
    options = {
        "data.path": str(arguments.data),
        "training.steps": arguments.steps,
        "training.seed": arguments.seed,
    }
    trainer = Trainer(resolve_config(arguments.arch, options=options, assignments=arguments.assignments))
    trainer.engine.average = several = Several(trainer.engine, others)
    with tempfile.TemporaryDirectory() as folder:
        trainer.fit(RunFolder(Path(folder)))
    network, metrics = find_network("lite0", trainer.device), choose(["l1", "l1_not_white", "ssim", "kid"])
    for direction in DIRECTIONS:
        source, truth = (arguments.data / part for part in DIRECTIONS[direction])
        truths = ImageSet([read_image(path) for path in list_images(truth)])
        for name, average in {"none": None, "recipe": several, **several.each}.items():
            fakes = translated(trainer.engine, average, source, direction)
            images = Evaluated(fakes, truths, truth=truths, network=network)
            figures = measured(metrics, images, named=True, unavailable={})
            labels = {"seed": arguments.seed, "steps": arguments.steps, "average": name, "direction": direction}
            print(json.dumps(labels | {name: round(figure.value, 5) for name, figure in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
