"""Pixels on the disk for as long as a command needs them, where memory has no room for an image or its maps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from i2i.errors import DataError


def scratch_folder() -> Path:
    """Where they go: ``TMPDIR``, else a folder that is on a disk by custom, where /tmp is often in memory."""
    own, on_disk = os.environ.get("TMPDIR"), Path("/var/tmp")
    if own is None and on_disk.is_dir() and os.access(on_disk, os.W_OK):
        return on_disk
    return Path(tempfile.gettempdir())


class ScratchRows:
    """Rows of pixels in a file without a name, which vanishes when it is closed or the program ends.

    It is read and written row by row and not mapped into memory: a full disk is an error of ours, where a mapped file
    would end the program, and what was read does not count as memory of the process.

    Args:
        height: number of rows.
        width: number of pixels in a row.
        pixel: bytes of a pixel.
        what: is kept, with its article, for errors.
        header: what the file begins with.

    Raises:
        DataError: the disk has no room for it.
    """

    def __init__(self, height: int, width: int, pixel: int, what: str, header: bytes = b"") -> None:
        self._width, self._pixel, self._what, self._start = width, pixel, what, len(header)
        self._needed = height * width * pixel
        self._folder = scratch_folder()
        try:
            free = shutil.disk_usage(self._folder).free
            if free < self._needed:
                self._fail(f"{free / 1e9:,.1f} GB are free")
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._put(0, memoryview(header))
        except OSError as error:
            self._fail(error.strerror)

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._file.fileno()

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
        """The pixels of a window: (h, w, bytes of a pixel)."""
        part = np.empty((bottom - top, right - left, self._pixel), np.uint8)
        try:
            for place, row in self._rows(top, left, part):
                self._file.seek(place)
                self._file.readinto(row)
        except OSError as error:
            self._fail(error.strerror)
        return part

    def write(self, top: int, left: int, part: NDArray[np.uint8]) -> None:
        """Puts ``part``, (h, w, bytes of a pixel) and contiguous, into a window."""
        try:
            for place, row in self._rows(top, left, part):
                self._put(place, row)
        except OSError as error:
            self._fail(error.strerror)

    def close(self) -> None:
        """Gives the space back."""
        with suppress(OSError, AttributeError):  # there is no file if there was no room for it
            self._file.close()

    __del__ = close

    def _rows(self, top: int, left: int, part: NDArray[np.uint8]) -> Iterator[tuple[int, memoryview]]:
        """The place of each row of ``part`` in the file, and its bytes."""
        if not part.size:
            return
        place, size = self._start + (top * self._width + left) * self._pixel, part[0].size
        content = part.data.cast("B")
        for start in range(0, len(content), size):
            yield place, content[start : start + size]
            place += self._width * self._pixel

    def _put(self, place: int, content: memoryview) -> None:
        self._file.seek(place)
        while content:
            content = content[self._file.write(content) :]

    def _fail(self, reason: str | None) -> NoReturn:
        raise DataError(
            f"{self._what} of {self._needed / 1e9:,.1f} GB does not fit into {self._folder} ({reason}): make room, or "
            "name another folder by TMPDIR"
        )
