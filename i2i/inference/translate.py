"""Translates files: an image or a folder of any depth; decoding, inference and encoding overlap.

Images that do not fit into memory are translated by tiles. ``report.json`` lists every translated, skipped or failed
file, those by tiles as such, and the seed if the model has noise. Outputs keep names and folders; several answers for
a file are numbered. They are renamed into place but not flushed to the disk: after a power cut, the same call finds the
intact outputs by their digests and makes the rest.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from io import BufferedIOBase, BytesIO
from pathlib import Path

import numpy as np

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Precision
from i2i.data import streamed
from i2i.data.carried import require_alpha
from i2i.data.images import encode_image
from i2i.data.on_disk import DiskImage
from i2i.device import capabilities, is_out_of_memory
from i2i.display import say, tracked, warn
from i2i.errors import DataError
from i2i.inference.inputs import AHEAD, Input, Reader, Unread
from i2i.inference.outputs import LOCK, FileResult, Job, Outputs, Part, Report, digest_of, reported
from i2i.inference.plan import Plan, require_formats
from i2i.inference.precision import Choice, Distance, choose, kept
from i2i.inference.together import ENDED, Together
from i2i.inference.translator import Translator
from i2i.kinds import AnyPixels
from i2i.storage.files import remove_temporaries, replacing
from i2i.storage.lock import locked
from i2i.tiling.settings import AUTO, Tiles

BATCH_PIXELS = 1 << 20
"""Images of equal size are batched up to this many pixels; on a CPU, where batches gain nothing, they are not."""


def translate_files(
    translator: Translator,
    planned: Plan,
    direction: str | None,
    *,
    seed: int | None = None,
    precision: Precision = "auto",
    tiles: Tiles = AUTO,
    alpha: bool = False,
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
        seed: seed of the noise of a translator with noise, instead of the seed in its file. Where several answers are
            planned, it is that of the first, and each other one has the next.
        precision: "auto" takes what is the translator's fastest, or without that the fast one of the device where it
            is close to fp32 on the first images.
        tiles: which images are translated by tiles, and by which.
        alpha: whether outputs take over the alpha of inputs that have it.
        max_pixels: the limit for images that are read.
        overwrite: whether files that are not outputs may be replaced.
        processes: the processes that share the jobs.

    Returns:
        The result of every job; in processes other than the first, of their own jobs.

    Raises:
        ConfigError: a direction or a precision that is not possible, a format that cannot hold the channels, tiles for
            a generator that takes whole images only, a thumbnail for one without norms over the image, several answers
            of a model without noise, or alpha where outputs cannot have that of inputs.
        DataError: an output would replace a file that is not an output, another process writes to the folder, or the
            report cannot be written.
    """
    direction = translator.check_direction(direction)
    require_formats(translator, direction, planned.jobs)
    if planned.samples is not None:
        translator.require_noise()
    translator.require_tiles(direction, tiles)
    processes = processes or Together()
    work = Work(
        translator, direction, seed, tiles, max_pixels, _decisive(translator, direction, seed, tiles), overwrite
    )
    if alpha:
        work.require_alpha(job.target for job in planned.jobs)
    work = _in_precision(work, planned, precision, processes)
    if alpha:  # after the choice of a precision, which does not depend on it
        work = replace(work, alpha=True, decisive={**work.decisive, "alpha": True})
    if planned.folder is None:
        results: dict[Job, FileResult] = {}
        if processes.is_first:
            _translate(work, planned.jobs, results, None, lambda: None)
        return list(results.values())
    return _translate_folder(work, planned, planned.folder, processes)


@dataclass(frozen=True)
class Work:
    """How files are translated; ``decisive`` is what makes two translations of one file differ.

    ``overwrite``: whether a file that has come to an output's place since it was found to be free may be replaced; in a
    folder, that follows from its report. ``distance``: from fp32, where that has been measured. ``alpha``: whether
    outputs take over that of their inputs.
    """

    translator: Translator
    direction: str
    seed: int | None
    tiles: Tiles
    max_pixels: int
    decisive: Mapping[str, str | int | None]
    overwrite: bool
    distance: Distance | None = None
    alpha: bool = False

    def require_alpha(self, targets: Iterable[Path]) -> None:
        """Raises ConfigError where the files of outputs cannot take over the alpha of their inputs."""
        plain = all(depth.is_plain for depth in self.translator.depths(self.direction))
        require_alpha(targets, self.translator.channels(self.direction)[1], plain=plain)

    def seed_of(self, sample: int | None) -> int | None:
        """The seed of an answer by its number, or of the only one; None where the translator takes its own."""
        return self.seed if sample is None else self.translator.seed_of_sample(sample, self.seed)

    @cached_property
    def request(self) -> str:
        """A digest of ``decisive``; of several answers, the name of an output has the number."""
        return sha256(json.dumps(dict(self.decisive), sort_keys=True).encode()).hexdigest()

    @property
    def reader(self) -> Reader:
        """Reads the inputs."""
        channels, _ = self.translator.channels(self.direction)
        depth, _ = self.translator.depths(self.direction)
        takes_tiles = partial(self.translator.takes_tiles, direction=self.direction, tiles=self.tiles)
        background = self.translator.config.images.background
        return Reader(channels, depth, background, self.max_pixels, self.alpha, takes_tiles)

    def result(self, job: Job, output: str | None, error: str | None = None) -> FileResult:
        """The result of ``job``, without digests."""
        drawn = None if job.sample is None else self.seed_of(job.sample)
        return FileResult(str(job.source), output, error, request=self.request, sample=job.sample, seed=drawn)


