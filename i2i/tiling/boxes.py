"""Tiles of an image, and the windows that they are computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

Map = TypeVar("Map", bound=Any)  # a tensor, or an array


class Box(NamedTuple):
    """A rectangle, in pixels of the image; ``bottom`` and ``right`` are outside."""

    top: int
    bottom: int
    left: int
    right: int

    def over(self, scale: int) -> Box:
        """The same in pixels of a map, each of which is ``scale`` pixels of the image wide."""
        return Box(*(edge // scale for edge in self))

    def grown(self, margin: int, height: int, width: int) -> Box:
        """With ``margin`` more on each side, as far as the image reaches."""
        top, bottom, left, right = self
        return Box(max(top - margin, 0), bottom + margin, max(left - margin, 0), right + margin).within(height, width)

    def within(self, height: int, width: int) -> Box:
        """What of it is in an image of this size; nothing where all of it is below or to the right."""
        top, bottom, left, right = self
        return Box(min(top, height), min(bottom, height), min(left, width), min(right, width))


class Tile(NamedTuple):
    """What a tile makes, ``core``, and what it is computed from, ``window``."""

    core: Box
    window: Box

    def inner(self, x: Map) -> Map:
        """Of x, a map of the window, what belongs to the core: (N, C, H, W) at any scale."""
        scale = (self.window.bottom - self.window.top) // x.shape[2]
        core, (top, _, left, _) = self.core.over(scale), self.window.over(scale)
        inner: Map = x[:, :, core.top - top : core.bottom - top, core.left - left : core.right - left]
        return inner


def tiles_of(height: int, width: int, side: int, margin: int, grid: int, overlap: int | None) -> Iterator[Tile]:
    """The tiles of an image.

    Args:
        height: of the image.
        width: of the image.
        side: of a tile; a multiple of ``grid``.
        margin: by how much a window is larger than its tile on each side; a multiple of ``grid``.
        grid: at multiples of this, tiles and windows begin and end.
        overlap: instead of ``margin``, where there is one.
    """
    if overlap is not None and margin:
        # With less, a window at the border could be smaller than what the network takes.
        margin = max(grid, -(-overlap // grid) * grid)
    for top in range(0, height, side):
        for left in range(0, width, side):
            core = Box(top, min(top + side, height), left, min(left + side, width))
            yield Tile(core, core.grown(margin, height, width))
