"""Translates files: an image or a folder of any depth; decoding, inference and encoding overlap.

Images that do not fit into memory are translated by tiles. ``report.json`` lists every translated, skipped or failed
file, those by tiles as such, and the seed if the model has noise. Outputs keep names and folders; several answers for
a file are numbered. They are renamed into place but not flushed to the disk: after a power cut, the same call finds the
intact outputs by their digests and makes the rest.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Precision
from i2i.display import say, warn
from i2i.errors import DataError
from i2i.inference.choosing import in_precision
from i2i.inference.outputs import LOCK, FileResult, Job, Outputs, Part, Report
from i2i.inference.pipeline import Pipeline
from i2i.inference.plan import Plan, require_formats
from i2i.inference.together import ENDED, Together
from i2i.inference.translator import Translator
from i2i.inference.work import Work, decisive_of
from i2i.inference.writing import Record, Writer
from i2i.storage.files import remove_temporaries
from i2i.storage.lock import locked
from i2i.tiling.settings import AUTO, Tiles


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
        translator, direction, seed, tiles, max_pixels, decisive_of(translator, direction, seed, tiles), overwrite
    )
    if alpha:
        work.require_alpha(job.target for job in planned.jobs)
    work = in_precision(work, planned, precision, processes)
    if alpha:  # after the choice of a precision, which does not depend on it
        work = replace(work, alpha=True, decisive={**work.decisive, "alpha": True})
    if planned.folder is None:
        results: dict[Job, FileResult] = {}
        if processes.is_first:
            Pipeline(work, Writer(work), results).run(planned.jobs)
        return list(results.values())
    return _translate_folder(work, planned, planned.folder, processes)


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
            Pipeline(work, Writer(work, Record(outputs, part)), results).run(processes.share(rest), keep)
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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from None