def _decisive(translator: Translator, direction: str, seed: int | None, tiles: Tiles) -> dict[str, str | int | None]:
    """What the output for a file follows from, beside its precision."""
    own = translator.config.inference.seed
    drawn = (own if seed is None else seed) if translator.has_noise else None
    return {"weights": translator.digest, "direction": direction, "seed": drawn, **tiles.decisive}


def _in_precision(work: Work, planned: Plan, wanted: Precision, processes: Together) -> Work:
    """The work in the precision that the first process chooses."""
    made: dict[Choice, Translator] = {}  # the first process has it already

    def chosen() -> Choice:
        choice, taken = choose_way(work, planned, wanted)
        made[choice] = taken
        return choice

    choice = processes.told(chosen)
    fast = made.get(choice) or work.translator.faster(work.direction, choice.precision, choice.layers)
    found = {"precision": choice.precision} | ({"layers": choice.layers} if choice.layers else {})
    return replace(work, translator=fast, decisive={**work.decisive, **found}, distance=choice.distance)


def choose_way(work: Work, planned: Plan, wanted: Precision) -> tuple[Choice, Translator]:
    """How to translate, and what does so.

    As an earlier translation into the folder, as ``i2i bench`` found, or by the first images that can be read.
    """
    translator, direction = work.translator, work.direction
    deep = not all(depth.is_plain for depth in translator.depths(direction))
    if wanted == "auto" and (deep or translator.is_fixed):
        return Choice("fp32"), translator.faster(direction, "fp32")  # a step of 16 bits is finer than those of bf16
    earlier = None if planned.folder is None else kept(reported(planned.folder), work.decisive)
    measured = None if translator.fastest is None else translator.fastest.choices.get(direction)
    known = earlier or measured
    if wanted == "auto" and known is not None:
        if known is not earlier:
            say(f"{known.layers} layers in {known.precision}, which i2i bench found to be fastest")
        return known, translator.faster(direction, known.precision, known.layers)
    of_sources = {job.source: job for job in planned.jobs}  # of several answers for a file, one
    images = _readable(of_sources.values(), work.reader)
    choice, taken = choose(translator, direction, wanted, images, len(planned.jobs), work.seed)
    if choice.distance is not None:
        say(str(choice))
    return choice, taken


def _readable(jobs: Iterable[Job], reader: Reader) -> Iterator[AnyPixels | DiskImage]:
    """The pixels of those that can be read."""
    for job in jobs:
        with suppress(DataError):
            yield reader.read(job).pixels


def _translate_folder(work: Work, planned: Plan, folder: Path, processes: Together) -> list[FileResult]:
    """The first process locks the folder and writes its report; every process translates its part of the rest."""
    jobs, about = planned.jobs, _about(work, planned)
    with ExitStack() as held:

        def begin() -> tuple[Outputs, dict[Job, FileResult]]:
            _make_folder(folder)
            held.enter_context(locked(folder / LOCK, f"the output folder {folder}"))
            remove_temporaries({folder, *(job.target.parent for job in jobs)})
            outputs = Outputs(folder, overwrite=work.overwrite)
            finished = outputs.finished(jobs, work.request)
            Report(outputs, jobs, about).write(finished)
            outputs.forget_parts(all_of_them=False)
            if finished:
                say(f"{len(finished):,} of {len(jobs):,} were translated before and are kept")
            return outputs, finished

        outputs, results = processes.told(begin)
        rest = [job for job in jobs if job not in results]
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


def _about(work: Work, planned: Plan) -> dict[str, object]:
    """What the report says of all files."""
    model = {"arch": work.translator.config.arch, "step": work.translator.step}
    distance = None if work.distance is None else asdict(work.distance)
    return {**model, **work.decisive, "samples": planned.samples, "distance": distance, "denied": planned.denied}


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
    work: Work, jobs: list[Job], results: dict[Job, FileResult], record: Record | None, keep: Callable[[], None]
) -> None:
    """Translates ``jobs`` and puts each result into ``results``; calls ``keep`` after every batch."""
    writing: deque[tuple[Job, Future[FileResult]]] = deque()
    wanted: dict[Path, list[Job]] = {}
    for job in jobs:
        wanted.setdefault(job.source, []).append(job)
    try:
        with _threads() as readers, _threads() as writers:
            items = tracked("translating", len(wanted))(_read(wanted, work, readers, results, record))
            most = BATCH_PIXELS if capabilities(work.translator.device).asynchronous else 0
            for batch in _equal_sized(items, most):
                for part, jobs_of_part, is_last in _by_sample(batch, wanted):
                    try:
                        outputs, side = translated(work, part, jobs_of_part[0].sample)
                    except (RuntimeError, DataError) as error:
                        reason = _reason(error, batch[0], work)
                        for job in jobs_of_part:
                            _note(work.result(job, None, reason), job, results, record)
                        continue
                    large = batch[0].is_large
                    for item, job, output in zip(part, jobs_of_part, outputs, strict=True):
                        if is_last:
                            item.forget_pixels()
                        writing.append((job, writers.submit(_write, work, job, item, output, side, record)))
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


