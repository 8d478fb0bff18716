"""Translates an image of any size tile by tile, to what the whole image would give, up to rounding.

A network says what parts it has (``Translator.parts_for_tiles``). Each part is computed for one tile after another,
over a window that is larger than the tile by the part's margin, so that the padding at the borders of tiles, which only
those of the image should have, does not reach what is kept. Norms get the statistics of the whole map first, by a pass
over the tiles each; or, where that is asked for, those of a reduced copy, which are close. Maps between parts are on
the disk, so that memory does not grow with the image.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Generator, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from i2i.data.batches import to_unit
from i2i.data.ranges import Values
from i2i.inference.maps import DiskMap
from i2i.inference.padding import padding_to
from i2i.inference.whole_layers import Unsettled, WholeNorm, over_tiles
from i2i.inference.windows import TensorWindows, Windows
from i2i.networks.base import IMAGE, OUTPUT, Part, Translator
from i2i.tiling.boxes import Box, tiles_of
from i2i.tiling.settings import Tiles
from i2i.tiling.thumbnail import thumbnail


class TiledImage:
    """The translation of one image by tiles; ``work`` does it.

    Args:
        generator: a network with parts, ready for inference; it is not changed.
        image: is read, and its translation written, window by window.
        tiles: by which; an overlap takes the place of the parts' margins.
        device: where the generator is.

    Attributes:
        steps: how many there are.
    """

    steps: int

    def __init__(self, generator: Translator, image: Windows, tiles: Tiles, device: torch.device) -> None:
        self._image, self._overlap, self._device = image, tiles.overlap, device
        shared = {id(tensor): tensor for tensor in (*generator.parameters(), *generator.buffers())}
        network = copy.deepcopy(generator, shared)
        height, width = image.height, image.width
        bottom, right, mode = padding_to(height, width, generator.multiple, generator.minimum)
        self._layers = over_tiles(network, height + bottom, width + right)
        self._parts = network.parts_for_tiles()
        self._rows, self._columns = _indices(height, bottom, mode), _indices(width, right, mode)
        self._side = -(-tiles.side // generator.multiple) * generator.multiple
        self._maps: dict[str, DiskMap] = {}
        self._new: DiskMap | None = None
        count = -(-len(self._rows) // self._side) * -(-len(self._columns) // self._side)
        self._norms = [layer for layer in self._layers if isinstance(layer, WholeNorm)]
        self._small = self._reduced(generator) if tiles.statistics == "thumbnail" else None
        passes = len(self._parts) + (0 if self._small else len(self._norms))
        self.steps = count * passes + (self._small.steps if self._small else 0)

    def work(self) -> Iterator[None]:
        """Translates; yields after each of the steps.

        Raises:
            DataError: the disk has no room for the maps.
        """
        if self._small is not None:
            yield from self._small.work()
            for own, of_small in zip(self._norms, self._small._norms, strict=True):
                own.settle_as(of_small)
        try:
            for number, part in enumerate(self._parts):
                while (norm := (yield from self._pass(part))) is not None:
                    norm.settle()
                self._replace(part, {name for later in self._parts[number + 1 :] for name in later.inputs})
        finally:
            for kept in (*self._maps.values(), *filter(None, [self._new])):
                kept.close()

    def _reduced(self, generator: Translator) -> TiledImage:
        """The translation of a thumbnail, which is one tile."""
        height, width = self._image.height, self._image.width

        def rows(top: int, bottom: int) -> Values:
            made: Values = self._read(IMAGE, Box(top, bottom, 0, width)).float().cpu().numpy()
            return made

        small = torch.from_numpy(thumbnail(rows, height, width, self._side))[0]
        return TiledImage(generator, TensorWindows(small), Tiles(self._side), self._device)

    def _pass(self, part: Part) -> Generator[None, None, WholeNorm | None]:
        """Computes all tiles of ``part``, or as far as a norm without statistics, which is returned."""
        unsettled: WholeNorm | None = None
        size = len(self._rows), len(self._columns)
        for tile in tiles_of(*size, self._side, part.margin, part.grid, self._overlap):
            for layer in self._layers:
                layer.tile = tile
            try:
                made = part.compute(*(self._read(name, tile.window) for name in part.inputs))
                self._write(part, tile.inner(made), tile.core)
            except Unsettled as reached:
                unsettled = reached.norm
            yield
        return unsettled

    def _read(self, name: str, box: Box) -> Tensor:
        """The map ``name`` in ``box``: (1, C, h, w), on the device."""
        if name != IMAGE:
            return self._maps[name].read(box).to(self._device)
        rows, columns = self._rows[box.top : box.bottom], self._columns[box.left : box.right]
        top, left = int(rows.min()), int(columns.min())
        part = self._image.read(Box(top, int(rows.max()) + 1, left, int(columns.max()) + 1))
        return to_unit(part[:, rows - top][:, :, columns - left][None], self._device)

    def _write(self, part: Part, made: Tensor, core: Box) -> None:
        if part.output == OUTPUT:
            box = core.within(self._image.height, self._image.width)
            values = made.float().clamp(-1, 1)[0].permute(1, 2, 0)
            self._image.write(box, values[: box.bottom - box.top, : box.right - box.left])
            return
        if self._new is None:
            scale = (core.bottom - core.top) // made.shape[2]
            self._new = DiskMap(made, scale, len(self._rows), len(self._columns))
        self._new.write(core, made)

    def _replace(self, part: Part, needed: Container[str]) -> None:
        """Keeps the map that ``part`` has made, and closes those that no later part reads."""
        if self._new is not None:
            made, self._new = self._new, None
            if part.output in self._maps:
                self._maps.pop(part.output).close()
            self._maps[part.output] = made
        for name in [name for name in self._maps if name not in needed]:
            self._maps.pop(name).close()


def _indices(length: int, more: int, mode: str) -> Tensor:
    """The indices that pad an axis of ``length`` by ``more``."""
    return pad(torch.arange(length, dtype=torch.float64)[None, None], (0, more), mode=mode)[0, 0].long()
