"""Tracks a folder of translations: which files in it are our outputs, and which of them are up to date.

``report.json`` lists every output with its digest and that of its input. Between two writes of the report, each process
appends a line to its own file before it puts an output in place, so that every output in the folder is recorded.
A file is replaced only if its digest is recorded: any other file of that name belongs to the user.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeVar

from i2i.bounds import open_regular
from i2i.errors import DataError
from i2i.storage.files import append_line, write_atomically

REPORT = "report.json"
Read = TypeVar("Read")
FORMAT = "i2i translations 1"
"""Marks a report as ours, as opposed to a user's file of that name."""
LOCK = ".i2i-lock"
PARTS = ".i2i-part-*.jsonl"
PENDING = "not reached: the translation was interrupted"
"""The report's entry for a file that has not been translated yet."""
SECONDS = 5.0
"""Minimum seconds between two writes of the report; writing takes at most a twentieth of the total time."""


@dataclass(frozen=True)
class Job:
    """One file to translate, to one of its answers where several are asked for; ``sample`` is its number, from 1."""

    source: Path
    target: Path
    sample: int | None = None


@dataclass(frozen=True)
class FileResult:
    """The result for one input file.

    Attributes:
        input: its path.
        output: the name of its translation in the report's folder; the whole path if there is no report.
        error: why there is no output.
        input_bytes: its size.
        input_sha256: the digest of its content.
        output_sha256: the digest of the translation.
        request: a digest of everything else that determines the translation: weights, direction and seed.
        tile: the side of the tiles by which it was translated; None for a whole image.
        sample: the number of this answer, from 1, where several were asked for.
        seed: of this answer.
    """

    input: str
    output: str | None
    error: str | None = None
    input_bytes: int = 0
    input_sha256: str = ""
    output_sha256: str = ""
    request: str = ""
    tile: int | None = None
    sample: int | None = None
    seed: int | None = None


class Outputs:
    """The output folder of a translation: the records found at its start, and those that each process has added.

    Raises:
        DataError: its report.json is not ours, and ``overwrite`` is off.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder, self._overwrite = folder, overwrite
        # Parts first: what is removed from a part is in the report by then.
        self._parts = sorted(folder.glob(PARTS))
        self._known = [result for part in self._parts for result in _lines(part)]
        self._known += _reported(folder / REPORT, overwrite=overwrite)

    def require_ours(self, existing: Iterable[Path]) -> None:
        """Refuses outputs that exist already but are not recorded.

        Raises:
            DataError: names the first of them.
        """
        names = {result.output for result in self._known}
        for target in existing:
            if not self._overwrite and self.name(target) not in names:
                raise self._refusal(target)

    def finished(self, jobs: Sequence[Job], request: str) -> dict[Job, FileResult]:
        """The results of an earlier call that are still up to date.

        Raises:
            DataError: an output would replace a file that has changed since it was written.
        """
        by_name: dict[str, list[FileResult]] = {}
        for result in self._known:
            by_name.setdefault(str(result.output), []).append(result)
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda job: self._finished(job, by_name.get(self.name(job.target), []), request), jobs)
            return {job: result for job, result in zip(jobs, found, strict=True) if result is not None}

    def _finished(self, job: Job, known: Sequence[FileResult], request: str) -> FileResult | None:
        if not os.path.lexists(job.target):
            return None
        for result in self._own(job.target, known):
            if result.request == request and Path(result.input).name == job.source.name:
                try:
                    same = (result.input_bytes, result.input_sha256) == digest_of_file(job.source)
                except OSError:
                    return None
                return replace(result, input=str(job.source)) if same else None
        return None

    def is_replaced(self, target: Path) -> bool:
        """Whether an output replaces a file, one of an earlier call.

        Raises:
            DataError: that file is nobody's output, and has perhaps come there since this call began.
        """
        if self._overwrite or not os.path.lexists(target):
            return self._overwrite
        name = self.name(target)
        self._own(target, [result for result in self._known if result.output == name])
        return True

    def _own(self, target: Path, known: Sequence[FileResult]) -> list[FileResult]:
        """Those of the ``known`` results that the file ``target`` is of; errors as ``is_replaced``."""
        size, digest = digest_of_file(target) if target.is_file() else (0, "")
        own = [result for result in known if result.output_sha256 == digest]
        # An empty file was renamed into place before a power cut, and its content never reached the disk.
        if not own and not (known and not size) and not self._overwrite:
            raise self._refusal(target)
        return own

    def _refusal(self, target: Path) -> DataError:
        return DataError(
            f"{target} exists and was not written by a translation: choose another folder with -o, or replace it "
            "with --overwrite"
        )

    def name(self, target: Path) -> str:
        """The name of an output in the report."""
        return target.relative_to(self.folder).as_posix()

    def part(self, rank: int) -> Path:
        """The file to which the process ``rank`` adds its lines."""
        return self.folder / PARTS.replace("*", f"{rank:05}")

    def added(self) -> list[FileResult]:
        """The results that the processes have added so far, each in its order."""
        return [result for part in sorted(self.folder.glob(PARTS)) for result in _lines(part)]

    def others(self, done: Iterable[FileResult]) -> list[FileResult]:
        """The records of outputs that are not among those ``done``; they remain ours."""
        names = {result.output for result in done}
        return [result for result in self._known if result.output is not None and result.output not in names]

    def forget_parts(self, *, all_of_them: bool) -> None:
        """Removes the processes' files, once the report has their lines: those found at the start, or all."""
        for part in sorted(self.folder.glob(PARTS)) if all_of_them else self._parts:
            part.unlink(missing_ok=True)


