"""``i2i sample``: writes samples as a sheet or a folder, or another view of a generator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.ending import DONE, model_line, tell
from i2i.cli.options import SEED, FileName, device_option, example, model_option, overwrite_option, require_model
from i2i.display import counted
from i2i.errors import DataError
from i2i.launched import launched
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
@click.option("--count", type=click.IntRange(1, 1_000_000_000), help="Number of images.  [default: 100]")
@click.option("--label", help="Label of all images, for a conditional model.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option("--truncation", type=float, help="Truncate the latents at this value: better images, less variety.")
@click.option(
    "--walk",
    type=click.IntRange(2, 1_000_000),
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
    count: int | None,
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
    _refuse_together(chosen, output, {"count": count, "label": label, "truncation": truncation})
    if is_sheet(output):
        if launched().rank > 0:
            sys.exit(DONE)  # a sheet is written by one process
        gif = [output.with_suffix(".gif")] if "walk" in chosen else []
        require_free(output, *gif, overwrite=overwrite)
    require_model(model)
    from i2i.inference.load import load_sampler
    from i2i.inference.views import require_images

    sampler = load_sampler(model, device=device)
    require_images(sampler)
    most = ROWS if chosen else DEFAULT_COUNT
    request = Request(sampler, output, most if count is None else count, label, seed, overwrite)
    said = VIEWS[chosen[0]](request, views[chosen[0]]) if chosen else _draw(request, truncation)
    if launched().rank == 0:
        tell(*said.split("\n"))


def is_sheet(output: Path) -> bool:
    """Whether ``output`` names one image, and not a folder."""
    return output.suffix.lower() == ".png"


def _refuse_together(views: list[str], output: Path, given: dict[str, Any]) -> None:
    """Refuses what would be ignored."""
    options = ["--" + name.replace("_", "-") for name in views]
    if len(options) > 1:
        raise click.UsageError(f"give one of {', '.join(options)}")
    for name in IDLE[views[0]] if views else ():
        if given[name] is not None:
            raise click.UsageError(f"--{name} has no effect; leave it out with {options[0]}")
    if options and (given["count"] or 0) > ROWS:
        raise click.UsageError(f"--count {given['count']}: {options[0]} draws at most {ROWS} in a sheet")
    if options and not is_sheet(output):
        raise click.UsageError(f"-o {output}: {options[0]} writes one image; end the name in .png")
    if output.suffix.lower() in OTHER_IMAGES:
        raise click.UsageError(f"-o {output}: a sheet is a PNG; end the name in .png, or name a folder")


def _require_memory(sampler: Sampler, option: str, images: int, each: int) -> None:
    """Refuses one image of so many, of ``each`` bytes a number, that they cannot be in memory together."""
    import torch

    from i2i.device import require_memory

    numbers = sampler.config.images.channels_a * sampler.config.image_size**2
    require_memory(images * each * numbers, torch.device("cpu"), option, "give a smaller number")


def _draw(request: Request, truncation: float | None) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views
    from i2i.inference.together import together

    given: dict[str, Any] = {"label": request.label, "seed": request.seed, "truncation": truncation}
    if is_sheet(request.output):
        _require_memory(request.sampler, f"one sheet of --count {request.count} images", request.count, 1)
        write_image(request.output, views.sheet(request.sampler.sample(request.count, **given)))
    else:
        with together() as processes:
            processes.told(lambda: views.require_empty(request.output, overwrite=request.overwrite))
            numbers = processes.share(range(request.count))
            views.write_images(request.output, request.sampler.sample_numbers(numbers, **given), numbers)
            if not processes.wait():
                raise DataError(f"another process ended before its part of {request.output} was done")
    return f"generated {counted(request.count, 'image')} with {model_line(request.sampler)}: {request.output}"


def _walk(request: Request, stops: int) -> str:
    from i2i.inference import views

    _require_memory(request.sampler, f"--walk {stops}", stops * views.WALK_STEPS, 4)
    images = views.walk(request.sampler, stops, label=request.label, seed=request.seed)
    strip = views.write_walk(request.output, images)
    return f"walked between {counted(stops, 'image')} of {model_line(request.sampler)}: {request.output} and {strip}"


def _arithmetic(request: Request, expression: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views

    images = views.arithmetic(request.sampler, expression, label=request.label, seed=request.seed)
    write_image(request.output, views.sheet(images, len(images)))
    return f"terms, result and 8 neighbours of {expression} with {model_line(request.sampler)}: {request.output}"


def _traverse(request: Request, code: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views

    sheet = views.traverse(request.sampler, code, rows=request.count, seed=request.seed)
    write_image(request.output, sheet)
    return f"{code} along the rows of {model_line(request.sampler)}: {request.output}"


def _drop_feature(request: Request, maps: str) -> str:
    from i2i.data.images import write_image
    from i2i.inference import views
    from i2i.probes.forget import drop_features

    dropped = drop_features(request.sampler, maps, count=request.count, label=request.label, seed=request.seed)
    write_image(request.output, views.sheet([*dropped.whole, *dropped.without], len(dropped.whole)))
    shown = f"whole, and below without {maps}, of {model_line(request.sampler)}: {request.output}"
    return "\n".join([*dropped.lines, shown])


DEFAULT_COUNT, ROWS = 100, 10
"""Images of a sheet, and the most that a view sets side by side or below each other."""
OTHER_IMAGES = (".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
IDLE = {
    "walk": ("count", "truncation"),
    "arithmetic": ("count", "truncation"),
    "traverse": ("label", "truncation"),
    "drop_feature": ("truncation",),
}
"""What each view does not look at."""
VIEWS: dict[str, Callable[[Request, Any], str]] = {
    "walk": _walk,
    "arithmetic": _arithmetic,
    "traverse": _traverse,
    "drop_feature": _drop_feature,
}
"""Maps each option to the function that writes its view and returns a summary."""
