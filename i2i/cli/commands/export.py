"""``i2i export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from i2i.cli.ending import stoppable, tell
from i2i.cli.options import FileName, Run, example, overwrite_option, require_model
from i2i.display import counted

if TYPE_CHECKING:
    from i2i.exchange.export import Exported
    from i2i.exchange.graphs import Format


@click.command(
    epilog=example(
        "i2i export runs/NAME --format onnx",
        "i2i export runs/NAME --format onnx --direction BtoA -o outlines.onnx",
        "i2i export runs/NAME --int8",
        "i2i export runs/NAME --compare",
        "i2i translate photos -o painted --model runs/NAME/AtoB.onnx",
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
@click.option(
    "--int8",
    is_flag=True,
    help="Convolutions of the ONNX file compute in 8-bit integers, calibrated on every second image; what that costs "
    "is measured on the others, printed, and stands in the file.",
)
@click.option("-o", "--output", type=FileName(), help="File to write.  [default: DIRECTION.onnx beside the weights]")
@click.option("--direction", metavar="NAME", help="Direction to export.  [default: the model's first]")
@click.option(
    "--images", type=FileName(), help="Images to compare on.  [default: the held-out images of the run's data]"
)
@click.option(
    "--compare",
    is_flag=True,
    help="Write nothing but a table of all forms: size, time, distance to the model; with -o, as JSON too.",
)
@overwrite_option
def export(
    model: Path,
    form: Format,
    int8: bool,
    output: Path | None,
    direction: str | None,
    images: Path | None,
    compare: bool,
    overwrite: bool,
) -> None:
    """Export a translator to a file that runs without i2i's code.

    MODEL is a run folder or weight file. The file takes images of any size. It is compared with the model on 20 real
    images, and kept only if both translate them alike.
    """
    if compare and (int8 or click.get_current_context().get_parameter_source("form") != ParameterSource.DEFAULT):
        raise click.UsageError("--compare shows all forms: leave out --format and --int8")
    require_model(model)
    with stoppable("nothing was written"):
        from i2i.exchange.export import export_model
        from i2i.exchange.real_images import real_images

        if compare:
            _compare(model, output, direction, images, overwrite=overwrite)
            return
        shown = real_images(model, direction, images)
        done = export_model(model, shown, form=form, int8=int8, output=output, direction=direction, overwrite=overwrite)
    about = done.about
    tell(
        f"exported {about.direction} of {about.arch}: {done.path}",
        f"largest difference to the model on {counted(about.compared, 'image')}: "
        f"{about.largest_difference:.1e} of the range from -1 to 1; {done.apart}",
        *_price(done),
    )
    if form == "onnx":
        tell(f"use it: i2i translate INPUT --model {done.path}")
        tell(f"without PyTorch: python -m i2i.runtime {done.path} INPUT -o OUTPUT")


def _compare(model: Path, output: Path | None, direction: str | None, images: Path | None, *, overwrite: bool) -> None:
    from i2i.exchange.forms import compare_forms
    from i2i.exchange.real_images import real_images
    from i2i.storage.files import require_free, write_atomically

    require_free(*([output] if output else []), overwrite=overwrite)
    forms = compare_forms(model, real_images(model, direction, images), direction)
    tell(*forms.lines())
    if output is not None:
        write_atomically(output, forms.to_json(), overwrite=overwrite)


def _price(done: Exported) -> list[str]:
    """What 8-bit integers cost and save, in a line."""
    if done.price is None:
        return []
    (plain, small), (before, after) = done.price.bytes, done.price.milliseconds
    slower = "" if after < before else ": they are not faster on this CPU"
    return [
        f"8-bit integers: {small / 1e6:.2f} MB instead of {plain / 1e6:.2f}, and {after:.0f} ms an image of 256x256 px "
        f"instead of {before:.0f}{slower}"
    ]
