"""``i2i filters``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import DONE, SKIPPED, tell
from i2i.cli.options import (
    SEED,
    FileName,
    FilledText,
    Units,
    device_option,
    example,
    max_pixels_option,
    model_option,
    overwrite_option,
)
from i2i.display import warn
from i2i.storage.files import require_free

if TYPE_CHECKING:
    from i2i.config.schema import Device


@click.command(
    epilog=example(
        "i2i filters DATA -o filters.png --stage layer2", "i2i filters DATA --model runs/NAME --network discriminator_B"
    )
)
@click.argument("path", metavar="DATA", type=FilledText())
@click.option("-o", "--output", type=FileName(), default="filters.png", show_default=True, help="Image to write.")
@model_option
@click.option("--network", help="Discriminator to use if there are two, e.g. discriminator_B.  [default: the first]")
@click.option("--stage", help="Stage of the discriminator, e.g. layer2.  [default: the last]")
@click.option(
    "--units", type=Units(), default="6", show_default=True, help="Number of units, or their indices, e.g. 0,5,9."
)
@click.option("--images", is_flag=True, help="Show each image beside its gradient.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of the untrained weights.")
@click.option("--json", "report_file", type=FileName(), help="Also write the report to this JSON file.")
@max_pixels_option
@overwrite_option
@device_option
def filters(
    path: str,
    output: Path,
    model: Path | None,
    network: str | None,
    stage: str | None,
    units: int | list[int],
    images: bool,
    seed: int,
    report_file: Path | None,
    max_pixels: int,
    overwrite: bool,
    device: Device,
) -> None:
    """Show what a discriminator's units respond to.

    Uses guided backpropagation on images of DATA. The left half shows an untrained discriminator, the right half the
    model's.

    A translator's discriminator is read from the run's newest checkpoint, so --model must be the run folder. DATA is
    then a set with trainA/ and trainB/, or a folder of images of the discriminator's domain; for pix2pix, whose
    discriminator sees pairs, a set of pairs.
    """
    from i2i.probes.discriminators import load_discriminator
    from i2i.probes.filters import find_filters, require_image_name, write_sheet

    require_image_name(output)
    require_free(output, *([report_file] if report_file else []), overwrite=overwrite)
    probed = load_discriminator(model, name=network, device=device)
    found = find_filters(probed, path, stage=stage, units=units, seed=seed, max_pixels=max_pixels)
    write_sheet(output, found, images=images)
    if report_file is not None:
        found.write(report_file)
    for problem in found.skipped:
        warn(f"left out: {problem}")
    tell(found.line(output))
    sys.exit(SKIPPED if found.skipped else DONE)
