"""Feature maps on the disk, for images whose maps do not fit into memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from i2i.errors import DataError
from i2i.inference.whole_layers import Box


def scratch_folder() -> Path:
    """Where maps go: ``TMPDIR``, else a folder that is on a disk by custom, where /tmp is often in memory."""
    own, on_disk = os.environ.get("TMPDIR"), Path("/var/tmp")
    if own is None and on_disk.is_dir() and os.access(on_disk, os.W_OK):
        return on_disk
    return Path(tempfile.gettempdir())


class DiskMap:
    """A feature map (1, C, H, W) in a file without a name, which vanishes when the map is closed or the program ends.

    It is read and written row by row and not mapped into memory: a full disk is an error of ours, where a mapped file
    would end the program, and what was read does not count as memory of the process.

    Args:
        like: a part of it, for the channels and the type.
        scale: how many pixels of the image a pixel of the map is wide and high.
        height: of the image.
        width: of the image.

    Raises:
        DataError: the disk has no room for it.
    """

    def __init__(self, like: Tensor, scale: int, height: int, width: int) -> None:
        self._channels, self._dtype, self._scale = like.shape[1], like.dtype, scale
        self._width, self._pixel = width // scale, like.shape[1] * like.dtype.itemsize
        self._needed = (height // scale) * self._width * self._pixel
        self._folder = scratch_folder()
        try:
            free = shutil.disk_usage(self._folder).free
            if free < self._needed:
                self._fail(f"{free / 1e9:,.1f} GB are free")
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        except OSError as error:
            self._fail(error.strerror)

    def read(self, box: Box) -> Tensor:
        """The map in ``box``, in pixels of the image: (1, C, h, w), with the channels last in memory."""
        top, bottom, left, right = box.over(self._scale)
        part = torch.empty(bottom - top, right - left, self._channels, dtype=self._dtype)
        try:
            for number, row in enumerate(part.view(torch.uint8).numpy(), top):
                self._file.seek((number * self._width + left) * self._pixel)
                self._file.readinto(memoryview(row).cast("B"))
        except OSError as error:
            self._fail(error.strerror)
        return part.permute(2, 0, 1)[None]

    def write(self, box: Box, part: Tensor) -> None:
        """Puts ``part``, (1, C, h, w), at ``box``, in pixels of the image."""
        top, _, left, _ = box.over(self._scale)
        rows = part[0].permute(1, 2, 0).contiguous().cpu().view(torch.uint8).numpy()
        try:
            for number, row in enumerate(rows, top):
                self._file.seek((number * self._width + left) * self._pixel)
                self._file.write(row)
            self._file.flush()
        except OSError as error:
            self._fail(error.strerror)

    def close(self) -> None:
        """Gives the space back."""
        with suppress(OSError):  # what is still to be written to a full disk
            self._file.close()

    def _fail(self, reason: str | None) -> NoReturn:
        raise DataError(
            f"a feature map of {self._needed / 1e9:,.1f} GB does not fit into {self._folder} ({reason}): make room, or "
            "name another folder by TMPDIR"
        )
