"""Headers of image files: size and mode, read without decoding the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from i2i.bounds import MAX_PIXELS
from i2i.data.images import opened
from i2i.data.stored import PLAIN, Held, held_by

Item = TypeVar("Item")

HEADS = 256
"""How many headers of a domain are read when a run starts."""
GREY_MODES = frozenset({"1", "L", "I;16", "I;16B", "I;16L"})


class Head(NamedTuple):
    """Width and height in pixels as stored (before EXIF orientation), Pillow's mode, and what the values are."""

    width: int
    height: int
    mode: str
    held: Held = PLAIN


def read_head(path: Path, max_pixels: int = MAX_PIXELS) -> Head:
    """The header of the image at ``path``.

    Raises:
        DataError: no such file, its beginning is not that of an image, or it has more than ``max_pixels``.
    """
    with opened(path, max_pixels) as file:
        return Head(file.width, file.height, file.mode, held_by(file))


def head_sample(items: Sequence[Item]) -> list[Item]:
    """The items whose headers a start looks at: all of them up to 256, else 256 evenly spaced in their order."""
    return spread(items, HEADS)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of the items, evenly spread; all where there are no more."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)
