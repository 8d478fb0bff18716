"""Decoded images at the load size, kept in memory as uint8 up to a budget."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

from i2i.batch import Domain
from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Depth, Fit, ImageConfig
from i2i.data.depth import AS_8_BIT
from i2i.data.heads import Head
from i2i.data.identity import Contents, Identified, changed
from i2i.data.images import MODES, Pixels, from_pil, to_pil
from i2i.data.shared import shared_file, shared_zeros
from i2i.errors import ConfigError, DataError
from i2i.kinds import NUMPY_TYPES, AnyPixels, Kind
from i2i.storage.cache import cache_folder

DRAFT = 2
"""An image that is decoded at a part of its size is still scaled down this many times: what is left differs little."""
AT_ONCE = 256
"""How many images are on their way in threads."""
Item = TypeVar("Item")
Read = TypeVar("Read")
Progress = Callable[[Iterable[AnyPixels | DataError]], Iterable[AnyPixels | DataError]]


class ImageLike(Identified, Protocol):
    """What a store holds: a file, a part of one, or an array."""

    def head(self) -> Head:
        """Its size and mode, read without decoding; raises DataError."""

    def read(self, channels: int, background: tuple[int, int, int], least: int | None = None) -> Pixels:
        """Decodes to (H, W, channels), uint8, perhaps at a part of its size, as ``read_image``; raises DataError."""

    def values(self, kind: Kind, channels: int) -> AnyPixels:
        """Reads what is stored, (H, W, channels) of ``kind``; raises DataError."""


@dataclass(frozen=True)
class Loading:
    """How an image is decoded: its channels, the size it is brought to, and its depth.

    ``fit``: "square" squeezes it to load_size x load_size as the papers do; "shorter" keeps the aspect ratio and
    brings the shorter side to load_size. ``drafts``: what becomes a square may be decoded at a part of its size.

    Raises:
        ConfigError: a number of channels that images do not have.
    """

    channels: int
    load_size: int
    fit: Fit
    background: tuple[int, int, int]
    drafts: bool = False
    depth: Depth = AS_8_BIT

    @classmethod
    def of(cls, images: ImageConfig, domain: Domain, size: int, *, drafts: bool = False) -> Loading:
        """How the images of ``domain`` are brought to ``size``."""
        channels, depth = (images.channels_a, images.depth_a) if domain == "A" else (images.channels_b, images.depth_b)
        return cls(channels, size, images.fit, images.background, drafts, depth)

    def __post_init__(self) -> None:
        if self.depth.is_plain and self.channels not in MODES:
            raise ConfigError(f"data.channels_a or channels_b is {self.channels}: images have 1, 3 or 4 channels")

    def read(self, image: ImageLike) -> AnyPixels:
        """Decodes and resizes (bicubic, antialiased) to (H, W, C).

        Raises:
            DataError: the image cannot be read, or would grow beyond all bounds.
        """
        least = DRAFT * self.load_size if self.drafts and self.fit == "square" else None
        if self.depth.is_plain:
            pixels: AnyPixels = image.read(self.channels, self.background, least)
        else:
            pixels = image.values(self.depth.kind, self.channels)
        height, width = pixels.shape[:2]
        target = _target(width, height, self.load_size, self.fit)
        if self.fit == "shorter" and math.prod(target) > max(MAX_PIXELS, width * height):
            raise DataError(
                f"{image.name}: {width:,}x{height:,} pixels would become {target[0]:,}x{target[1]:,} by "
                "data.fit=shorter: crop it, or set data.fit=square"
            )
        return resized(pixels, self.load_size, self.fit, is_plain=self.depth.is_plain)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return np.dtype(NUMPY_TYPES[self.depth.kind])

    def size_of(self, head: Head) -> int:
        """How many bytes an image with this header takes once it is decoded; exact but for EXIF orientation."""
        width, height = _target(head.width, head.height, self.load_size, self.fit)
        item = self.dtype.itemsize
        return width * height * self.channels * item + (item - 1)  # what it takes to begin at a multiple of the item


class PixelMemory:
    """Decoded pixels, kept as they come until the budget is full: one block for all domains of a run.

    Loader workers share it, however they are started, so what one process has decoded no other decodes again. Memory
    is taken from the system only as the block fills. A set that does not fit may have its block on the disk.

    Args:
        count: how many images there are.
        need: how many bytes they take at most.
        memory_gib: how many GiB may be kept in memory.
        disk_gib: how many on the disk, where that is too little.

    Attributes:
        complete: whether all of them fit.
        notes: what a person should know of those that do not fit in memory.

    Raises:
        ConfigError: what may be kept cannot be reserved.
    """

    def __init__(self, count: int, need: int, memory_gib: float, disk_gib: float = 0.0) -> None:
        on_disk = memory_gib * 2**30 < need <= disk_gib * 2**30
        self.complete, self.notes = on_disk or need <= memory_gib * 2**30, list[str]()
        try:
            if on_disk:
                self._block = shared_file(need, cache_folder())
            else:
                self._block = shared_zeros(min(need, int(memory_gib * 2**30)))
        except (OSError, OverflowError, ValueError) as error:
            key, size = ("disk_gib", need) if on_disk else ("memory_gib", min(need, memory_gib * 2**30))
            raise ConfigError(f"data.{key}: cannot reserve {size / 2**30:.1f} GiB ({error}); lower it") from None
        takes = f"decoded images take {need / 2**30:.2g} GiB, and data.memory_gib is {memory_gib:g}: "
        if on_disk:
            self.notes.append(f"{takes}they are kept on the disk, in {cache_folder()}, until the run ends")
        elif not self.complete:
            more = math.ceil(need / 2**30)
            self.notes.append(
                f"{takes}the rest is decoded each time; data.memory_gib={more} or data.disk_gib={more} would keep them"
            )
        # Of each image where it starts, and its shape; a height of 0: not here, of -1: about to be written.
        self._table = shared_zeros(count * 32).view(torch.int64).view(count, 4)
        self._used = shared_zeros(8).view(torch.int64)
        self.renew_lock()

    def renew_lock(self) -> None:
        """Makes a new lock, for new workers: one that was killed may hold the old one for ever."""
        self._lock: AbstractContextManager[Any]
        try:
            self._lock = multiprocessing.Lock()
        except (ImportError, OSError):  # a system without semaphores has no loader workers either
            self._lock = nullcontext()

    def get(self, number: int, dtype: np.dtype[Any]) -> AnyPixels | None:
        """The image (H, W, C) of ``dtype`` that was kept as ``number``, or None."""
        with self._lock:
            start, height, width, channels = self._table[number].tolist()
        if height <= 0:
            return None
        pixels: AnyPixels = self._block.numpy()[start : start + height * width * channels * dtype.itemsize]
        if dtype.itemsize > 1:
            pixels = pixels.view(dtype)
        return pixels.reshape(height, width, channels)

    def put(self, number: int, pixels: AnyPixels) -> None:
        """Keeps an image (H, W, C) as ``number`` where there is room."""
        with self._lock:
            start = -(-int(self._used) // pixels.itemsize) * pixels.itemsize
            if start + pixels.nbytes > len(self._block) or self._table[number, 1]:
                return
            self._used.fill_(start + pixels.nbytes)
            self._table[number, 1] = -1
        self._block.numpy()[start : start + pixels.nbytes] = pixels.ravel().view(np.uint8)
        with self._lock:
            self._table[number] = torch.tensor([start, *pixels.shape])


class ImageSource:
    """The images of one domain by index, each decoded when it is first asked for.

    Args:
        images: where they are.
        loading: how to decode them.
        memory: keeps decoded images.
        contents: knows what was read before.
        first: the number of the first of them in ``memory`` and ``contents``.
    """

    def __init__(
        self, images: Sequence[ImageLike], loading: Loading, memory: PixelMemory, contents: Contents, first: int = 0
    ) -> None:
        self.images, self.memory, self.first = images, memory, first
        self._loading, self._dtype, self._contents = loading, loading.dtype, contents

    @property
    def loading(self) -> Loading:
        """How they are decoded."""
        return self._loading

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnyPixels:
        """The image (H, W, C) at the load size.

        Raises:
            ChangedImage: it has other contents than when the run first read it.
            DataError: it cannot be read.
        """
        pixels = self.memory.get(self.first + index, self._dtype)
        if pixels is None:
            image = self.images[index]
            pixels = self._loading.read(image)
            self._contents.check(self.first + index, image)
            self.memory.put(self.first + index, pixels)
        return pixels

    def require_unreadable(self, index: int) -> None:
        """Asks of an image that is not what it was whether it is damaged, or another one.

        Raises:
            ChangedImage: another one.
            DataError: it cannot be read.
        """
        self._loading.read(self.images[index])
        raise changed(self.images[index])


class ImageStore:
    """The readable images of a small part, all read at once. Unreadable ones are left out and kept in ``skipped``."""

    def __init__(self, images: Sequence[ImageLike], loading: Loading, budget: int, progress: Progress) -> None:
        """Reads every image once.

        ``numbers`` holds the readable images' places in ``images``.

        Args:
            images: the files.
            loading: how to decode them.
            budget: how many bytes may be kept in memory; images beyond it are decoded again at each use.
            progress: wraps the images as they are decoded.
        """
        self.images: list[ImageLike] = []
        self.numbers: list[int] = []
        self.skipped: list[DataError] = []
        self._loading = loading
        self._kept: list[AnyPixels] = []
        room = budget
        for number, pixels in enumerate(progress(attempted(loading.read, images))):
            if isinstance(pixels, DataError):
                self.skipped.append(pixels)
                continue
            self.images.append(images[number])
            self.numbers.append(number)
            room -= pixels.nbytes
            if room >= 0:
                self._kept.append(pixels)

    @property
    def loading(self) -> Loading:
        """How they are decoded."""
        return self._loading

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnyPixels:
        """The image (H, W, C) at the load size."""
        return self._kept[index] if index < len(self._kept) else self._loading.read(self.images[index])


def resized(pixels: AnyPixels, size: int, fit: Fit, *, is_plain: bool = True) -> AnyPixels:
    """Bicubic, antialiased resizing of (H, W, C) by the rule ``fit`` of ``Loading``."""
    height, width, channels = pixels.shape
    target = _target(width, height, size, fit)
    if target == (width, height):
        return pixels
    if is_plain:
        return from_pil(to_pil(pixels).resize(target, Image.Resampling.BICUBIC), channels)
    made = np.empty((target[1], target[0], channels), np.float32)
    for channel in range(channels):
        plane = Image.fromarray(pixels[..., channel].astype(np.float32))
        made[..., channel] = np.asarray(plane.resize(target, Image.Resampling.BICUBIC))
    np.clip(made, pixels.min(), pixels.max(), out=made)  # bicubic filters overshoot at edges
    if pixels.dtype == np.float32:
        return made
    return np.rint(made, out=made).astype(pixels.dtype)


def _target(width: int, height: int, size: int, fit: Fit) -> tuple[int, int]:
    scale = size / min(height, width)
    return (size, size) if fit == "square" else (max(size, round(width * scale)), max(size, round(height * scale)))


def attempted(
    read: Callable[[Item], Read], images: Sequence[Item], at_once: int = AT_ONCE
) -> Iterator[Read | DataError]:
    """What ``read`` makes of each image, ``at_once`` in threads, or the error that it raises."""

    def result(image: Item) -> Read | DataError:
        try:
            return read(image)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        # In slices, so that decoded images do not pile up in front of a slow consumer.
        for start in range(0, len(images), at_once):
            yield from pool.map(result, images[start : start + at_once])
