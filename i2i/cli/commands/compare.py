"""``i2i compare``."""

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
    Run,
    device_option,
    example,
    overwrite_option,
    require_model,
    run_max_pixels_option,
)
from i2i.display import counted, warn
from i2i.needs import require_data
from i2i.storage.files import require_free, require_writable, write_atomically

if TYPE_CHECKING:
    from i2i.config.schema import Device


@click.command(
    epilog=example("i2i compare runs/ONE runs/OTHER -o page.html", "i2i compare runs/NAME --data FOLDER --images 200")
)
@click.argument("models", metavar="[RUN]...", type=Run(), nargs=-1)
@click.option("--data", type=FilledText(), help="Data folder or built-in set.  [default: the one of all runs]")
@click.option("-o", "--output", type=FileName(), default="compare.html", show_default=True, help="HTML file.")
@click.option("--direction", metavar="NAME", help="Direction: AtoB, BtoA, ...  [default: the first model's first]")
@click.option(
    "--images", type=click.IntRange(2), default=60, show_default=True, help="Limit of held-out images, evenly spread."
)
@click.option("--unpaired", is_flag=True, help="Do not treat equal file names in A and B as pairs.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of samples.")
@run_max_pixels_option
@overwrite_option
@device_option
def compare(
    models: tuple[Path, ...],
    data: str | None,
    output: Path,
    direction: str | None,
    images: int,
    unpaired: bool,
    seed: int,
    max_pixels: int | None,
    overwrite: bool,
    device: Device,
) -> None:
    """Write a page that compares models side by side.

    OUTPUT is one HTML file that shows held-out images, each model's output, and the truth if there is one. It sorts by
    name or by a figure, worst first, and has zoom and a slider between two images. RUN is a run folder or a weight
    file, by default the newest run. Noise-to-image models are compared by grids of samples.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"-o {output}: the page is HTML; end the name in .html")
    if data is not None:
        require_data(data)
    require_free(output, overwrite=overwrite)
    for model in models or (None,):
        require_model(model)
    require_writable(output)
    from i2i.evaluation.evaluate import Request
    from i2i.evaluation.gallery import compare_models
    from i2i.evaluation.page import render

    request = Request(data=data, count=images, pairs=not unpaired, seed=seed, max_pixels=max_pixels, device=device)
    gallery = compare_models(models or [None], request, direction)
    content = render(gallery.page).encode()
    write_atomically(output, content)
    for line in gallery.skipped:
        warn(f"left out: {line}")
    compared = counted(max(1, len(models)), "model")
    tell(f"{compared}, {counted(len(gallery.page.items), 'image')} ({len(content) / 1e6:.1f} MB): {output}")
    sys.exit(SKIPPED if gallery.skipped else DONE)
