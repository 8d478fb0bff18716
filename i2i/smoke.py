"""``i2i train --smoke``: a few steps of training, then evaluation and use of the result; nothing is kept."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.data.points import POINTS
from i2i.display import counted
from i2i.errors import DataError
from i2i.evaluation.evaluate import Request, evaluate
from i2i.inference.load import load
from i2i.inference.plan import plan, usual_format
from i2i.inference.sampler import Sampler
from i2i.inference.translate import translate_files
from i2i.inference.views import write_images
from i2i.training.start import train

STEPS, IMAGES = 5, 8


def smoke(config: Config) -> list[str]:
    """Trains for ``STEPS`` steps with a checkpoint and previews, evaluates, and writes ``IMAGES`` outputs.

    Args:
        config: of the run that is meant; only its length and the cadence of its previews are changed.

    Returns:
        What was done, a line each; nothing in all processes but the first.

    Raises:
        UserError: what would have ended the run, its evaluation or its use.
    """
    begin = time.monotonic()
    length = {"training.steps": STEPS, "training.epochs": None, "training.max_time": None}
    short = changed(config, length | {"training.log_every": 1, "training.sample_every": STEPS})
    with TemporaryDirectory(prefix="i2i-smoke-") as folder:
        outcome = train(short, Path(folder) / "run")
        if not outcome.is_main:
            return []
        done = [f"trained {counted(outcome.step, 'step')}", *_used(outcome.run.root, Path(folder), short)]
    return [f"smoke test passed in {time.monotonic() - begin:.0f} s: {', '.join(done)}; nothing was kept"]


def _used(run: Path, scratch: Path, config: Config) -> list[str]:
    """Evaluates a run and writes some of its outputs to files."""
    if config.data.path in POINTS:
        return ["points are neither evaluated nor written"]
    request = Request(count=IMAGES, seed=config.training.seed, device=config.training.device)
    parts = evaluate([run], request).parts
    done = [f"measured {', '.join(f'{part.direction} ({len(part.models[0].figures)} figures)' for part in parts)}"]
    model = load(run, device=request.device)
    if isinstance(model, Sampler):
        write_images(scratch, model.sample_numbers(range(IMAGES)), range(IMAGES))
        return [*done, f"generated {IMAGES} images"]
    for part in parts:
        images = part.held_out.sides[model.method.directions()[part.direction].source].given
        depth, _ = model.depths(part.direction)
        inputs = scratch / part.direction
        inputs.mkdir()
        write_images(inputs, images, range(len(images)), suffix=".png" if depth.is_plain else ".npy")
        planned = plan(inputs, None, usual_format(model, part.direction))
        results = translate_files(model, planned, part.direction)
        failed = [result.error for result in results if result.error is not None]
        if failed:
            raise DataError(failed[0])
        done.append(f"translated {counted(len(results), 'image')} {part.direction}")
    return done
