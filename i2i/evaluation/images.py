"""Sets of images, (H, W, C) and uint8, each with what was computed of it: a set's features are computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.config.schema import Depth
from i2i.data.depth import as_shown
from i2i.data.heads import spread
from i2i.data.images import WHITE, Pixels, from_pil, to_pil
from i2i.data.store import ImageLike, ImageStore, Loading
from i2i.display import tracked

Computed = TypeVar("Computed")
Values = NDArray[np.float64]
BUDGET = 2**31
"""Bytes of decoded images that are kept of one set; those beyond are decoded again at each use."""


class ImageSet(Sequence[Pixels]):
    """Images in a fixed order.

    Args:
        images: (H, W, C), uint8.
        labels: the number of each one's label, where there are labels.
        numbers: the place of each in what they were read from; by default they are all of it.
        real: whether they are images of a data set, and no model's: others will ask for their features.

    Attributes:
        whole: the set that this one is a part of, and the numbers of its images there.
    """

    def __init__(
        self,
        images: Sequence[Pixels] | ImageStore,
        labels: Sequence[int] = (),
        numbers: Sequence[int] | None = None,
        *,
        real: bool = False,
    ) -> None:
        self._images, self.labels, self.real = images, tuple(labels), real
        self.whole: tuple[ImageSet, list[int]] | None = None
        self.numbers = tuple(range(len(images)) if numbers is None else numbers)
        self._computed: dict[Hashable, object] = {}

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pixels]: ...
    def __getitem__(self, index: int | slice) -> Pixels | list[Pixels]:
        if isinstance(index, slice):
            return [self._images[i] for i in range(*index.indices(len(self)))]
        if index >= len(self):
            raise IndexError(index)
        return self._images[index]

    def once(self, what: Hashable, compute: Callable[[ImageSet], Computed]) -> Computed:
        """``compute`` of these images, which is remembered as ``what``."""
        if what not in self._computed:
            self._computed[what] = compute(self)
        return self._computed[what]  # type: ignore[return-value]

    def part(self, numbers: Iterable[int]) -> ImageSet:
        """The images of these numbers, as a set of their own."""
        chosen = list(numbers)
        labels = [self.labels[i] for i in chosen] if self.labels else ()
        part = ImageSet([self[i] for i in chosen], labels, real=self.real)
        part.whole = self, chosen
        return part


def shown_as_8_bit(images: ImageSet, depth: Depth) -> ImageSet:
    """The images of a depth as people see them."""
    return ImageSet([as_shown(values, depth) for values in images], images.labels, real=images.real)


class RealImages:
    """Real images that are read when a metric asks for them.

    Attributes:
        skipped: why some could not be read, so far.
    """

    def __init__(self, images: Sequence[ImageLike], loading: Loading, labels: Sequence[int] = ()) -> None:
        self._images, self._loading, self._labels = images, loading, labels
        self._few: dict[int, ImageSet] = {}
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self._images)

    def few(self, count: int) -> ImageSet:
        """Up to ``count`` of them, evenly spread."""
        if count not in self._few:
            self._few[count] = self._read(spread(range(len(self)), count))
        return self._few[count]

    @cached_property
    def all(self) -> ImageSet:
        """All of them."""
        return self._read(range(len(self)))

    def _read(self, numbers: Sequence[int]) -> ImageSet:
        store = ImageStore(
            [self._images[i] for i in numbers], self._loading, BUDGET, tracked("reading training images", len(numbers))
        )
        self.skipped += [str(error) for error in store.skipped if str(error) not in self.skipped]
        places = [numbers[place] for place in store.numbers]
        labels = [self._labels[place] for place in places] if self._labels else ()
        depth = self._loading.depth
        shown = store if depth.is_plain else [as_shown(store[number], depth) for number in range(len(store))]
        return ImageSet(shown, labels, places, real=True)


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """An image (H, W, C) with another number of channels; alpha is composited on white."""
    return pixels if pixels.shape[2] == channels else from_pil(to_pil(pixels), channels, WHITE)


def as_rgb(pixels: Pixels) -> Pixels:
    """An image (H, W, C) as (H, W, 3)."""
    return with_channels(pixels, 3)


def squeezed(pixels: Pixels, size: int) -> Pixels:
    """An image (H, W, C) as (size, size, 3), by Pillow's antialiased bicubic filter."""
    rgb = as_rgb(pixels)
    if rgb.shape[:2] == (size, size):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC))


def unit_vectors(images: Sequence[Pixels], size: int) -> Values:
    """Images as rows of numbers in [0, 1]: (N, size * size * 3)."""
    rows = [squeezed(pixels, size).reshape(-1) for pixels in images]
    return np.stack(rows).astype(np.float64) / 255


def smallest_side(*sets: ImageSet) -> int:
    """The smallest height or width of any image of the sets."""
    return min(int(side) for images in sets for pixels in images for side in pixels.shape[:2])


def in_chunks(items: Sequence[Computed], size: int) -> Iterator[Sequence[Computed]]:
    """The items in order, up to ``size`` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
