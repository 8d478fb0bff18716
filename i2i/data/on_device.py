"""Decoded images that lie on the training device, where batches are cut out of them (``data.on_device``).

The host draws which images a batch shows and where their crops lie, by the code of the usual path, and sends these
numbers alone. So batches have the same bits either way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.data.batches import NumberedBatches, as_tensor, beyond_8_bits, moved, reader
from i2i.data.identity import ChangedImage
from i2i.data.store import AT_ONCE, ImageLike, ImageSource, Loading, attempted
from i2i.data.transforms import Augmenter
from i2i.data.unreadable import ITEMS, Unreadable, UnreadableItems
from i2i.device import capabilities, free_memory, is_out_of_memory
from i2i.display import say, tracked
from i2i.errors import ConfigError, DataError
from i2i.kinds import AnyPixels

SIDES = {"pair": "a", "A": "a", "partner": "b", "B": "b", "mask": "mask"}
"""The part of a batch that shows the images of a stream."""
GIB = 2**30


class Rows:
    """The images of a stream, which show in place of their pixels the row of a table that has them."""

    def __init__(self, source: ImageSource, first: int, shape: tuple[int, int]) -> None:
        self.images, kept = source.images, source.loading
        # Numbers are passed on as 8-bit pixels are, whatever the depth of the images.
        self.loading = Loading(1, kept.load_size, kept.fit, kept.background)
        rows = np.arange(first, first + len(source))[:, None, None, None]
        self._rows = np.broadcast_to(rows, (len(source), *shape, 1))  # the shape takes no memory

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> AnyPixels:
        """(H, W, 1), int64."""
        row: AnyPixels = self._rows[index]
        return row


class Places(Augmenter):
    """Says of images from ``Rows`` where their crops lie."""

    def cropped(self, pixels: AnyPixels, seed: int) -> AnyPixels:
        """(1, 1, 4), int64: the row, the line that is the top, the first column, and the step to the next one."""
        top, left, mirrored = self.crop_of(pixels.shape, seed)
        first, step = (left + self.size - 1, -1) if mirrored else (left, 1)
        return np.array([[[pixels[0, 0, 0], top, first, step]]])


class Table:
    """The images of one side of batches: (N, C, H, W), uint8, or float32 in [-1, 1] where they are beyond 8 bits.

    Args:
        sources: the images by the stream that shows them; their rows are in this order.
        size: the side of crops, in pixels.
        unreadable: takes images that cannot be read.

    Raises:
        ChangedImage, DataError: as ``_read``; or none can be read.
    """

    def __init__(self, sources: Mapping[str, ImageSource], size: int, unreadable: UnreadableItems) -> None:
        self._sources, self._size, self._unreadable = sources, size, unreadable
        self._depth = beyond_8_bits(next(iter(sources.values())))
        self._dtype = torch.uint8 if self._depth is None else torch.float32
        self.count = sum(map(len, sources.values()))
        shapes = (pixels.shape for _, _, pixels in self._read(at_once=1))
        self._height, self._width, self._channels = next(shapes, (0, 0, 0))
        if not self._channels:
            raise DataError(f"none of {self.count:,} images can be read; first: {unreadable.reasons()[0]}")

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return math.prod((self.count, self._channels, self._height, self._width, self._dtype.itemsize))

    def rows(self) -> Iterator[tuple[str, Rows]]:
        """The images of each stream."""
        first = 0
        for stream, source in self._sources.items():
            yield stream, Rows(source, first, (self._height, self._width))
            first += len(source)

    def fill(self, device: torch.device) -> Iterator[int]:
        """Decodes all images and copies them to ``device``; gives the row of each.

        Raises:
            ChangedImage, DataError: as ``_read``.
            ConfigError: images of several shapes.
        """
        shape = self.count, self._channels, self._height, self._width
        self._images = torch.empty(shape, dtype=self._dtype, device=device)
        self._planes = torch.arange(self._channels, device=device)[:, None]
        self._along = torch.arange(self._size, device=device)
        for row, image, pixels in self._read():
            height, width = pixels.shape[:2]
            if (height, width) != (self._height, self._width):
                raise ConfigError(
                    f"data.on_device needs images of one shape, and at the load size {image.name} is {width}x{height} "
                    f"and others are {self._width}x{self._height}: set data.fit=square, or data.on_device=false"
                )
            self._images[row].copy_(as_tensor([pixels], self._depth)[0])
            yield row

    def crops(self, places: Tensor) -> Tensor:
        """The images (N, C, size, size) at ``places``, (4, N) as ``Places`` gives them."""
        row, top, first, step = places[..., None]
        lines = self._images[row[..., None], self._planes, (top + self._along)[:, None]]
        columns = (first + step * self._along)[:, None, None]
        return lines.gather(3, columns.expand(*lines.shape[:3], self._size))

    def _read(self, at_once: int = AT_ONCE) -> Iterator[tuple[int, ImageLike, AnyPixels]]:
        """Row, image and pixels (H, W, C) of all that can be read; takes note of the others.

        Raises:
            ChangedImage: one of them has other contents than before.
            DataError: too many cannot be read.
        """
        first = 0
        for stream, source in self._sources.items():
            item = ITEMS.get(stream, stream)
            wanted = [index for index in range(len(source)) if (item, index) not in self._unreadable]
            for index, pixels in zip(wanted, attempted(reader(source), wanted, at_once), strict=True):
                if isinstance(pixels, ChangedImage):
                    raise pixels
                if isinstance(pixels, DataError):
                    self._unreadable.add([Unreadable(item, index, str(pixels))])
                    self._unreadable.require_few()
                else:
                    yield first + index, source.images[index], pixels
            first += len(source)


class Tables:
    """The images of a run, for all sides of its batches.

    Args:
        sources: the images by the stream that shows them.
        size: the side of crops, in pixels.
        unreadable: as in ``Table``, as are errors.

    Attributes:
        nbytes: how many bytes they take.
        rows: the images as rows, by the stream that shows them.
    """

    def __init__(self, sources: Mapping[str, ImageSource], size: int, unreadable: UnreadableItems) -> None:
        by_side: dict[str, dict[str, ImageSource]] = {}
        for stream, source in sources.items():
            by_side.setdefault(SIDES[stream], {})[stream] = source
        self._tables = {side: Table(streams, size, unreadable) for side, streams in by_side.items()}
        self._unreadable, self._filled = unreadable, False
        self.nbytes = sum(table.nbytes for table in self._tables.values())
        self.rows = dict(itertools.chain.from_iterable(table.rows() for table in self._tables.values()))

    def require_room(self, device: torch.device) -> None:
        """Raises ConfigError where ``device`` has no room for them."""
        if self.nbytes > free_memory(device):
            raise self._too_large(device)

    def batches(self, plan: NumberedBatches, start: int, device: torch.device) -> Iterator[Batch]:
        """Endless batches from number ``start`` on; before this returns, all images are copied to ``device``.

        Args:
            plan: numbered batches of ``rows``, augmented by ``Places``.
            start: the number of the first one.
            device: where they are.

        Raises:
            ChangedImage, ConfigError, DataError: as ``Table.fill``.
        """
        if not self._filled:
            count = sum(table.count for table in self._tables.values())
            fill = itertools.chain.from_iterable(table.fill(device) for table in self._tables.values())
            try:
                for _ in tracked("decoding", count)(fill):
                    pass
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise self._too_large(device) from None
            self._filled = True
            say(f"{count:,} decoded images are kept on {device.type}: {self.nbytes / GIB:.3g} GiB")
        return self._cut_out(plan, start, device)

    def _too_large(self, device: torch.device) -> ConfigError:
        return ConfigError(
            f"data.on_device: the decoded images take {self.nbytes / GIB:.3g} GiB, and {device.type} has "
            f"{free_memory(device) / GIB:.3g} GiB free: lower data.load_size, or set data.on_device=false"
        )

    def _cut_out(self, plan: NumberedBatches, start: int, device: torch.device) -> Iterator[Batch]:
        for number in itertools.count(start):
            raw: Any = plan[number]
            self._unreadable.add(raw.unreadable)
            numbers = {name: each for name, each in raw._asdict().items() if isinstance(each, Tensor)}
            there = copied_together(numbers, device)
            there |= {side: table.crops(there[side]) for side, table in self._tables.items()}
            yield moved(raw._replace(**there), device)


def copied_together(numbers: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Integers (N,) and (N, K, ...) on ``device`` as (N,) and (K, N), by one copy, for which the host does not wait."""
    rows = [each.reshape(len(each), -1).T for each in numbers.values()]
    packed = torch.cat(rows)
    if capabilities(device).pins:
        packed = packed.pin_memory()
    parts = packed.to(device, non_blocking=True).split_with_sizes([len(each) for each in rows])
    return {
        name: part if each.ndim > 1 else part[0].to(each.dtype)
        for (name, each), part in zip(numbers.items(), parts, strict=True)
    }
