"""Translates files: an image or a folder of any depth; decoding, inference and encoding overlap.

Images that do not fit into memory are translated by tiles. ``report.json`` lists every translated, skipped or failed
file, those by tiles as such, and the seed if the model has noise. Outputs keep names
and folders. They are renamed into place but not flushed to the disk: after a power cut, the same call finds the intact
outputs by their digests and makes the rest.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Precision
from i2i.data.carried import Carried, carried_by
from i2i.data.depth import outside
from i2i.data.images import NAMES, SUFFIXES, encode_image, is_image, is_large, list_images, read_image, read_values
from i2i.data.stored import Held, can_hold
from i2i.device import capabilities, is_out_of_memory
from i2i.display import say, tracked, warn
from i2i.errors import ConfigError, DataError
from i2i.inference.outputs import LOCK, FileResult, Job, Outputs, Part, Report, digest_of_file, reported
from i2i.inference.precision import Choice, Distance, choose, kept
from i2i.inference.together import ENDED, Together
from i2i.inference.translator import AUTO_SIDE, Tile, Translator
from i2i.kinds import AnyPixels
from i2i.needs import require_path
from i2i.storage.files import remove_temporaries, require_free, write_atomically
from i2i.storage.lock import locked

Format = Literal["png", "jpg", "webp", "bmp", "tiff", "npy"]
AHEAD = 16
"""Number of files decoded in advance."""
BATCH_PIXELS = 1 << 20
"""Images of equal size are batched up to this many pixels; on a CPU, where batches gain nothing, they are not."""


class Plan(NamedTuple):
    """The files to translate.

    Attributes:
        jobs: input and output of every file.
        folder: gets the report; None for a single file.
        denied: a line for each folder of the input that cannot be entered.
    """

    jobs: list[Job]
    folder: Path | None
    denied: Sequence[str] = ()


def plan(source: Path, output: Path | None, image_format: Format, *, overwrite: bool = False) -> Plan:
    """Chooses the name of every output before anything is written.

    Args:
        source: an image or a folder.
        output: the output; by default ``<source>-translated`` beside the source.
        image_format: the format of the outputs, unless ``output`` is the name of an image.
        overwrite: whether files that no earlier translation wrote may be replaced.

    Raises:
        DataError: nothing to translate, or an output would be inside or replace the input, or replace a file that is
            not an output.
    """
    require_path(source)
    if source.is_file():
        job = _plan_file(source, output, image_format)
        require_free(job.target, overwrite=overwrite)
        return Plan([job], None)
    if not source.is_dir():
        raise DataError(f"{source} is neither a regular file nor a folder")
    whole = _real(source)
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
    jobs = _name_outputs(source, files, folder, image_format)
    inputs = {_real(job.source) for job in jobs}
    for path in (folder, *(job.target for job in jobs)):
        place = _real(path)
        if place in inputs or whole in (place, *place.parents):
            raise DataError(f"the output {path} would be inside the input or replace it: choose one outside {source}")
    # Listed before the report is read, so that every output listed here is in the report.
    existing = [job.target for job in jobs if os.path.lexists(job.target)]
    Outputs(folder, overwrite=overwrite).require_ours(existing)
    return Plan(jobs, folder, denied)


def _real(path: Path) -> Path:
    """The place that a path leads to; of links that lead in a circle, one of them, where ``resolve`` would raise."""
    return Path(os.path.realpath(path))


def _plan_file(source: Path, output: Path | None, image_format: Format) -> Job:
    target = output or source.with_name(f"{source.stem}-translated.{image_format}")
    if target.is_dir() or not target.suffix:
        target = target / f"{source.stem}.{image_format}"
    elif not is_image(target):
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{target}: cannot write {target.suffix}; supported: {known}")
    if _real(target) == _real(source):
        raise DataError(f"{target} is the input itself: choose another output")
    return Job(source, target)


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
    depth, channels = translator.depths(chosen)[1], translator.channels(chosen)[1]
    if depth.kind in ("8-bit", "uint16") and can_hold(".png", depth.kind, channels):
        return "png"
    return "tiff" if depth.kind == "float32" and channels == 1 else "npy"


def _require_formats(translator: Translator, direction: str, jobs: Sequence[Job]) -> None:
    depth, channels = translator.depths(direction)[1], translator.channels(direction)[1]
    for suffix in sorted({job.target.suffix.lower() for job in jobs}):
        if depth.is_plain and channels == 4 and suffix in (".jpg", ".jpeg"):
            raise ConfigError("this model writes four channels, and JPEG has no transparency: use --format png")
        if not depth.is_plain and not can_hold(suffix, depth.kind, channels):
            usual = usual_format(translator, direction)
            raise ConfigError(
                f"this model writes {Held(depth.kind, channels)}, which {suffix[1:]} cannot hold: use --format {usual}"
            )


def translate_files(
    translator: Translator,
    planned: Plan,
    direction: str | None,
    *,
    seed: int | None = None,
    precision: Precision = "auto",
    tile: Tile = "auto",
    overlap: int | None = None,
    measured: Mapping[str, Choice] | None = None,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
    processes: Together | None = None,
) -> list[FileResult]:
    """Translates every job; a file that cannot be read or written is reported and skipped.

    Outputs of an earlier call that are up to date are kept. However this call ends, the report lists what is done, and
    the next call continues.

    Args:
        translator: the model.
        planned: what to translate, from ``plan``; no other process may write to its folder in the meantime.
        direction: one of the translator's directions; the first by default.
        seed: seed of the noise of a translator with noise, instead of the seed in its file.
        precision: "auto" takes the fast one of the device where it is close to fp32 on the first images.
        tile: as in ``Translator.__call__``.
        overlap: as in ``Translator.translate_by_tiles``.
        measured: what "auto" takes instead, by direction.
        max_pixels: the limit for images that are read.
        overwrite: whether files that are not outputs may be replaced.
        processes: the processes that share the jobs.

    Returns:
        The result of every job; in processes other than the first, of their own jobs.

    Raises:
        ConfigError: a direction or a precision that is not possible, a format that cannot hold the channels, or tiles
            for a generator that takes whole images only.
        DataError: an output would replace a file that is not an output, another process writes to the folder, or the
            report cannot be written.
    """
    jobs, folder, denied = planned
    direction = translator.check_direction(direction)
    _require_formats(translator, direction, jobs)
    own = translator.config.inference.seed
    drawn = (own if seed is None else seed) if translator.has_noise else None
    translator.tile_side(1, 1, direction, tile=tile)  # refuses tiles that are not possible before anything is written
    decisive: dict[str, str | int | None] = {"weights": translator.digest, "direction": direction, "seed": drawn}
    if overlap is not None:  # without one, tiles give what whole images give
        decisive["overlap"] = overlap
    processes = processes or Together()
    work = Work(translator, direction, seed, tile, overlap, max_pixels, decisive, overwrite=overwrite)
    made: dict[Choice, Translator] = {}  # the first process has it already

    def chosen() -> Choice:
        choice, taken = _choose(work, planned, precision, measured)
        made[choice] = taken
        return choice

    choice = processes.told(chosen)
    fast = made.get(choice) or translator.faster(direction, choice.precision, choice.layers)
    decisive = decisive | {"precision": choice.precision} | ({"layers": choice.layers} if choice.layers else {})
    work = replace(work, translator=fast, decisive=decisive)
    if folder is None:
        results: dict[Path, FileResult] = {}
        if processes.is_first:
            _translate(work, jobs, results, None, lambda: None)
        return list(results.values())
    return _translate_folder(work, jobs, folder, denied, choice.distance, overwrite, processes)


@dataclass(frozen=True)
class Work:
    """How files are translated; ``decisive`` is what makes two translations of one file differ.

    ``overwrite``: whether a file that has come to an output's place since it was found to be free may be replaced; in a
    folder, that follows from its report.
    """

    translator: Translator
    direction: str
    seed: int | None
    tile: Tile
    overlap: int | None
    max_pixels: int
    decisive: dict[str, str | int | None]
    overwrite: bool

    @property
    def request(self) -> str:
        """A digest of ``decisive``."""
        return sha256(json.dumps(self.decisive, sort_keys=True).encode()).hexdigest()

    def result(self, job: Job, output: str | None, error: str | None = None) -> FileResult:
        """The result of ``job``, without digests."""
        return FileResult(str(job.source), output, error, request=self.request)


def _choose(
    work: Work, planned: Plan, wanted: Precision, measured: Mapping[str, Choice] | None
) -> tuple[Choice, Translator]:
    """As an earlier translation into the folder, as ``measured``, or by the first images that can be read."""
    translator, direction = work.translator, work.direction
    if wanted == "auto" and not all(depth.is_plain for depth in translator.depths(direction)):
        return Choice("fp32"), translator.faster(direction, "fp32")  # a step of 16 bits is finer than those of bf16
    earlier = None if planned.folder is None else kept(reported(planned.folder), work.decisive)
    known = earlier or (measured or {}).get(direction)
    if wanted == "auto" and known is not None:
        if known is not earlier:
            say(f"{known.layers} layers in {known.precision}, which i2i bench found to be fastest")
        return known, translator.faster(direction, known.precision, known.layers)
    images = (item.pixels for job in planned.jobs if (item := _decoded_or_none(job, work)) is not None)
    choice, taken = choose(translator, direction, wanted, images, len(planned.jobs), work.seed)
    if choice.distance is not None:
        say(str(choice))
    return choice, taken


def _decoded_or_none(job: Job, work: Work) -> Decoded | None:
    with suppress(DataError):
        return _decode(job, work)
    return None


def _translate_folder(
    work: Work,
    jobs: list[Job],
    folder: Path,
    denied: Sequence[str],
    distance: Distance | None,
    overwrite: bool,
    processes: Together,
) -> list[FileResult]:
    """The first process locks the folder and writes its report; every process translates its part of the rest."""
    model = {"arch": work.translator.config.arch, "step": work.translator.step}
    about = {**model, **work.decisive, "distance": distance and asdict(distance), "denied": denied}
    with ExitStack() as held:

        def begin() -> tuple[Outputs, dict[Path, FileResult]]:
            _make_folder(folder)
            held.enter_context(locked(folder / LOCK, f"the output folder {folder}"))
            remove_temporaries({folder, *(job.target.parent for job in jobs)})
            outputs = Outputs(folder, overwrite=overwrite)
            finished = outputs.finished(jobs, work.request)
            Report(outputs, jobs, about).write(finished)
            outputs.forget_parts(all_of_them=False)
            if finished:
                say(f"{len(finished):,} of {len(jobs):,} were translated before and are kept")
            return outputs, finished

        outputs, results = processes.told(begin)
        rest = [job for job in jobs if job.source not in results]
        report, part = Report(outputs, jobs, about), Part(outputs.part(processes.world.rank))
        keep = (lambda: report.write_if_due(results)) if processes.is_first else (lambda: None)
        arrived = True
        try:
            _translate(work, list(processes.share(rest)), results, Record(outputs, part), keep)
            arrived = processes.wait()
        finally:
            if processes.is_first:
                written = report.write(results)
        if not processes.is_first:
            if not arrived:
                raise DataError(ENDED)
            processes.wait()  # if this process exited with an error first, the launcher would end the first process
            return list(results.values())
        if not arrived:
            warn("another process ended before its files were done: repeat the command to translate them")
        else:
            outputs.forget_parts(all_of_them=True)
        processes.wait()
        return written


@dataclass(frozen=True)
class Record:
    """Records each output of a process before it is put in place."""

    outputs: Outputs
    part: Part


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from None


def _translate(
    work: Work, jobs: list[Job], results: dict[Path, FileResult], record: Record | None, keep: Callable[[], None]
) -> None:
    """Translates ``jobs`` and puts each result into ``results``; calls ``keep`` after every batch."""
    writing: deque[tuple[Job, Future[FileResult]]] = deque()
    try:
        with _threads() as readers, _threads() as writers:
            items = tracked("translating", len(jobs))(_decoded(jobs, work, readers, results, record))
            most = BATCH_PIXELS if capabilities(work.translator.device).asynchronous else 0
            for batch in _equal_sized(items, most):
                try:
                    outputs, side = _translated(work, batch)
                except (RuntimeError, DataError) as error:
                    reason = _reason(error, batch[0], work)
                    for item in batch:
                        _note(work.result(item.job, None, reason), item.job, results, record)
                    continue
                large = batch[0].is_large
                for item, output in zip(batch, outputs, strict=True):
                    item.forget_pixels()
                    writing.append((item.job, writers.submit(_write, work, item, output, side, record)))
                del outputs, output  # of a large image there is no room for the next one beside it
                while len(writing) > (0 if large else AHEAD):
                    _finish(*writing.popleft(), results)
                keep()
            while writing:
                _finish(*writing.popleft(), results)
    finally:  # after an interruption too: outputs that are written count
        for job, written in writing:
            if written.done() and not written.cancelled():
                _finish(job, written, results)


def _translated(work: Work, batch: list[Decoded]) -> tuple[list[AnyPixels], int | None]:
    """The translations of images of one size, and the side of the tiles that they were translated by.

    Raises:
        RuntimeError: of the device, for example that there is too little memory.
        DataError: the disk has no room for the maps of tiles.
    """
    translator, direction, seed = work.translator, work.direction, work.seed
    name, (height, width) = batch[0].job.source.name, batch[0].pixels.shape[:2]
    side = translator.tile_side(height, width, direction, tile=work.tile, name=name)
    if side is None:
        try:
            return translator.translate_pixels([item.pixels for item in batch], direction, seed=seed), None
        except RuntimeError as error:
            if work.tile != "auto" or not is_out_of_memory(error) or not translator.has_parts(direction):
                raise
        say(f"{name}: does not fit into memory: translated by tiles of {AUTO_SIDE} pixels")
        side = AUTO_SIDE
    make = partial(translator.pixels_by_tiles, direction=direction, side=side, overlap=work.overlap, seed=seed)
    return [make(item.pixels, name=item.job.source.name) for item in batch], side


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A pool that finishes tasks that have begun; after an exception in the context it begins no others."""
    pool = ThreadPoolExecutor()
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _write(work: Work, item: Decoded, output: AnyPixels, side: int | None, record: Record | None) -> FileResult:
    """Writes one output, after its line in the record."""
    target = item.job.target
    shown = str(target) if record is None else record.outputs.name(target)
    try:
        content = encode_image(target, output, item.carried.options(target.suffix.lower(), output.shape[2]))
        result = replace(
            work.result(item.job, shown),
            input_bytes=item.size,
            input_sha256=item.digest,
            output_sha256=sha256(content).hexdigest(),
            tile=side,
        )
        overwrite = work.overwrite if record is None else record.outputs.is_replaced(target)
        if record is not None:
            record.part.add(result)
        write_atomically(target, content, flush=False, overwrite=overwrite)
        return result
    except (OSError, DataError) as error:
        reason = str(error) if isinstance(error, DataError) else f"cannot write {target}: {error.strerror or error}"
        failed = work.result(item.job, None, reason)
        _note(failed, item.job, {}, record)
        return failed


