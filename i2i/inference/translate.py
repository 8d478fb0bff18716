"""Translating files: a picture or a folder of any depth; decoding, inference and encoding overlap.

Everything that is translated, skipped or failed is in ``report.json``, with the seed of the noise where the
model has some; names and tree are kept.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from i2i.data.images import SUFFIXES, Pixels, is_image, list_images, read_image, write_image
from i2i.device import is_out_of_memory
from i2i.display import tracked
from i2i.errors import ConfigError, DataError
from i2i.inference.translator import Translator
from i2i.needs import require_path
from i2i.storage.files import write_atomically

Format = Literal["png", "jpg", "webp", "bmp", "tiff"]
REPORT = "report.json"
"""Its presence tells a folder of translations, which may be written again, from a folder of somebody's pictures."""
AHEAD = 16
"""How many files are decoded in advance."""
UNREACHED = "not reached: the translation was interrupted"
"""What the report says of every file until the end."""
BATCH_PIXELS = 1 << 20
"""Pictures of equal size go through the network together up to this many pixels."""


@dataclass(frozen=True)
class FileResult:
    """What became of one input file; ``error`` says why there is no output."""

    input: str
    output: str | None
    error: str | None = None


@dataclass(frozen=True)
class Job:
    """One file to translate."""

    source: Path
    target: Path


def plan(source: Path, output: Path | None, image_format: Format) -> tuple[list[Job], Path | None]:
    """Decides the name of every output before anything is written.

    Args:
        source: a picture or a folder.
        output: where to; by default ``<source>-translated`` beside the source.
        image_format: the format of the outputs, where ``output`` is not itself a picture's name.

    Returns:
        The jobs, and the folder that gets the report (None for a single file).

    Raises:
        DataError: nothing to translate, or outputs that would lie in or over the input, or over pictures that are no
            outputs.
    """
    require_path(source)
    if source.is_file():
        return [_plan_file(source, output, image_format)], None
    whole = source.resolve()
    if output is None and not whole.name:
        raise DataError(f"{source}: name an output with -o")
    folder = output or whole.with_name(f"{whole.name}-translated")
    if folder.is_file():
        raise DataError(f"{folder} is a file; a folder of pictures needs an output folder")
    files = list_images(source)
    if not files:
        raise DataError(f"{source}: no pictures (jpg, png, webp, bmp, tiff) in it")
    jobs = _name_outputs(source, files, folder, image_format)
    inputs = {job.source.resolve() for job in jobs}
    for path in (folder, *(job.target for job in jobs)):
        place = path.resolve()
        if place in inputs or whole in (place, *place.parents):
            raise DataError(f"the output {path} would lie in or over the input: choose an output outside of {source}")
    taken = [job.target for job in jobs if job.target.exists()]
    if taken and not (folder / REPORT).exists():
        raise DataError(f"{taken[0]} exists, and no earlier translation wrote {folder}: choose another folder with -o")
    return jobs, folder


def _plan_file(source: Path, output: Path | None, image_format: Format) -> Job:
    target = output or source.with_name(f"{source.stem}-translated.{image_format}")
    if target.is_dir() or not target.suffix:
        target = target / f"{source.stem}.{image_format}"
    elif not is_image(target):
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{target}: cannot write {target.suffix}; supported: {known}")
    if target.resolve() == source.resolve():
        raise DataError(f"{target} is the input itself: choose another output")
    return Job(source, target)


def _name_outputs(source: Path, files: list[Path], output: Path, image_format: Format) -> list[Job]:
    """The input's name with another suffix; where a.jpg and a.png lie in one folder, a.jpg.png and a.png.png."""
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


