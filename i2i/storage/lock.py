"""A lock file that names its holder, so that only one process at a time uses a folder.

The lock of a process that no longer runs is taken over. The lock of another host never is, because whether that process
still runs cannot be known here; the message then says which file to delete.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from i2i.bounds import read_regular
from i2i.errors import DataError
from i2i.storage.owner import Owner

LARGEST = 10_000
"""Bytes of a lock file."""
_held: set[Path] = set()
_in_process = threading.Lock()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file ``path`` within the context; ``what`` is used by its holder, for the message.

    Raises:
        DataError: another process, or another thread of this one, holds it, or it cannot be written.
    """
    place = Path(os.path.realpath(path))
    by_another_thread = True
    try:
        with _in_process:
            by_another_thread = place in _held
            try:
                _take(path, what, taken_here=by_another_thread)
            except OSError as error:
                raise DataError(f"cannot write {path}: {error.strerror or error}") from None
            _held.add(place)
        yield
    finally:  # also where a signal came while the lock was taken
        if not by_another_thread:
            _release(path, place)


def held_by_another(path: Path) -> bool:
    """Whether a process that may still run, and is not this one, holds the lock file ``path``."""
    try:
        holder = _parse(read_regular(path, LARGEST))
    except OSError:
        return False
    return holder is not None and holder != Owner.this() and not holder.is_gone


def _release(path: Path, place: Path) -> None:
    """Removes the lock if it is this process's."""
    with _in_process, contextlib.suppress(OSError):
        _held.discard(place)
        if _parse(path.read_bytes()) == Owner.this():
            path.unlink()


def _take(path: Path, what: str, *, taken_here: bool) -> None:
    with _opened_alone(path) as file:
        holder, here = _parse(os.read(file, LARGEST)), Owner.this()
        running = taken_here if holder == here else holder is not None and not holder.is_gone
        if holder is not None and running:
            raise DataError(f"{what} is in use by {holder}: wait for it or stop it (if it runs no more, delete {path})")
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(asdict(here)).encode())


@contextmanager
def _opened_alone(path: Path) -> Iterator[int]:
    """The file, opened, which no other process reads or writes in the meantime.

    The system's lock is held for this moment alone: child processes would inherit it and outlive their parent with it.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_until_closed(file)
            if _is_still(file, path):
                yield file
                return
        finally:
            os.close(file)


def _is_still(file: int, path: Path) -> bool:
    """Whether ``file`` is what ``path`` names: its holder may have removed it since it was opened."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock_until_closed(file: int) -> None:
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):  # a file system that has no locks
            fcntl.lockf(file, fcntl.LOCK_EX)


def _parse(content: bytes) -> Owner | None:
    """The holder; None for a lock that was released, or whose holder died before it could write its name."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None
