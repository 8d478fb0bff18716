"""The inputs of a translation: a file is opened once, for its pixels, its digest and what its translation takes over.

A few are read ahead of their turn, by threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from typing import NamedTuple

import numpy as np
from PIL.ImageFile import ImageFile

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Depth
from i2i.data.carried import Carried, carried_by
from i2i.data.images import WHITE, Pixels, alpha_in, image_in, is_large, opened_with_content, values_in
from i2i.data.on_disk import DiskImage
from i2i.data.ranges import clipped
from i2i.data.stored import ArrayFile
from i2i.data.streamed import can_stream, streamed
from i2i.display import warn
from i2i.errors import DataError
from i2i.inference.outputs import Job, digest_of
from i2i.kinds import AnyPixels

STREAMED_PIXELS = 1 << 21
"""Of images with more pixels those that are translated by tiles are read by bands; smaller ones hardly take memory."""
AHEAD = 16
"""Number of files read in advance."""


@dataclass
class Input:
    """An input: its pixels (H, W, C), the size of its file, the file's SHA-256, and what its translation takes over.

    Pixels and alpha of one that was read by bands are on the disk. ``clipped`` says how many of its values are outside
    of the range of training, where there are such; ``is_large``, that it is read and written alone; ``alpha`` (H, W) is
    there where it is asked for and the image has it.
    """

    job: Job
    pixels: AnyPixels | DiskImage
    size: int
    digest: str
    carried: Carried
    clipped: str
    is_large: bool
    alpha: Pixels | DiskImage | None = None

    def forget_pixels(self) -> None:
        """Gives their memory back, whoever still holds this input."""
        self.pixels = np.empty((0, 0, 0), np.uint8)


class Unread(NamedTuple):
    """An input that cannot be read."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Reader:
    """How inputs are read: the channels and values of a model's inputs, and the limit for what is decoded.

    ``alpha``: whether that of images of 8 bits is kept. ``takes_tiles`` says of a height and a width whether such an
    image is translated by tiles, for which it is read by bands where that is possible.
    """

    channels: int
    depth: Depth
    background: tuple[int, int, int] = WHITE
    max_pixels: int = MAX_PIXELS
    alpha: bool = False
    takes_tiles: Callable[[int, int], bool] | None = None

    def read(self, job: Job) -> Input:
        """The input of ``job``; errors as ``read_image`` and ``read_values``."""
        with opened_with_content(job.source, self.max_pixels) as (file, content):
            found = self._streamed(job, file, content) if self._streams(file) else None
            return found or self._decoded(job, file, content)

    def read_ahead(self, jobs: Sequence[Job], threads: ThreadPoolExecutor) -> Iterator[Input | Unread]:
        """The input of every job, in their order; a large one is decoded when its turn has come."""
        waiting: deque[tuple[Job, Future[Input | None]]] = deque()
        remaining = iter(jobs)
        while True:
            while len(waiting) < AHEAD and (job := next(remaining, None)) is not None:
                waiting.append((job, threads.submit(self._read_small, job)))
            if not waiting:
                return
            job, item = waiting.popleft()
            try:
                found = item.result() or self.read(job)
                if found.clipped:
                    warn(f"{job.source}: {found.clipped}")
                yield found
            except DataError as error:
                yield Unread(job, str(error))

    def _read_small(self, job: Job) -> Input | None:
        """The input of ``job``, or None for a large one."""
        with opened_with_content(job.source, self.max_pixels) as (file, content):
            return None if is_large(file) or self._streams(file) else self._decoded(job, file, content)

    def _streams(self, file: ImageFile | ArrayFile) -> bool:
        """Whether to try and read a file by bands."""
        if self.takes_tiles is None or file.width * file.height < STREAMED_PIXELS:
            return False
        return self.takes_tiles(file.height, file.width) and can_stream(file, self.depth, self.channels)

    def _streamed(self, job: Job, file: ImageFile | ArrayFile, content: BufferedReader) -> Input | None:
        """The input of ``job`` on the disk, or None for a file that can only be read whole."""
        size, digest = digest_of(content)
        found = streamed(file, content)
        if found is None:
            return None
        carried = carried_by(found.about)
        if not self.depth.is_plain:
            values, said = found.values(self.depth)
            return Input(job, values, size, digest, carried, said, is_large=True)
        pixels, alpha = found.image(self.channels, self.background, with_alpha=self.alpha)
        return Input(job, pixels, size, digest, carried, "", is_large=True, alpha=alpha)

    def _decoded(self, job: Job, file: ImageFile | ArrayFile, content: BufferedReader) -> Input:
        size, digest = digest_of(content)
        said, alpha = "", None
        if self.depth.is_plain:
            alpha = alpha_in(file) if self.alpha else None  # first, as it takes room for four channels
            pixels: AnyPixels = image_in(file, self.channels, self.background)
        else:
            pixels = values_in(file, job.source, self.depth.kind, self.channels)
            said = clipped(pixels, self.depth)
        return Input(job, pixels, size, digest, carried_by(file), said, is_large(file), alpha)