def _note(result: FileResult, job: Job, results: dict[Path, FileResult], record: Record | None) -> None:
    """Records a failure, for the other processes too."""
    results[job.source] = result
    if record is not None:
        with suppress(OSError):  # on a full disk; the result in memory is reported instead
            record.part.add(result)


def _finish(job: Job, written: Future[FileResult], results: dict[Path, FileResult]) -> None:
    results[job.source] = written.result()


@dataclass
class Decoded:
    """An input: its pixels (H, W, C), the size of its file, the file's SHA-256, and what its translation takes over."""

    job: Job
    pixels: AnyPixels
    size: int
    digest: str
    carried: Carried
    is_large: bool

    def forget_pixels(self) -> None:
        """Gives their memory back, whoever still holds this input."""
        self.pixels = np.empty((0, 0, 0), np.uint8)


def _decode_ahead(job: Job, work: Work) -> Decoded | None:
    """The input, or None for a large one, which is decoded when its turn has come."""
    return None if is_large(job.source, work.max_pixels) else _decode(job, work)


def _decode(job: Job, work: Work, *, large: bool = False) -> Decoded:
    channels, _ = work.translator.channels(work.direction)
    depth, _ = work.translator.depths(work.direction)
    if depth.is_plain:
        pixels: AnyPixels = read_image(job.source, channels, work.translator.config.images.background, work.max_pixels)
    else:
        pixels = read_values(job.source, depth.kind, channels, work.max_pixels)
        if share := outside(pixels, depth):
            warn(
                f"{job.source}: {share:.1%} of its values are outside of {depth.low:,.9g} to {depth.high:,.9g}, the "
                "range of training, and are clipped"
            )
    try:
        carried = carried_by(job.source, work.max_pixels)
        return Decoded(job, pixels, *digest_of_file(job.source), carried, is_large=large)
    except OSError as error:
        raise DataError(f"{job.source}: {error.strerror or error}") from None