def translate_files(
    translator: Translator,
    jobs: list[Job],
    direction: str | None,
    report: Path | None,
    *,
    seed: int | None = None,
) -> list[FileResult]:
    """Translates every job; a file that cannot be read or written is reported and the rest goes on.

    ``seed`` decides the noise of a translator that has some, in the place of the seed in its file.

    Raises:
        ConfigError: a direction that the model does not know, or a format that cannot hold its channels.
        DataError: the report cannot be written.
    """
    direction = translator.check_direction(direction)
    if translator.channels(direction)[1] == 4 and any(job.target.suffix.lower() in (".jpg", ".jpeg") for job in jobs):
        raise ConfigError("this model writes four channels, and JPEG has no transparency: use --format png")
    results: dict[Path, FileResult] = {}
    if report is not None:
        unreached = [FileResult(str(job.source), None, UNREACHED) for job in jobs]
        _write_report(report, translator, direction, seed, unreached)
    with ThreadPoolExecutor() as readers, ThreadPoolExecutor() as writers:
        writing: deque[tuple[Job, Future[None]]] = deque()
        items = tracked("translating", len(jobs))(_decoded(jobs, translator, direction, readers, results))
        for batch in _equal_sized(items):
            try:
                outputs = translator.translate_pixels([pixels for _, pixels in batch], direction, seed=seed)
            except RuntimeError as error:
                reason = _out_of_memory(error, batch[0][1], translator)
                results |= {job.source: FileResult(str(job.source), None, reason) for job, _ in batch}
                continue
            writing += [
                (job, writers.submit(write_image, job.target, o)) for (job, _), o in zip(batch, outputs, strict=True)
            ]
            while len(writing) > AHEAD:
                _finish(*writing.popleft(), results)
        while writing:
            _finish(*writing.popleft(), results)
    ordered = [results[job.source] for job in jobs]
    if report is not None:
        _write_report(report, translator, direction, seed, ordered)
    return ordered


def _decoded(
    jobs: list[Job],
    translator: Translator,
    direction: str,
    readers: ThreadPoolExecutor,
    results: dict[Path, FileResult],
) -> Iterator[tuple[Job, Pixels | None]]:
    """Every job with its pixels, or with None after its failure was put into ``results``; a few are read ahead."""
    channels, background = translator.channels(direction)[0], translator.config.images.background
    waiting: deque[tuple[Job, Future[Pixels]]] = deque()
    remaining = iter(jobs)
    while True:
        while len(waiting) < AHEAD and (job := next(remaining, None)) is not None:
            waiting.append((job, readers.submit(read_image, job.source, channels, background)))
        if not waiting:
            return
        job, pixels = waiting.popleft()
        try:
            yield job, pixels.result()
        except DataError as error:
            results[job.source] = FileResult(str(job.source), None, str(error))
            yield job, None


def _equal_sized(items: Iterator[tuple[Job, Pixels | None]]) -> Iterator[list[tuple[Job, Pixels]]]:
    """Groups neighbours of equal size into batches."""
    batch: list[tuple[Job, Pixels]] = []
    for job, pixels in items:
        if pixels is None:
            continue
        area = pixels.shape[0] * pixels.shape[1]
        if batch and (batch[0][1].shape != pixels.shape or (len(batch) + 1) * area > BATCH_PIXELS):
            yield batch
            batch = []
        batch.append((job, pixels))
    if batch:
        yield batch


def _out_of_memory(error: RuntimeError, pixels: Pixels, translator: Translator) -> str:
    """The reason to report, if memory was the problem; any other error goes on."""
    if not is_out_of_memory(error):
        raise error
    height, width = pixels.shape[:2]
    return f"not enough memory for {width}x{height} pixels on {translator.device.type}: use a smaller picture"


def _finish(job: Job, written: Future[None], results: dict[Path, FileResult]) -> None:
    try:
        written.result()
        results[job.source] = FileResult(str(job.source), str(job.target))
    except DataError as error:
        results[job.source] = FileResult(str(job.source), None, str(error))


def _write_report(
    folder: Path, translator: Translator, direction: str, seed: int | None, results: list[FileResult]
) -> None:
    own = translator.config.inference.seed
    report = {
        "arch": translator.config.arch,
        "step": translator.step,
        "direction": direction,
        "seed": (own if seed is None else seed) if translator.has_noise else None,
        "translated": sum(result.error is None for result in results),
        "skipped": sum(result.error is not None for result in results),
        "files": [asdict(result) for result in results],
    }
    write_atomically(folder / REPORT, json.dumps(report, indent=1).encode())
