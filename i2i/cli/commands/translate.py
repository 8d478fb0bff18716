"""``i2i translate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import DONE, SKIPPED, model_line, stoppable, tell
from i2i.cli.options import FileName, device_option, example, max_pixels_option, model_option, require_model
from i2i.display import warn
from i2i.needs import require_path

if TYPE_CHECKING:
    from i2i.config.schema import Device
    from i2i.inference.translate import Format


@click.command(
    epilog=example("i2i translate photos -o painted", "i2i translate photo.jpg --model runs/NAME --direction BtoA")
)
@click.argument("source", metavar="INPUT", type=FileName())
@click.option("-o", "--output", type=FileName(), help="Output image or folder.  [default: INPUT-translated]")
@model_option
@click.option("--direction", metavar="NAME", help="AtoB, BtoA, ...  [default: the model's first]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Random seed of a model with noise (dualgan, pix2pix): another seed, another translation.",
)
@click.option("--format", "image_format", type=click.Choice(["png", "jpg", "webp", "bmp", "tiff"]), default="png")
@max_pixels_option
@click.option("--overwrite", is_flag=True, help="Replace existing files that no earlier translation wrote.")
@device_option
def translate(
    source: Path,
    output: Path | None,
    model: Path | None,
    direction: str | None,
    seed: int | None,
    image_format: Format,
    max_pixels: int,
    overwrite: bool,
    device: Device,
) -> None:
    """Translate an image, or a folder of images.

    A folder of translations has a report.json with the name and digest of each. What is in it and unchanged is not
    made again, and only that is ever replaced. A single OUTPUT must not exist yet.

    Several processes share the images of a folder: torchrun --nproc-per-node 2 -m -- i2i translate ...
    """
    require_path(source)
    require_model(model)
    with stoppable("the same command goes on from here"):
        from i2i.inference.load import load_translator
        from i2i.inference.together import together
        from i2i.inference.translate import plan, translate_files

        with together() as processes:
            planned = processes.told(lambda: plan(source, output, image_format, overwrite=overwrite))
            translator = load_translator(model, device=device)
            if seed is not None and not translator.has_noise:
                warn(f"--seed changes nothing: {translator.config.arch} draws no noise at translation")
            results = translate_files(
                translator,
                planned,
                direction,
                seed=seed,
                max_pixels=max_pixels,
                overwrite=overwrite,
                processes=processes,
            )
    if not processes.is_first:
        sys.exit(DONE)
    from i2i.inference.outputs import PENDING

    failed = [result.error for result in results if result.error is not None]
    for reason in failed:
        if reason != PENDING:
            warn(f"skipped: {reason}")
    for reason in planned.denied:
        warn(f"left out: {reason}")
    where = planned.folder or planned.jobs[0].target
    closed = f"; {len(planned.denied)} folders cannot be entered" if planned.denied else ""
    tell(f"translated {len(results) - len(failed)} of {len(results)} with {model_line(translator)} to {where}{closed}")
    sys.exit(SKIPPED if failed or planned.denied else DONE)
