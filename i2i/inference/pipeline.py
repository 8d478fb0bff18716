"""Translates files one after another: some are decoded and encoded, by threads, while another one is translated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from i2i.device import is_out_of_memory
from i2i.display import tracked
from i2i.errors import DataError
from i2i.inference.batching import batch_pixels, equal_sized
from i2i.inference.inputs import AHEAD, Input, Unread
from i2i.inference.outputs import FileResult, Job
from i2i.inference.work import Work
from i2i.inference.writing import Writer

Wanted = Mapping[Path, Sequence[Job]]
"""The jobs of each input: several, where several answers are asked for."""


class Pipeline:
    """The translation of files by one process.

    Args:
        work: how.
        writer: of the outputs.
        results: gets the result of every job.
    """

    def __init__(self, work: Work, writer: Writer, results: dict[Job, FileResult]) -> None:
        self._work, self._writer, self._results = work, writer, results
        self._writing: deque[tuple[Job, Future[FileResult]]] = deque()

    def run(self, jobs: Sequence[Job], keep: Callable[[], None] = lambda: None) -> None:
        """Translates ``jobs``; calls ``keep`` after every batch."""
        wanted: dict[Path, list[Job]] = {}
        for job in jobs:
            wanted.setdefault(job.source, []).append(job)
        try:
            with _threads() as readers, _threads() as writers:
                items = tracked("translating", len(wanted))(self._read(wanted, readers))
                for batch in equal_sized(items, batch_pixels(self._work.translator.device)):
                    for part, jobs_of_part, is_last in _by_sample(batch, wanted):
                        self._translate(part, jobs_of_part, writers, is_last=is_last)
                    keep()
                self._await_writing(0)
        finally:  # after an interruption too: outputs that are written count
            for job, written in self._writing:
                if written.done() and not written.cancelled():
                    self._results[job] = written.result()

    def _read(self, wanted: Wanted, threads: ThreadPoolExecutor) -> Iterator[Input | None]:
        """Yields every input once, or None after the failure of its jobs was put into the results."""
        for item in self._work.reader.read_ahead([jobs[0] for jobs in wanted.values()], threads):
            if isinstance(item, Unread):
                self._fail(wanted[item.job.source], item.reason)
                yield None
            else:
                yield item

    def _translate(
        self, batch: Sequence[Input], jobs: Sequence[Job], writers: ThreadPoolExecutor, *, is_last: bool
    ) -> None:
        """Translates images of one size, each for its job; ``is_last``: no other job needs them."""
        try:
            outputs, side = self._work.translated(batch, jobs[0].sample)
        except (RuntimeError, DataError) as error:
            self._fail(jobs, _reason(error, batch[0], self._work))
            return
        large = batch[0].is_large
        for item, job, output in zip(batch, jobs, outputs, strict=True):
            if is_last:
                item.forget_pixels()
            self._writing.append((job, writers.submit(self._writer.write, job, item, output, side)))
        del outputs, output  # of a large image there is no room for the next one beside it
        self._await_writing(0 if large else AHEAD)

    def _await_writing(self, most: int) -> None:
        """Waits until only so many outputs are not written yet."""
        while len(self._writing) > most:
            job, written = self._writing.popleft()
            self._results[job] = written.result()

    def _fail(self, jobs: Sequence[Job], reason: str) -> None:
        for job in jobs:
            self._results[job] = self._writer.failed(job, reason)


def _by_sample(batch: Sequence[Input], wanted: Wanted) -> Iterator[tuple[list[Input], list[Job], bool]]:
    """Inputs with their jobs of one sample after the other, and whether it is the last one."""
    asked = [(item, job) for item in batch for job in wanted[item.job.source]]
    samples = list(dict.fromkeys(job.sample for _, job in asked))
    for sample in samples:
        pairs = [pair for pair in asked if pair[1].sample == sample]
        yield [item for item, _ in pairs], [job for _, job in pairs], sample == samples[-1]


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


def _reason(error: RuntimeError | DataError, item: Input, work: Work) -> str:
    """The reason to report if memory or the disk for maps ran out; any other error is raised."""
    if isinstance(error, DataError):
        return f"{item.job.source}: {error}"
    if not is_out_of_memory(error):
        raise error
    height, width = item.pixels.shape[:2]
    way_out = "give a smaller --tile" if work.translator.has_parts(work.direction) else "use a smaller image"
    return f"not enough memory for {width}x{height} pixels on {work.translator.device.type}: {way_out}"