def _decoded(
    jobs: list[Job],
    work: Work,
    readers: ThreadPoolExecutor,
    results: dict[Path, FileResult],
    record: Record | None,
) -> Iterator[Decoded | None]:
    """Yields every job with its pixels, or None after a failure was put into ``results``; reads a few ahead."""
    waiting: deque[tuple[Job, Future[Decoded | None]]] = deque()
    remaining = iter(jobs)
    while True:
        while len(waiting) < AHEAD and (job := next(remaining, None)) is not None:
            waiting.append((job, readers.submit(_decode_ahead, job, work)))
        if not waiting:
            return
        job, item = waiting.popleft()
        try:
            yield item.result() or _decode(job, work, large=True)
        except DataError as error:
            _note(work.result(job, None, str(error)), job, results, record)
            yield None


def _equal_sized(items: Iterator[Decoded | None], most: int) -> Iterator[list[Decoded]]:
    """Groups consecutive images of equal size into batches of up to ``most`` pixels, and of one image at least."""
    batch: list[Decoded] = []
    for item in items:
        if item is None:
            continue
        area = item.pixels.shape[0] * item.pixels.shape[1]
        if batch and (batch[0].pixels.shape != item.pixels.shape or (len(batch) + 1) * area > most):
            yield batch
            batch = []
        batch.append(item)
        if 2 * area > most:  # no other fits beside it
            yield batch
            batch = []
    if batch:
        yield batch


def _reason(error: RuntimeError | DataError, item: Decoded, work: Work) -> str:
    """The reason to report if memory or the disk for maps ran out; any other error is raised."""
    if isinstance(error, DataError):
        return f"{item.job.source}: {error}"
    if not is_out_of_memory(error):
        raise error
    height, width = item.pixels.shape[:2]
    way_out = "give a smaller --tile" if work.translator.has_parts(work.direction) else "use a smaller image"
    return f"not enough memory for {width}x{height} pixels on {work.translator.device.type}: {way_out}"
