"""Which file becomes which: the inputs of a translation and the names and formats of its outputs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from i2i.data.images import NAMES, list_images
from i2i.data.stored import Held, can_hold, usual_suffix
from i2i.data.targets import real, require_apart, target_of
from i2i.errors import ConfigError, DataError
from i2i.inference.outputs import Job, Outputs
from i2i.inference.translator import Translator
from i2i.needs import require_path
from i2i.storage.files import require_free

Format = Literal["png", "jpg", "webp", "bmp", "tiff", "npy"]


class Plan(NamedTuple):
    """The files to translate.

    Attributes:
        jobs: input and output of every file.
        folder: gets the report; None for a single file.
        denied: a line for each folder of the input that cannot be entered.
        samples: how many answers for each file are asked for; None for one whose name has no number.
    """

    jobs: list[Job]
    folder: Path | None
    denied: Sequence[str] = ()
    samples: int | None = None


def plan(
    source: Path,
    output: Path | None,
    image_format: Format,
    *,
    samples: int | None = None,
    overwrite: bool = False,
) -> Plan:
    """Chooses the name of every output before anything is written.

    Args:
        source: an image or a folder.
        output: the output; by default ``<source>-translated`` beside the source.
        image_format: the format of the outputs, unless ``output`` is the name of an image.
        samples: how many answers for each file; their names end in _1, _2 and so on, also where it is one.
        overwrite: whether files that no earlier translation wrote may be replaced.

    Raises:
        DataError: nothing to translate, or an output would be inside or replace the input, or replace a file that is
            not an output.
    """
    require_path(source)
    if source.is_file():
        target = target_of(source, output, f".{image_format}")
        require_apart(source, [source], [target])
        jobs = _numbered([Job(source, target)], samples)
        require_free(*(job.target for job in jobs), overwrite=overwrite)
        return Plan(jobs, None, samples=samples)
    if not source.is_dir():
        raise DataError(f"{source} is neither a regular file nor a folder")
    whole = real(source)
    if output is None and not whole.name:
        raise DataError(f"{source}: give an output with -o")
    folder = output or whole.with_name(f"{whole.name}-translated")
    if folder.is_file():
        raise DataError(f"{folder} is a file; a folder of images needs an output folder")
    denied = list[str]()
    files = list_images(source, denied)
    if not files:
        without = f", without {denied[0]}" if denied else ""
        raise DataError(f"{source}: no images ({NAMES}) in it{without}")
    jobs = _numbered(_name_outputs(source, files, folder, image_format), samples)
    require_apart(source, [job.source for job in jobs], [folder, *(job.target for job in jobs)])
    # Listed before the report is read, so that every output listed here is in the report.
    existing = [job.target for job in jobs if os.path.lexists(job.target)]
    Outputs(folder, overwrite=overwrite).require_ours(existing)
    return Plan(jobs, folder, denied, samples)


def _numbered(jobs: list[Job], samples: int | None) -> list[Job]:
    """A job for each answer; what stands before the number tells apart whatever ``jobs`` do."""
    if samples is None:
        return jobs
    return [
        Job(job.source, job.target.with_stem(f"{job.target.stem}_{number}"), number)
        for job in jobs
        for number in range(1, samples + 1)
    ]


def _name_outputs(source: Path, files: list[Path], output: Path, image_format: Format) -> list[Job]:
    """The input's name with another suffix; for a.jpg and a.png in one folder, a.jpg.png and a.png.png."""
    relative = [file.relative_to(source) for file in files]
    uses = Counter(path.with_suffix("") for path in relative)
    targets: dict[Path, Path] = {}
    for file, path in zip(files, relative, strict=True):
        short, full = path.with_suffix(f".{image_format}"), Path(f"{path}.{image_format}")
        target = output / (full if uses[path.with_suffix("")] > 1 else short)
        if target in targets:
            raise DataError(f"{file} and {targets[target]} would both become {target}: rename one")
        targets[target] = file
    return [Job(file, target) for target, file in targets.items()]


def usual_format(translator: Translator, direction: str | None) -> Format:
    """The format that holds what a model writes: PNG for images, TIFF for one channel of floats, else NPY."""
    chosen = translator.check_direction(direction)
    return usual_suffix(translator.depths(chosen)[1].kind, translator.channels(chosen)[1])


def require_formats(translator: Translator, direction: str, jobs: Sequence[Job]) -> None:
    """Raises ConfigError where the format of an output cannot hold what the model writes."""
    depth, channels = translator.depths(direction)[1], translator.channels(direction)[1]
    for suffix in sorted({job.target.suffix.lower() for job in jobs}):
        if depth.is_plain and channels == 4 and suffix in (".jpg", ".jpeg"):
            raise ConfigError("this model writes four channels, and JPEG has no transparency: use --format png")
        if not depth.is_plain and not can_hold(suffix, depth.kind, channels):
            usual = usual_format(translator, direction)
            raise ConfigError(
                f"this model writes {Held(depth.kind, channels)}, which {suffix[1:]} cannot hold: use --format {usual}"
            )
