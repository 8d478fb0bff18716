"""How translation by tiles is asked for: one value, from the command line or a call down to the tiles themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from i2i.errors import ConfigError

Tile = int | Literal["auto"]
"""The side of tiles in pixels; "auto" translates only those images by tiles that do not fit into memory."""
AUTO_SIDE = 512
"""The side that "auto" takes."""
TileStatistics = Literal["exact", "thumbnail"]
"""Where norms over the whole image have their statistics from, when it is translated by tiles: from the image, by a
pass over all tiles for each of them; or from one translation of a reduced copy, which is an approximation."""


@dataclass(frozen=True)
class Tiles:
    """Which images are translated by tiles, and by which.

    Attributes:
        tile: what is asked for: images that are larger than this side are translated by tiles of it.
        overlap: by how many pixels a tile is computed larger on each side; None for as many as it depends on.
        statistics: of norms over the whole image.

    Raises:
        ConfigError: tiles without a side in pixels.
    """

    tile: Tile = "auto"
    overlap: int | None = None
    statistics: TileStatistics = "exact"

    def __post_init__(self) -> None:
        if self.tile != "auto" and (isinstance(self.tile, str) or self.tile < 1):
            raise ConfigError(f"tiles of {self.tile!r} pixels: give a whole number from 1 up, or auto")

    @property
    def side(self) -> int:
        """Of a tile, in pixels; it is rounded up to what a network takes."""
        return AUTO_SIDE if self.tile == "auto" else self.tile

    @property
    def decisive(self) -> dict[str, str | int]:
        """What makes two translations of an image differ; without any of it, tiles are as whole images."""
        found: dict[str, str | int] = {} if self.overlap is None else {"overlap": self.overlap}
        if self.statistics == "thumbnail":  # whose size is that of a tile
            found |= {"tile_statistics": self.statistics, "tile": self.tile}
        return found


AUTO = Tiles()
"""Those images that do not fit into memory, to what they would give as a whole."""
