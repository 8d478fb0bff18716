"""Translates an image of any size tile by tile, to what the whole image would give, up to rounding.

A network says what parts it has (``Translator.parts_for_tiles``). Each part is computed for one tile after another,
over a window that is larger than the tile by the part's margin, so that the padding at the borders of tiles, which only
those of the image should have, does not reach what is kept. Norms get the statistics of the whole map first, by a pass
over the tiles each. Maps between parts are on the disk, so that memory does not grow with the image.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Generator, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from i2i.data.batches import from_unit, to_unit
from i2i.inference.maps import DiskMap
from i2i.inference.padding import padding_to
from i2i.inference.whole_layers import Box, Tile, Unsettled, WholeNorm, over_tiles
from i2i.networks.base import IMAGE, OUTPUT, Part, Translator


class TiledImage:
    """The translation of one image by tiles; ``work`` does it.

    Args:
        generator: a network with parts, ready for inference; it is not changed.
        image: (C, H, W), uint8 or float in [-1, 1].
        side: of a tile, in pixels; it is rounded up to what the network takes.
        overlap: by how many pixels a window is larger than its tile on each side, instead of the parts' margins.
        device: where the generator is.

    Attributes:
        output: (H, W, C') of the type of the image, once the work is done.
        steps: how many there are.
    """

    output: Tensor

    def __init__(
        self, generator: Translator, image: Tensor, side: int, overlap: int | None, device: torch.device
    ) -> None:
        self._image, self._overlap, self._device = image, overlap, device
        shared = {id(tensor): tensor for tensor in (*generator.parameters(), *generator.buffers())}
        network = copy.deepcopy(generator, shared)
        height, width = image.shape[1:]
        bottom, right, mode = padding_to(height, width, generator.multiple, generator.minimum)
        self._layers = over_tiles(network, height + bottom, width + right)
        self._parts = network.parts_for_tiles()
        self._rows, self._columns = _indices(height, bottom, mode), _indices(width, right, mode)
        self._side = -(-side // generator.multiple) * generator.multiple
        self._maps: dict[str, DiskMap] = {}
        self._new: DiskMap | None = None
        tiles = -(-len(self._rows) // self._side) * -(-len(self._columns) // self._side)
        norms = sum(isinstance(layer, WholeNorm) for layer in self._layers)
        self.steps = tiles * (len(self._parts) + norms)

    def work(self) -> Iterator[None]:
        """Translates; yields after each of the steps.

        Raises:
            DataError: the disk has no room for the maps.
        """
        try:
            for number, part in enumerate(self._parts):
                while (norm := (yield from self._pass(part))) is not None:
                    norm.settle()
                self._replace(part, {name for later in self._parts[number + 1 :] for name in later.inputs})
        finally:
            for kept in (*self._maps.values(), *filter(None, [self._new])):
                kept.close()

    def _pass(self, part: Part) -> Generator[None, None, WholeNorm | None]:
        """Computes all tiles of ``part``, or as far as a norm without statistics, which is returned."""
        unsettled: WholeNorm | None = None
        for tile in self._tiles(part):
            for layer in self._layers:
                layer.tile = tile
            try:
                made = part.compute(*(self._read(name, tile.window) for name in part.inputs))
                self._write(part, tile.inner(made), tile.core)
            except Unsettled as reached:
                unsettled = reached.norm
            yield
        return unsettled

    def _tiles(self, part: Part) -> Iterator[Tile]:
        height, width = len(self._rows), len(self._columns)
        margin = part.margin
        if self._overlap is not None and margin:
            # With less, a window at the border could be smaller than what the network takes.
            margin = max(part.grid, -(-self._overlap // part.grid) * part.grid)
        for top in range(0, height, self._side):
            for left in range(0, width, self._side):
                core = Box(top, min(top + self._side, height), left, min(left + self._side, width))
                yield Tile(core, core.grown(margin, height, width))

    def _read(self, name: str, box: Box) -> Tensor:
        """The map ``name`` in ``box``: (1, C, h, w), on the device."""
        if name != IMAGE:
            return self._maps[name].read(box).to(self._device)
        rows, columns = self._rows[box.top : box.bottom], self._columns[box.left : box.right]
        first, last = int(columns.min()), int(columns.max())
        part = self._image[:, :, first : last + 1][:, rows][:, :, columns - first]
        return to_unit(part[None], self._device)

    def _write(self, part: Part, made: Tensor, core: Box) -> None:
        height, width = self._image.shape[1:]
        if part.output != OUTPUT:
            if self._new is None:
                scale = (core.bottom - core.top) // made.shape[2]
                self._new = DiskMap(made, scale, len(self._rows), len(self._columns))
            self._new.write(core, made)
            return
        made = made.float().clamp(-1, 1)[0].permute(1, 2, 0)
        if not self._image.is_floating_point():
            made = from_unit(made)
        if not hasattr(self, "output"):
            self.output = torch.empty(height, width, made.shape[2], dtype=made.dtype)
        place = self.output[core.top : core.bottom, core.left : core.right]
        place.copy_(made[: place.shape[0], : place.shape[1]])

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
