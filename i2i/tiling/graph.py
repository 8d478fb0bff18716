"""Translates an image of any size tile by tile with the graph of a file, to what the whole image would give.

As ``inference/tiles.py`` does with a network: the file says what parts its graph has, and each is computed for one tile
after another, over a window that is larger by the part's margin. A part ends at each norm over the whole map, which is
computed here, by the statistics of the whole map. Maps between parts are on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from i2i.data.ranges import Values
from i2i.errors import DataError
from i2i.storage.scratch import ScratchRows
from i2i.tiling.boxes import Box, Tile, tiles_of
from i2i.tiling.moments import Moments
from i2i.tiling.thumbnail import thumbnail

LARGEST_SIDE = 65_536
"""Of what a file may say of its sizes."""
Indices = NDArray[np.intp]
Compute = Callable[[Mapping[str, Values]], Values]
"""Computes a value of a graph from others, by their names."""


@dataclass(frozen=True)
class GraphNorm:
    """A norm over the whole map, but for factors that it has learnt.

    Attributes:
        number: norms of one number have the same statistics.
        given: the value that it normalises,
        made: and what that becomes.
        eps: added to the variance.
        over_channels: whether its statistics are those of all channels together.
    """

    number: int
    given: str
    made: str
    eps: float
    over_channels: bool


@dataclass(frozen=True)
class GraphPart:
    """A part of a graph, as ``Part`` in ``networks/base.py``; maps are names of values.

    Attributes:
        inputs: the maps that it reads.
        output: the map that it makes.
        margin: how much larger a window is than its tile on each side, in pixels of the image.
        grid: tiles begin and end at multiples of this.
        norms: in the order in which it comes to them.
    """

    inputs: tuple[str, ...]
    output: str
    margin: int
    grid: int
    norms: tuple[GraphNorm, ...]

    def renamed(self, names: Mapping[str, str]) -> GraphPart:
        """The same with other names for some of the values."""
        norms = tuple(
            replace(norm, given=names.get(norm.given, norm.given), made=names.get(norm.made, norm.made))
            for norm in self.norms
        )
        inputs = tuple(names.get(name, name) for name in self.inputs)
        return replace(self, inputs=inputs, output=names.get(self.output, self.output), norms=norms)


def require_parts(parts: Sequence[GraphPart], image: str, output: str, multiple: int) -> None:
    """Raises ValueError for parts of no graph with this input and output."""
    made = {image}
    for part in parts:
        sizes = part.margin, part.grid
        if not all(type(size) is int and 0 <= size <= LARGEST_SIDE for size in sizes) or not part.grid:
            raise ValueError("impossible sizes of parts")
        fits = part.margin % part.grid == multiple % part.grid == 0
        if not fits or not part.inputs or not made.issuperset(part.inputs):
            raise ValueError("impossible parts")
        if not all(type(norm.number) is int and norm.eps >= 0 for norm in part.norms):
            raise ValueError("impossible norms")
        made.add(part.output)
    if parts and parts[-1].output != output:
        raise ValueError("impossible parts")


@dataclass(frozen=True)
class CutGraph:
    """A graph whose parts can be computed alone.

    Attributes:
        image: the name of its input for the image.
        parts: in the order in which they run.
        cut: for a value, the names of what it needs of given ones, and what computes it from these.
    """

    image: str
    parts: Sequence[GraphPart]
    cut: Callable[[Collection[str], str], tuple[Sequence[str], Compute]]


class UnitWindows(Protocol):
    """An image and its translation, in [-1, 1].

    Attributes:
        height: of both.
        width: of both.
    """

    height: int
    width: int

    def read(self, box: Box) -> Values:
        """The image in ``box``: (1, C, h, w)."""

    def write(self, box: Box, made: Values) -> None:
        """Puts ``made``, (1, C', h, w), at ``box`` of the translation."""


class Reduced:
    """An image in memory, (1, C, H, W), whose translation nobody needs."""

    def __init__(self, image: Values) -> None:
        self._image = image
        self.height, self.width = image.shape[2:]

    def read(self, box: Box) -> Values:
        return self._image[:, :, box.top : box.bottom, box.left : box.right]

    def write(self, box: Box, made: Values) -> None:
        """Does nothing."""


def reduced(image: UnitWindows, side: int) -> Reduced:
    """A thumbnail of an image."""

    def rows(top: int, bottom: int) -> Values:
        return image.read(Box(top, bottom, 0, image.width))

    return Reduced(thumbnail(rows, image.height, image.width, side))


@dataclass(frozen=True)
class PaddedImage:
    """An image as a graph takes it.

    Attributes:
        windows: of the image itself.
        rows: the numbers of its rows, with those of its padding.
        columns: the same of its columns.
        draws: the random inputs for its size, by name: (C, h, w), or (C, 1, 1) for all places.
    """

    windows: UnitWindows
    rows: Indices
    columns: Indices
    draws: Mapping[str, Values]

    def read(self, box: Box) -> Values:
        """What is in ``box``, (1, C, h, w)."""
        rows, columns = self.rows[box.top : box.bottom], self.columns[box.left : box.right]
        top, left = int(rows.min()), int(columns.min())
        read = self.windows.read(Box(top, int(rows.max()) + 1, left, int(columns.max()) + 1))
        return np.ascontiguousarray(read[:, :, rows - top][..., columns - left])

    def write(self, box: Box, made: Values) -> None:
        """Puts ``made``, (1, C', h, w), at ``box``, but for what is padding."""
        own = box.within(self.windows.height, self.windows.width)
        self.windows.write(own, made[..., : own.bottom - own.top, : own.right - own.left])


class TiledGraph:
    """The translation of one image by tiles; ``work`` does it.

    Args:
        graph: what translates.
        image: the image.
        side: of a tile, in pixels, and such as the graph takes.
        overlap: by how many pixels a window is larger than its tile on each side, instead of the parts' margins.
        small: an image that has the statistics of norms in the place of ``image``.

    Attributes:
        steps: how many there are.
    """

    def __init__(
        self,
        graph: CutGraph,
        image: PaddedImage,
        side: int,
        overlap: int | None = None,
        small: PaddedImage | None = None,
    ) -> None:
        self._graph, self._image, self._overlap = graph, image, overlap
        self._side, self._size = side, (len(image.rows), len(image.columns))
        self._maps: dict[str, DiskMap] = {}
        self._factors: dict[int, tuple[Values, Values]] = {}
        self._computes: dict[str, tuple[Sequence[str], Compute]] = {}
        self._small = None if small is None else TiledGraph(graph, small, max(self._size))
        norms = {norm.number for part in graph.parts for norm in part.norms}
        tiles = -(-self._size[0] // self._side) * -(-self._size[1] // self._side)
        self.steps: int = tiles * (len(graph.parts) + (0 if self._small else len(norms)))
        self.steps += self._small.steps if self._small else 0

    def work(self) -> Iterator[None]:
        """Translates; yields after each of the steps.

        Raises:
            DataError: the disk has no room for the maps, or the parts are not those of the graph.
        """
        if self._small is not None:
            yield from self._small.work()
            self._factors = self._small._factors
        parts = self._graph.parts
        try:
            for number, part in enumerate(parts):
                self._computes = {}  # of the part before, which hold memory
                for norm in part.norms:
                    if norm.number not in self._factors:
                        yield from self._settle(part, norm)
                yield from self._make(part)
                needed = {name for later in parts[number + 1 :] for name in later.inputs}
                for name in self._maps.keys() - needed:
                    self._maps.pop(name).close()
        except MemoryError:
            raise DataError("not enough memory for a tile: use smaller ones") from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of shapes, above all
            raise DataError(f"cannot be translated by tiles ({' '.join(str(error).split())[:200]})") from None
        finally:
            for kept in self._maps.values():
                kept.close()

    def _settle(self, part: GraphPart, norm: GraphNorm) -> Iterator[None]:
        """Finds the statistics of a norm, by a pass over all tiles."""
        moments = Moments()
        for tile in self._tiles(part):
            given = tile.inner(self._value(norm.given, self._before(part, norm, tile), tile))[0]
            mean = given.mean((1, 2), dtype=np.float64)
            apart = given - mean.astype(np.float32)[:, None, None]
            moments.add(given[0].size, mean, np.square(apart, out=apart).mean((1, 2), dtype=np.float64))
            yield
        self._factors[norm.number] = moments.factors(norm.eps, over_channels=norm.over_channels)

    def _make(self, part: GraphPart) -> Iterator[None]:
        """Computes the map that a part makes."""
        new: DiskMap | None = None
        try:
            for tile in self._tiles(part):
                made = tile.inner(self._value(part.output, self._before(part, None, tile), tile))
                if part is self._graph.parts[-1]:
                    self._image.write(tile.core, made)
                else:
                    new = new or DiskMap(made.shape[1], (tile.core.bottom - tile.core.top) // made.shape[2], self._size)
                    new.write(tile.core, made)
                yield
        except BaseException:
            if new is not None:
                new.close()
            raise
        if new is not None:
            self._maps[part.output] = new

    def _before(self, part: GraphPart, until: GraphNorm | None, tile: Tile) -> dict[str, Values]:
        """The values in the window of a tile, from the inputs of its part to what the norm before ``until`` makes."""
        values = {name: self._read(name, tile.window) for name in part.inputs}
        for norm in part.norms:
            if norm is until:
                break
            mean, scale = self._factors[norm.number]
            values[norm.made] = self._value(norm.given, values, tile) - mean
            values[norm.made] *= scale
        return values

    def _value(self, name: str, values: Mapping[str, Values], tile: Tile) -> Values:
        """The value of that name in the window of a tile."""
        if name in values:
            return values[name]
        if name not in self._computes:
            self._computes[name] = self._graph.cut(values.keys(), name)
        inputs, compute = self._computes[name]
        return compute({one: values[one] if one in values else self._read(one, tile.window) for one in inputs})

    def _tiles(self, part: GraphPart) -> Iterator[Tile]:
        return tiles_of(*self._size, self._side, part.margin, part.grid, self._overlap)

    def _read(self, name: str, box: Box) -> Values:
        """A map, the image, or a random input in ``box``."""
        if name == self._graph.image:
            return self._image.read(box)
        if name in self._maps:
            return self._maps[name].read(box)
        drawn = self._image.draws[name]
        if drawn.shape[1:] == (1, 1):
            return drawn
        top, bottom, left, right = box.over(self._size[0] // drawn.shape[1])
        return drawn[:, top:bottom, left:right]


class DiskMap:
    """A map (1, C, H, W) on the disk, until it is closed; ``size`` is that of the image, ``scale`` times as large."""

    def __init__(self, channels: int, scale: int, size: tuple[int, int]) -> None:
        self._scale = scale
        height, width = (side // scale for side in size)
        self._rows = ScratchRows(height, width, 4 * channels, "a feature map")

    def read(self, box: Box) -> Values:
        """The map in ``box``, in pixels of the image: (1, C, h, w)."""
        pixels = self._rows.read(*box.over(self._scale)).view(np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

    def write(self, box: Box, part: Values) -> None:
        """Puts ``part``, (1, C, h, w), at ``box``, in pixels of the image."""
        top, _, left, _ = box.over(self._scale)
        self._rows.write(top, left, np.ascontiguousarray(part[0].transpose(1, 2, 0)).view(np.uint8))

    def close(self) -> None:
        """Gives the space back."""
        self._rows.close()
