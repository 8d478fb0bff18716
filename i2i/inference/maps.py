"""Feature maps on the disk, for images whose maps do not fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.storage.scratch import ScratchRows
from i2i.tiling.boxes import Box


class DiskMap:
    """A feature map (1, C, H, W) in a file without a name.

    Args:
        like: a part of it, for the channels and the type.
        scale: how many pixels of the image a pixel of the map is wide and high.
        height: of the image.
        width: of the image.

    Raises:
        DataError: the disk has no room for it.
    """

    def __init__(self, like: Tensor, scale: int, height: int, width: int) -> None:
        self._dtype, self._scale = like.dtype, scale
        pixel = like.shape[1] * like.dtype.itemsize
        self._rows = ScratchRows(height // scale, width // scale, pixel, "a feature map")

    def read(self, box: Box) -> Tensor:
        """The map in ``box``, in pixels of the image: (1, C, h, w), with the channels last in memory."""
        part = torch.from_numpy(self._rows.read(*box.over(self._scale))).view(self._dtype)
        return part.permute(2, 0, 1)[None]

    def write(self, box: Box, part: Tensor) -> None:
        """Puts ``part``, (1, C, h, w), at ``box``, in pixels of the image."""
        top, _, left, _ = box.over(self._scale)
        self._rows.write(top, left, part[0].permute(1, 2, 0).contiguous().cpu().view(torch.uint8).numpy())

    def close(self) -> None:
        """Gives the space back."""
        self._rows.close()
