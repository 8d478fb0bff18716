"""``i2i sample``: writes samples as a sheet or a folder, or another view of a generator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.ending import DONE, model_line
from i2i.cli.options import FileName, device_option, example, model_option, overwrite_option, require_model
from i2i.display import is_first_process
from i2i.errors import DataError
from i2i.storage.files import require_free

if TYPE_CHECKING:
    from i2i.config.schema import Device
    from i2i.inference.sampler import Sampler


@dataclass(frozen=True)
class Request:
    """The arguments that all views share."""

    sampler: Sampler
    output: Path
    count: int
    label: str | None
    seed: int
    overwrite: bool


@click.command(epilog=example("i2i sample -o sheet.png", "i2i sample -o walk.png --walk 8"))
@model_option
@click.option("-o", "--output", type=FileName(), default="samples.png", show_default=True, help="PNG file or folder.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Number of images.")
@click.option("--label", help="Label of all images, for a conditional model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--truncation", type=float, help="Truncate the latents at this value: better images, less variety.")
@click.option(
    "--walk",
    type=click.IntRange(2),
    metavar="STOPS",
    help="Interpolate between this many images; writes a strip and a GIF.",
)
@click.option(
    "--arithmetic", metavar="EXPRESSION", help='Add and subtract latents of numbered images, e.g. "3,17 - 5,8 + 2".'
)
@click.option("--traverse", metavar="CODE", help="Vary one code of an InfoGAN along each row.")
@click.option(
    "--drop-feature",
    metavar="STAGE:MAPS",
    help="Samples with and without these feature maps: up2:0,5, or up2:BOXES.yaml with boxes around what to remove, "
    "a list of {sample: 3, box: [x0, y0, x1, y1]}.",
)
@overwrite_option
@device_option
def sample(
    model: Path | None,
    output: Path,
    count: int,
    label: str | None,
    seed: int,
    truncation: float | None,
    overwrite: bool,
    device: Device,
    **views: Any,
) -> None:
    """Generate images from noise.

    An output ending in .png is one sheet; any other is a folder of files. Existing files are replaced only with
    --overwrite. Under torchrun, several processes share the files of a folder.
    """
    chosen = [name for name in VIEWS if views[name] is not None]
    _refuse_together(chosen, output, truncation)
    if output.suffix == ".png":
        if not is_first_process():
            sys.exit(DONE)  # a sheet is written by one process
        gif = [output.with_suffix(".gif")] if "walk" in chosen else []
        require_free(output, *gif, overwrite=overwrite)
    require_model(model)
    from i2i.inference.load import load_sampler
    from i2i.inference.views import require_images

    sampler = load_sampler(model, device=device)
    require_images(sampler)
    request = Request(sampler, output, count, label, seed, overwrite)
    said = VIEWS[chosen[0]](request, views[chosen[0]]) if chosen else _draw(request, truncation)
    if is_first_process():
        click.echo(said)


def _refuse_together(views: list[str], output: Path, truncation: float | None) -> None:
    options = ["--" + name.replace("_", "-") for name in views]
    if len(options) > 1:
        raise click.UsageError(f"give one of {', '.join(options)}")
    if options and truncation is not None:
        raise click.UsageError(f"--truncation is for sheets and folders; leave it out with {options[0]}")
    if options and output.suffix != ".png":
        raise click.UsageError(f"-o {output}: {options[0]} writes one image; end the name in .png")


def _draw(request: Request, truncation: float | None) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views
    from i2i.inference.together import together

    given: dict[str, Any] = {"label": request.label, "seed": request.seed, "truncation": truncation}
    if request.output.suffix == ".png":
        write_image(request.output, views.sheet(request.sampler.sample(request.count, **given)))
    else:
        with together() as processes:
            processes.told(lambda: views.require_empty(request.output, overwrite=request.overwrite))
            numbers = processes.share(range(request.count))
            views.write_images(request.output, request.sampler.sample_numbers(numbers, **given), numbers)
            if not processes.wait():
                raise DataError(f"another process ended before its part of {request.output} was done")
    return f"drew {request.count} images with {model_line(request.sampler)}: {request.output}"


def _walk(request: Request, stops: int) -> str:
    from i2i.inference import views

    images = views.walk(request.sampler, stops, label=request.label, seed=request.seed)
    strip = views.write_walk(request.output, images)
    return f"walked between {stops} images of {model_line(request.sampler)}: {request.output} and {strip}"


def _arithmetic(request: Request, expression: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views

    images = views.arithmetic(request.sampler, expression, label=request.label, seed=request.seed)
    write_image(request.output, views.sheet(images, len(images)))
    return f"terms, result and 8 neighbours of {expression} with {model_line(request.sampler)}: {request.output}"


def _traverse(request: Request, code: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views

    sheet = views.traverse(request.sampler, code, rows=min(request.count, 10), seed=request.seed)
    write_image(request.output, sheet)
    return f"{code} along the rows of {model_line(request.sampler)}: {request.output}"


def _drop_feature(request: Request, maps: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views
    from i2i.probes.forget import drop_features

    count = min(request.count, 10)
    dropped = drop_features(request.sampler, maps, count=count, label=request.label, seed=request.seed)
    write_image(request.output, views.sheet([*dropped.whole, *dropped.without], len(dropped.whole)))
    shown = f"whole, and below without {maps}, of {model_line(request.sampler)}: {request.output}"
    return "\n".join([*dropped.lines, shown])


VIEWS: dict[str, Callable[[Request, Any], str]] = {
    "walk": _walk,
    "arithmetic": _arithmetic,
    "traverse": _traverse,
    "drop_feature": _drop_feature,
}
"""Maps each option to the function that writes its view and returns a summary."""
