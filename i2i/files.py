"""Writing files so that they are seen whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from i2i.errors import DataError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is seen whole or not at all: temporary name, flush, rename.

    Raises:
        DataError: the folder cannot be written, or ``path`` is there and no file, such as a device.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"cannot write {path}: it is there, and no file")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None
