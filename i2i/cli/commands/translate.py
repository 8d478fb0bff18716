"""``i2i translate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.ending import DONE, SKIPPED, model_line, stoppable, tell
from i2i.cli.options import (
    SEED,
    FileName,
    NumberOrAuto,
    device_option,
    example,
    max_pixels_option,
    model_option,
    precision_option,
    require_model,
)
from i2i.display import counted, warn
from i2i.needs import is_video, require_path
from i2i.tiling.settings import Tile, Tiles, TileStatistics

if TYPE_CHECKING:
    from i2i.config.schema import Device, Precision
    from i2i.inference.plan import Format

SMALLEST_TILE = 16


@click.command(
    epilog=example(
        "i2i translate photos -o painted",
        "i2i translate photo.jpg --model runs/NAME --direction BtoA",
        "i2i translate drawings -o answers --samples 4",
        "torchrun --nproc-per-node 2 -m -- i2i translate photos -o painted",
    )
)
@click.argument("source", metavar="INPUT", type=FileName())
@click.option("-o", "--output", type=FileName(), help="Output image or folder.  [default: INPUT-translated]")
@model_option
@click.option("--direction", metavar="NAME", help="Direction: AtoB, BtoA, ...  [default: the model's first]")
@click.option(
    "--seed",
    type=SEED,
    help="Random seed of a model with noise (bicyclegan, dualgan, pix2pix); each seed gives another translation.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="N translations of each image, by a model with noise: from N seeds in a row, to NAME_1, NAME_2 and so on.",
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["png", "jpg", "webp", "bmp", "tiff", "npy"]),
    help="Format of the outputs.  [default: png; tiff or npy where the depth needs it]",
)
@precision_option(
    ". auto: bf16 where the device computes in it and the first images of a folder show that it is close to fp32."
)
@click.option(
    "--tile",
    type=NumberOrAuto("the side of tiles in pixels", least=SMALLEST_TILE),
    metavar="auto|N",
    default="auto",
    show_default=True,
    help="Translate images that are larger by tiles of N x N pixels, to the same result. auto: those that do not fit "
    "into memory.",
)
@click.option(
    "--overlap",
    type=click.IntRange(0),
    metavar="N",
    help="Pixels by which a tile is computed larger on each side.  [default: as many as the model needs]",
)
@click.option(
    "--tile-statistics",
    type=click.Choice(["exact", "thumbnail"]),
    default="exact",
    show_default=True,
    help="Statistics of norms over a whole image, by tiles: exact ones, from a pass over all tiles for each norm; or "
    "those of a copy that is reduced to the size of a tile, which is faster, and an approximation.",
)
@click.option("--alpha", is_flag=True, help="Take over the alpha channel of inputs that have one.  [default: opaque]")
@max_pixels_option
@click.option("--overwrite", is_flag=True, help="Replace existing files, even those that i2i did not write.")
@device_option
def translate(
    source: Path,
    output: Path | None,
    model: Path | None,
    direction: str | None,
    seed: int | None,
    samples: int | None,
    image_format: Format | None,
    precision: Precision,
    tile: Tile,
    overlap: int | None,
    tile_statistics: TileStatistics,
    alpha: bool,
    max_pixels: int,
    overwrite: bool,
    device: Device,
) -> None:
    """Translate an image, a folder of images, or a video.

    An output folder gets a report.json that lists each output with its digest. Outputs that are up to date are kept,
    and no files but those listed are replaced. A single OUTPUT must not exist yet.

    Images have any size up to --max-pixels. Those that do not fit into memory are translated by tiles, to what the
    whole image would give; feature maps are then on the disk, in TMPDIR or /var/tmp.

    With --samples N, number K of each image has the noise of seed + K - 1, the same for all images of a size, and what
    --seed gives for that seed. Answers that are there already are kept.

    A video (mp4, mov, mkv, webm) keeps the times of its frames and its sound; it needs PyAV.

    --model also takes an exported ONNX file. Under torchrun, several processes share the images of a folder.
    """
    tiles = Tiles(tile, overlap, tile_statistics)
    require_path(source)
    require_model(model, exported=True)
    if is_video(source):
        if image_format or overlap is not None or samples is not None or alpha or tile_statistics == "thumbnail":
            raise click.UsageError(
                "videos take no --format, no --overlap, no --tile-statistics thumbnail, no --samples and no --alpha"
            )
        with stoppable("nothing was written"):
            _translate_video(
                source,
                output,
                model,
                direction,
                device,
                seed=seed,
                precision=precision,
                tiles=tiles,
                max_pixels=max_pixels,
                overwrite=overwrite,
            )
        sys.exit(DONE)
    if image_format is not None and output is not None and output.suffix and source.is_file() and not output.is_dir():
        from i2i.data.images import FORMATS

        if FORMATS.get(output.suffix.lower()) is not FORMATS.get(f".{image_format}"):
            raise click.UsageError(f"--format {image_format} and {output.name} name two formats: leave one out")
    with stoppable("repeat the command to continue"):
        from i2i.device import use_kept_threads
        from i2i.inference.load import load_translator
        from i2i.inference.plan import plan, usual_format
        from i2i.inference.together import together
        from i2i.inference.translate import translate_files

        with together() as processes:
            translator = load_translator(model, device=device)
            form = image_format or usual_format(translator, direction)
            planned = processes.told(lambda: plan(source, output, form, samples=samples, overwrite=overwrite))
            if seed is not None and not translator.has_noise:
                warn(f"--seed changes nothing: {translator.config.arch} draws no noise at translation")
            if translator.fastest is not None and precision == "auto":
                use_kept_threads(translator.fastest.threads)
            results = translate_files(
                translator,
                planned,
                direction,
                seed=seed,
                precision=precision,
                tiles=tiles,
                alpha=alpha,
                max_pixels=max_pixels,
                overwrite=overwrite,
                processes=processes,
            )
    if not processes.is_first:
        sys.exit(DONE)
    from i2i.inference.outputs import PENDING

    failed = [result.error for result in results if result.error is not None]
    for reason in dict.fromkeys(failed):
        if reason != PENDING:
            warn(f"skipped: {reason}")
    for reason in planned.denied:
        warn(f"left out: {reason}")
    where = planned.folder or planned.jobs[0].target
    closed = f"; folders that cannot be entered: {len(planned.denied)}" if planned.denied else ""
    tell(f"translated {len(results) - len(failed)} of {len(results)} with {model_line(translator)} to {where}{closed}")
    sys.exit(SKIPPED if failed or planned.denied else DONE)


def _translate_video(
    source: Path, output: Path | None, model: Path | None, direction: str | None, device: Device, **options: Any
) -> None:
    from i2i.inference.load import load_translator
    from i2i.inference.video import translate_video, video_target
    from i2i.launched import launched

    if launched().size > 1:
        raise click.UsageError("a video is translated by one process: leave out torchrun")
    target = video_target(source, output)
    translator = load_translator(model, device=device)
    done = translate_video(translator, source, target, direction, **options)
    sounds = f" and {done.sounds} of sound as it was" if done.sounds else ""
    tell(f"translated {counted(done.frames, 'frame')}{sounds} with {model_line(translator)} to {done.path}")
