"""Atomic writes: readers see the old file or the complete new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2i.errors import DataError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path``; errors as ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; what the context writes there is flushed and then takes the place of ``path``.

    Raises:
        DataError: the folder cannot be written, or ``path`` exists and is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"cannot write {path}: it exists and is not a regular file")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None
