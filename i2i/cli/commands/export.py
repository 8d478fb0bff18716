"""``i2i export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import stoppable, tell
from i2i.cli.options import FileName, Run, example, overwrite_option, require_model

if TYPE_CHECKING:
    from i2i.exchange.graphs import Format


@click.command(
    epilog=example(
        "i2i export runs/NAME --format onnx",
        "i2i export runs/NAME --format onnx --direction BtoA -o outlines.onnx",
        "python -m i2i.runtime runs/NAME/AtoB.onnx photos -o painted",
    )
)
@click.argument("model", type=Run())
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "torchscript", "pt2"]),
    default="onnx",
    show_default=True,
    help="ONNX, or a file of PyTorch: PT2 (torch.export), or TorchScript, which PyTorch no longer develops.",
)
@click.option("-o", "--output", type=FileName(), help="File to write.  [default: DIRECTION.onnx beside the weights]")
@click.option("--direction", metavar="NAME", help="Direction to export.  [default: the model's first]")
@click.option(
    "--images", type=FileName(), help="Images to compare on.  [default: the held-out images of the run's data]"
)
@overwrite_option
def export(
    model: Path, form: Format, output: Path | None, direction: str | None, images: Path | None, overwrite: bool
) -> None:
    """Export a translator to a file that runs without i2i's code.

    MODEL is a run folder or weight file. The file takes images of any size. It is compared with the model on 20 real
    images, and kept only if both translate them alike.
    """
    require_model(model)
    with stoppable("nothing was written"):
        from i2i.exchange.export import export_model
        from i2i.exchange.real_images import real_images

        shown = real_images(model, direction, images)
        done = export_model(model, shown, form=form, output=output, direction=direction, overwrite=overwrite)
    tell(
        f"exported {done.about.direction} of {done.about.arch}: {done.path}",
        f"largest difference to the model on {done.about.compared} images: {done.about.largest_difference:.1e} of "
        "the range from -1 to 1",
    )
    if form == "onnx":
        tell(f"use it: python -m i2i.runtime {done.path} INPUT -o OUTPUT")
