"""What bounds the reading of files that nobody has looked at: regular files alone, and how large they may be."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is read unless more are asked for: a quarter of a GiB of RGB, Pillow's own limit."""
MAX_ARRAY_BYTES = 2**32
"""Bytes of the largest set that lies in one file, with what each of its images takes beside its pixels."""


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading; a FIFO, device, socket or folder is never waited for, nor opened.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    _require_regular(path.stat(), path)
    # What has come into its place since then does not block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def size_of_regular(path: Path) -> int:
    """The size of a file in bytes; errors as ``open_regular``."""
    status = path.stat()
    _require_regular(status, path)
    return status.st_size


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: as ``open_regular``, or it has more than ``limit`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"more than {limit:,} bytes", str(path))
        return file.read(size)


def _require_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