class Part:
    """The file of one process's lines."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def add(self, result: FileResult) -> None:
        """Adds a line; errors as ``append_line``."""
        with self._lock:
            append_line(self._path, json.dumps(asdict(result)))


class Report:
    """Writes report.json, at intervals and at the end."""

    def __init__(self, outputs: Outputs, jobs: Sequence[Job], about: Mapping[str, Any]) -> None:
        self._outputs, self._jobs, self._about = outputs, jobs, about
        self._next = 0.0

    def write_if_due(self, results: Mapping[Job, FileResult]) -> None:
        """Writes it if it is time; a full disk is ignored here, because it may have space at the end."""
        begin = time.monotonic()
        if begin < self._next:
            return
        with suppress(DataError):
            self.write(results)
        end = time.monotonic()
        self._next = end + max(SECONDS, 20 * (end - begin))

    def write(self, results: Mapping[Job, FileResult]) -> list[FileResult]:
        """Writes and returns the result of every job: from ``results``, or as added by a process.

        Raises:
            DataError: the report cannot be written.
        """
        added = {(result.input, result.sample): result for result in self._outputs.added()}
        files = [
            results.get(job)
            or added.get((str(job.source), job.sample))
            or FileResult(str(job.source), None, PENDING, sample=job.sample)
            for job in self._jobs
        ]
        pending = sum(result.error == PENDING for result in files)
        translated = [result for result in files if result.error is None]
        content = {
            "format": FORMAT,
            **self._about,
            "complete": not pending,
            "translated": len(translated),
            "skipped": len(files) - len(translated) - pending,
            "pending": pending,
            "files": [asdict(result) for result in files],
            "earlier": [asdict(result) for result in self._outputs.others(translated)],
        }
        write_atomically(self._outputs.folder / REPORT, json.dumps(content, indent=1).encode())
        return files


def read_with_digest(path: Path, read: Callable[[], Read]) -> tuple[Read, str]:
    """What ``read`` makes of the file ``path``, and the SHA-256 of the content that it read.

    A training may replace the file meanwhile; it is then read again.
    """
    before = digest_of_file(path)[1]
    while True:
        made, after = read(), digest_of_file(path)[1]
        if after == before:
            return made, after
        before = after


def digest_of_file(path: Path) -> tuple[int, str]:
    """The size of a file and the SHA-256 of its content; errors as ``open_regular``."""
    with open_regular(path) as file:
        return digest_of(file)


def digest_of(file: BufferedIOBase) -> tuple[int, str]:
    """The same of an open file, which is read from its start to its end."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return file.tell(), digest


def reported(folder: Path) -> Mapping[str, Any]:
    """What an earlier translation into ``folder`` has reported, or nothing."""
    try:
        content = json.loads((folder / REPORT).read_bytes())
        return content if content["format"] == FORMAT else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def _lines(part: Path) -> list[FileResult]:
    """The complete lines of a part; its process may have died while writing one."""
    found = []
    try:
        content = part.read_bytes()
    except FileNotFoundError:
        return []
    for line in content.splitlines():
        try:
            found.append(FileResult(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def _reported(path: Path, *, overwrite: bool) -> list[FileResult]:
    """The results in a report of ours."""
    if not os.path.lexists(path):
        return []
    try:
        content = json.loads(path.read_bytes())
        if content["format"] == FORMAT:
            entries = [FileResult(**entry) for key in ("files", "earlier") for entry in content[key]]
            return [result for result in entries if result.output is not None]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    if overwrite:
        return []
    raise DataError(
        f"{path} exists and is not the report of a translation: choose another folder with -o, or give --overwrite"
    )