def _by_sample(
    batch: list[Input], wanted: Mapping[Path, Sequence[Job]]
) -> Iterator[tuple[list[Input], list[Job], bool]]:
    """Inputs with their jobs of one sample after the other, and whether it is the last one."""
    asked = [(item, job) for item in batch for job in wanted[item.job.source]]
    samples = list(dict.fromkeys(job.sample for _, job in asked))
    for sample in samples:
        pairs = [pair for pair in asked if pair[1].sample == sample]
        yield [item for item, _ in pairs], [job for _, job in pairs], sample == samples[-1]


def translated(
    work: Work, batch: list[Input], sample: int | None = None
) -> tuple[Sequence[AnyPixels | DiskImage], int | None]:
    """The translations of images of one size, and the side of the tiles that they were translated by.

    Args:
        work: how.
        batch: the images.
        sample: the number of the answer, where there are several.

    Raises:
        RuntimeError: of the device, for example that there is too little memory.
        DataError: there is too little memory for an exported file, or the disk has no room for the maps of tiles.
    """
    images, names = [item.pixels for item in batch], [item.job.source.name for item in batch]
    return work.translator.translate_images(images, work.direction, work.tiles, seed=work.seed_of(sample), names=names)


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


def _write(
    work: Work, job: Job, item: Input, output: AnyPixels | DiskImage, side: int | None, record: Record | None
) -> FileResult:
    """Writes one output, after its line in the record."""
    target = job.target
    shown = str(target) if record is None else record.outputs.name(target)
    try:
        with _encoded(target, item, output) as content:
            result = replace(
                work.result(job, shown),
                input_bytes=item.size,
                input_sha256=item.digest,
                output_sha256=digest_of(content)[1],
                tile=side,
            )
            overwrite = work.overwrite if record is None else record.outputs.is_replaced(target)
            if record is not None:
                record.part.add(result)
            with replacing(target, flush=False, overwrite=overwrite) as temporary, temporary.open("xb") as file:
                content.seek(0)
                shutil.copyfileobj(content, file)
        return result
    except (OSError, DataError) as error:
        reason = str(error) if isinstance(error, DataError) else f"cannot write {target}: {error.strerror or error}"
        failed = work.result(job, None, reason)
        _note(failed, job, {}, record)
        return failed


def _encoded(target: Path, item: Input, output: AnyPixels | DiskImage) -> BufferedIOBase:
    """The content of the file ``target``, on the disk where the output is, and can be encoded by bands."""
    suffix = target.suffix.lower()
    options = item.carried.options(suffix, output.shape[2])
    if isinstance(output, DiskImage) and not isinstance(item.alpha, np.ndarray) and suffix in streamed.SUFFIXES:
        return streamed.encoded(target, output, options, item.alpha)
    return BytesIO(encode_image(target, output[:, :], options, None if item.alpha is None else item.alpha[:, :]))


def _note(result: FileResult, job: Job, results: dict[Job, FileResult], record: Record | None) -> None:
    """Records a failure, for the other processes too."""
    results[job] = result
    if record is not None:
        with suppress(OSError):  # on a full disk; the result in memory is reported instead
            record.part.add(result)


def _finish(job: Job, written: Future[FileResult], results: dict[Job, FileResult]) -> None:
    results[job] = written.result()


def _read(
    wanted: Mapping[Path, Sequence[Job]],
    work: Work,
    threads: ThreadPoolExecutor,
    results: dict[Job, FileResult],
    record: Record | None,
) -> Iterator[Input | None]:
    """Yields every input once, or None after the failure of its jobs was put into ``results``."""
    for item in work.reader.read_ahead([jobs[0] for jobs in wanted.values()], threads):
        if isinstance(item, Unread):
            for job in wanted[item.job.source]:
                _note(work.result(job, None, item.reason), job, results, record)
            yield None
        else:
            yield item


def _equal_sized(items: Iterator[Input | None], most: int) -> Iterator[list[Input]]:
    """Groups consecutive images of equal size into batches of up to ``most`` pixels, and of one image at least."""
    batch: list[Input] = []
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


def _reason(error: RuntimeError | DataError, item: Input, work: Work) -> str:
    """The reason to report if memory or the disk for maps ran out; any other error is raised."""
    if isinstance(error, DataError):
        return f"{item.job.source}: {error}"
    if not is_out_of_memory(error):
        raise error
    height, width = item.pixels.shape[:2]
    way_out = "give a smaller --tile" if work.translator.has_parts(work.direction) else "use a smaller image"
    return f"not enough memory for {width}x{height} pixels on {work.translator.device.type}: {way_out}"
