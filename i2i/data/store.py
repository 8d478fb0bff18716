"""Decoded pictures of one domain at the load size, kept in memory as uint8 where they fit a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image

from i2i.data.images import MODES, Pixels, from_pil, to_pil
from i2i.errors import ConfigError, DataError

Fit = Literal["square", "shorter"]
Progress = Callable[[Iterable[Pixels | DataError]], Iterable[Pixels | DataError]]


class Picture(Protocol):
    """What a store holds: a file, a part of one, or an array."""

    @property
    def name(self) -> Path:
        """What tells it from the others, as a path below the data's root."""

    def read(self, channels: int, background: tuple[int, int, int]) -> Pixels:
        """Decodes to (H, W, channels), uint8; raises DataError."""


@dataclass(frozen=True)
class Loading:
    """How a picture is decoded: its channels, and the size it is brought to.

    ``fit``: "square" squeezes it to load_size x load_size as the papers do; "shorter" keeps the aspect ratio and
    brings the shorter side to load_size.

    Raises:
        ConfigError: a number of channels that pictures do not have.
    """

    channels: int
    load_size: int
    fit: Fit
    background: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ConfigError(f"data.channels_a or channels_b is {self.channels}: pictures have 1, 3 or 4 channels")

    def read(self, picture: Picture) -> Pixels:
        """Decodes and resizes (bicubic, antialiased) to (H, W, C).

        Raises:
            DataError: the picture cannot be read.
        """
        return resized(picture.read(self.channels, self.background), self.load_size, self.fit)


class PictureStore:
    """The readable pictures of one domain, by index. Unreadable ones are left out and kept in ``skipped``."""

    def __init__(self, pictures: Sequence[Picture], loading: Loading, budget: int, progress: Progress) -> None:
        """Reads every picture once, so that an unreadable one is known before training and not in the middle of it.

        ``numbers`` holds the readable pictures' places in ``pictures``.

        Args:
            pictures: the files.
            loading: how to decode them.
            budget: how many bytes may be kept in memory; beyond that, pictures are decoded again at each use.
            progress: wraps the pictures as they are decoded.
        """
        self.pictures: list[Picture] = []
        self.numbers: list[int] = []
        self.skipped: list[DataError] = []
        self._loading = loading
        self._shapes: list[tuple[int, int, int]] = []
        kept: list[Pixels] | None = []
        size = 0
        for number, pixels in enumerate(progress(_decode_all(pictures, loading))):
            if isinstance(pixels, DataError):
                self.skipped.append(pixels)
                continue
            self.pictures.append(pictures[number])
            self.numbers.append(number)
            self._shapes.append(pixels.shape)
            size += pixels.nbytes
            if size > budget:
                kept = None
            if kept is not None:
                kept.append(pixels)
        self._starts = np.cumsum([0, *(int(np.prod(shape)) for shape in self._shapes)])
        # A tensor: torch hands it to loader workers without a copy, however they are started.
        self._block = None if kept is None else torch.empty(size, dtype=torch.uint8)
        if self._block is not None and kept:
            np.concatenate([pixels.ravel() for pixels in kept], out=self._block.numpy())

    @property
    def in_memory(self) -> bool:
        """Whether all pictures are kept decoded."""
        return self._block is not None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Pixels:
        """The picture (H, W, C) at the load size."""
        if self._block is None:
            return self._loading.read(self.pictures[index])
        start, shape = self._starts[index], self._shapes[index]
        pixels: Pixels = self._block.numpy()[start : start + int(np.prod(shape))].reshape(shape)
        return pixels

    def shape(self, index: int) -> tuple[int, int, int]:
        """Height, width and channels of the picture at the load size."""
        return self._shapes[index]

    def only(self, numbers: set[int]) -> PictureStore:
        """A view of the pictures whose number in the list given at construction is in ``numbers``."""
        kept = [index for index, number in enumerate(self.numbers) if number in numbers]
        view = copy(self)
        view.pictures, view.numbers = [self.pictures[i] for i in kept], [self.numbers[i] for i in kept]
        view._shapes, view._starts = [self._shapes[i] for i in kept], self._starts[kept]
        return view


def resized(pixels: Pixels, size: int, fit: Fit) -> Pixels:
    """Bicubic, antialiased resizing of (H, W, C) by the rule ``fit`` of ``Loading``."""
    height, width, channels = pixels.shape
    scale = size / min(height, width)
    target = (size, size) if fit == "square" else (max(size, round(width * scale)), max(size, round(height * scale)))
    if target == (width, height):
        return pixels
    return from_pil(to_pil(pixels).resize(target, Image.Resampling.BICUBIC), channels)


def _decode_all(pictures: Sequence[Picture], loading: Loading) -> Iterator[Pixels | DataError]:
    def decode(picture: Picture) -> Pixels | DataError:
        try:
            return loading.read(picture)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        # In slices, so that decoded pictures do not pile up in front of a slow consumer.
        for start in range(0, len(pictures), 256):
            yield from pool.map(decode, pictures[start : start + 256])
