"""The files of a server: images that the page has sent and gets, in a private folder under names that it chooses."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AGE, MOST_BYTES = 3600.0, 2**30
"""How long images are kept, in seconds, and how many bytes of them; the oldest go first."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that no other user can look into, and that is gone after the context."""
    with tempfile.TemporaryDirectory(prefix="i2i-serve-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def put(folder: Path, name: str, content: bytes) -> Path:
    """Writes a file ``name`` into a new folder within ``folder``, whose name nobody guesses; old ones go."""
    tidy(folder)
    place = folder / secrets.token_hex(16)
    place.mkdir()
    (place / name).write_bytes(content)
    return place / name


def holds(folder: Path, name: str) -> bool:
    """Whether ``name`` is that of a file within ``folder``."""
    try:
        place = Path(os.path.realpath(name))
        return place.is_relative_to(folder) and place.is_file()
    except (OSError, ValueError):  # a NUL, or a name that is too long
        return False


def tidy(folder: Path, *, age: float = AGE, most: int = MOST_BYTES) -> None:
    """Deletes files that are older than ``age``, and the oldest of more than ``most`` bytes."""
    files, size, now = list[tuple[float, int, str]](), 0, time.time()
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it has just gone
                status = os.stat(os.path.join(root, name))
                files.append((status.st_mtime, status.st_size, os.path.join(root, name)))
    for changed, bytes_of_it, path in sorted(files, reverse=True):
        size += bytes_of_it
        if size > most or changed < now - age:
            with suppress(OSError):
                os.unlink(path)
                os.rmdir(os.path.dirname(path))  # where it was alone
