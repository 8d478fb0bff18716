"""Atomic file writes: a reader sees the old file or the complete new one, never a mixture.

A temporary file beside the target, with a name of this process's own, is flushed to the disk and renamed; then the
folder is flushed. An error removes the temporary file; that of a process which was killed goes with
``remove_temporaries``. On a network file system the rename is one step for each reader, but another machine may see the
old file for as long as its cache holds it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path

from i2i.errors import DataError
from i2i.storage.owner import Owner

NUMBERS = count()
TEMPORARY = re.compile(r"\.i2i-([0-9a-f]{12})-([0-9a-f]*)-(\d+)-(\d*)-\d+\.tmp")
"""The names of temporary files: digest of the host, boot, process, when that began, and a number."""
NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR}
"""What a system answers that cannot flush a folder."""


def write_atomically(path: Path, content: bytes, *, flush: bool = True, overwrite: bool = True) -> None:
    """Writes ``content`` to ``path``; ``flush``, ``overwrite`` and errors as ``replacing``."""
    with replacing(path, flush=flush, overwrite=overwrite) as temporary:
        _write(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, content)


@contextmanager
def replacing(path: Path, *, flush: bool = True, overwrite: bool = True) -> Iterator[Path]:
    """A temporary name beside ``path``; what the context writes there takes the place of ``path``, or nothing does.

    ``flush`` brings it to the disk, so that it outlives a power cut from then on; without, only the rename is whole.
    Without ``overwrite`` a file that has come there in the meantime stays.

    Raises:
        DataError: the folder cannot be written, or ``path`` exists and is not a regular file or not to be replaced.
    """
    _require_regular(path)
    temporary = path.with_name(_temporary_name())
    try:
        os.makedirs(path.parent, exist_ok=True)
        yield temporary
        if flush:
            _flush(temporary, os.O_RDWR)
        if overwrite:
            os.replace(temporary, path)
        else:
            _put_beside_others(temporary, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None
    finally:  # also when the user interrupts; after the rename there is nothing of this name
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    if flush:
        try:
            _flush_folder(path.parent)
        except OSError as error:
            raise DataError(f"cannot flush {path} to the disk: {error.strerror or error}") from None


def append_line(path: Path, line: str) -> None:
    """Adds a line at the end of ``path``; where that fails, the file is what it was.

    Raises:
        OSError: the file cannot be written.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        _write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, f"{line}\n".encode())
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def flush_appended(path: Path) -> None:
    """Brings the lines of ``append_line`` to the disk, if there are any.

    Raises:
        OSError: the disk does not take them.
    """
    if path.exists():
        _flush(path, os.O_RDWR)


def require_writable(path: Path) -> None:
    """Finds out whether ``path`` could be written now, without touching it; errors as ``replacing``."""
    _require_regular(path)
    temporary = path.with_name(_temporary_name())
    try:
        os.makedirs(path.parent, exist_ok=True)
        _write(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, b"")
        os.unlink(temporary)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def require_free(
    *paths: Path,
    overwrite: bool = False,
    folders: bool = False,
    way_out: str = "choose another name, or replace it with --overwrite",
) -> None:
    """Refuses names that are taken: no command replaces a file that it cannot know to be its own.

    Args:
        paths: the names.
        overwrite: whether somebody asked for it.
        folders: whether an empty folder counts as free.
        way_out: what to do where one is taken.

    Raises:
        DataError: one of ``paths`` exists.
    """
    for path in paths:
        empty = folders and path.is_dir() and not path.is_symlink() and not any(path.iterdir())
        if os.path.lexists(path) and not empty and not overwrite:
            raise DataError(f"{path} exists: {way_out}")


def remove_temporaries(folders: Iterable[Path]) -> None:
    """Removes from ``folders``, not from folders in them, the temporary files of processes that run no more."""
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if (match := TEMPORARY.fullmatch(name)) and _is_of_the_dead(*match.groups()):
                with contextlib.suppress(OSError):
                    os.unlink(folder / name)


def _put_beside_others(temporary: Path, path: Path) -> None:
    """Gives ``temporary`` the name ``path`` in one step in which the system looks whether that is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        require_free(path)
        raise
    except OSError:  # a file system without links; here a reader can see an empty file for a moment
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)


def _require_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise DataError(f"cannot write {path}: it exists and is not a regular file")


def _temporary_name() -> str:
    here = Owner.this()
    return f".i2i-{_digest(here.host)}-{here.boot}-{here.process}-{here.began}-{next(NUMBERS)}.tmp"


def _is_of_the_dead(host: str, boot: str, process: str, began: str) -> bool:
    here = Owner.this().host
    return host == _digest(here) and Owner(here, boot, int(process), began).is_gone


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _write(path: Path, flags: int, content: bytes) -> None:
    file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


def _flush(path: Path, flags: int) -> None:
    file = os.open(path, flags)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _flush_folder(folder: Path) -> None:
    try:
        _flush(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
