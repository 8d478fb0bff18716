"""Unpacks zip and tar.gz archives from strangers: plain files only, inside one folder, up to a stated size.

Nothing is written that the archive's name for it could place elsewhere, links and devices are refused, and sizes are
counted by what entries declare, which no entry may exceed. tarfile's data filter is not enough: it repairs names and
lets links through where this refuses them, and knows no limit of size.
"""

from __future__ import annotations

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from i2i.errors import DataError

MAX_BYTES = 32 * 10**9
MAX_FILES = 500_000
PIECE = 2**16
LARGEST_HEADER = 2**17
LARGEST_PADDING = 2**24
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,  # an entry without a name
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class ArchiveError(DataError):
    """An archive is damaged, is none, or holds what must not be unpacked."""


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Unpacks ``archive`` into ``folder``, which is made; what is in it after an error is to be thrown away.

    Args:
        archive: a zip or a tar.gz file, told by its content.
        folder: a new folder.
        max_bytes: how much the files may take together.
        max_files: how many entries there may be.

    Raises:
        ArchiveError: names the entry, or what is wrong with the whole.
        OSError: the folder cannot be written, or the archive not read.
    """
    budget = _Budget(max_bytes, max_files)
    folder.mkdir()
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        try:
            if head.startswith(b"\x1f\x8b"):
                _unpack_tar(file, folder, budget)
            elif head.startswith(b"PK"):
                _unpack_zip(file, folder, budget)
            else:
                page = ", but a web page" if b"<html" in head.lower() or b"<!doctype" in head.lower() else ""
                raise ArchiveError(f"neither a zip nor a tar.gz archive{page}")
        except _DAMAGE as error:
            raise ArchiveError(f"a damaged or cut archive ({error or type(error).__name__})") from None


class _Budget:
    """How much an archive may still become."""

    def __init__(self, max_bytes: int, max_files: int) -> None:
        self.max_bytes, self.max_files = max_bytes, max_files
        self._bytes = self._files = 0

    def admit(self, name: str, size: int) -> None:
        """Counts an entry that declares ``size`` bytes."""
        if size < 0:
            raise ArchiveError(f"entry {name!r} declares a negative size")
        self._bytes += size
        self._files += 1
        if self._bytes > self.max_bytes:
            raise ArchiveError(f"entry {name!r} brings it over {self.max_bytes / 1e9:,.3g} GB unpacked")
        if self._files > self.max_files:
            raise ArchiveError(f"more than {self.max_files:,} entries")


def _unpack_zip(file: IO[bytes], folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(file) as archive:
        planned = []
        for entry in archive.infolist():
            name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
            if entry.flag_bits & 0x1:
                raise ArchiveError(f"entry {name!r} is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"entry {name!r} is a link or a device")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"entry {name!r} is compressed by method {entry.compress_type}, which few can read")
            budget.admit(name, entry.file_size)
            planned.append((entry, _inside(folder, name)))
        for entry, path in planned:
            if not entry.is_dir():
                with archive.open(entry) as source:
                    _write(source, path, entry.filename, entry.file_size)


def _unpack_tar(file: IO[bytes], folder: Path, budget: _Budget) -> None:
    with _Gzip(fileobj=file, mode="rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for entry in archive:
            path = _inside(folder, entry.name)
            if not (entry.isdir() or entry.isreg()):
                raise ArchiveError(f"entry {entry.name!r} is a link or a device")
            budget.admit(entry.name, entry.size if entry.isreg() else 0)
            source = archive.extractfile(entry)
            if source is not None:
                with source:
                    _write(source, path, entry.name, entry.size)
            archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
        _read_to_the_end(stream)


class _Gzip(gzip.GzipFile):
    """A compressed tar archive. Its headers are read whole, so one of absurd size would fill the memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LARGEST_HEADER:
            raise ArchiveError("a header of absurd size")
        return super().read(size)


def _read_to_the_end(stream: _Gzip) -> None:
    """Only the end of the stream tells whether all of it arrived as it was sent."""
    left = LARGEST_PADDING
    while piece := stream.read(PIECE):
        left -= len(piece)
        if left < 0:
            raise ArchiveError("data after the end of the archive")


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive:
        raise ArchiveError(f"entry {name!r} could be written outside the data folder")
    return folder.joinpath(*path.parts)


def _write(source: IO[bytes], path: Path, name: str, size: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise ArchiveError(f"entry {name!r} is in it twice") from None
    with target:
        while piece := source.read(PIECE):
            size -= len(piece)
            if size < 0:
                raise ArchiveError(f"entry {name!r} holds more than it declares")
            target.write(piece)
