"""Where translation by tiles takes its image from and puts its output: windows of tensors, or of files on the disk."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from i2i.config.schema import Depth
from i2i.data.batches import to_pixels, unit_batch
from i2i.data.depth import from_unit_values
from i2i.data.on_disk import DiskImage
from i2i.kinds import NUMPY_TYPES, AnyPixels
from i2i.tiling.boxes import Box


class Windows(Protocol):
    """An image and its translation.

    Attributes:
        height: of both.
        width: of both.
    """

    height: int
    width: int

    def read(self, box: Box) -> Tensor:
        """The image in ``box``: (C, h, w), uint8 or float in [-1, 1]."""

    def write(self, box: Box, made: Tensor) -> None:
        """Puts ``made``, (h, w, C'), float in [-1, 1], at ``box`` of the translation."""


class TensorWindows:
    """Those of a tensor (C, H, W), float in [-1, 1].

    Attributes:
        output: (C', H, W), on the CPU, once the first window is written.
    """

    output: Tensor

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self.height, self.width = image.shape[1:]

    def read(self, box: Box) -> Tensor:
        return self._image[:, box.top : box.bottom, box.left : box.right]

    def write(self, box: Box, made: Tensor) -> None:
        if not hasattr(self, "output"):
            self.output = torch.empty(made.shape[2], self.height, self.width)
        self.output[:, box.top : box.bottom, box.left : box.right].copy_(made.permute(2, 0, 1))


class PixelWindows:
    """Those of an image (H, W, C) in memory or on the disk.

    Args:
        image: of the depth ``given``.
        given: the depth of inputs.
        made: the depth of outputs.
        channels: of outputs.

    Attributes:
        output: the translation, where the image is.

    Raises:
        DataError: the disk has no room for it.
    """

    output: AnyPixels | DiskImage

    def __init__(self, image: AnyPixels | DiskImage, given: Depth, made: Depth, channels: int) -> None:
        self._image, self._given, self._made = image, given, made
        self.height, self.width = image.shape[:2]
        shape, values = (self.height, self.width, channels), NUMPY_TYPES[made.kind]
        self.output = DiskImage(*shape, values) if isinstance(image, DiskImage) else np.empty(shape, values)

    def read(self, box: Box) -> Tensor:
        values = self._image[box.top : box.bottom, box.left : box.right]
        if self._given.is_plain:
            return torch.from_numpy(np.require(values, requirements="W")).permute(2, 0, 1)
        return unit_batch([values], self._given, torch.device("cpu"))[0]

    def write(self, box: Box, made: Tensor) -> None:
        images = made.permute(2, 0, 1)[None]
        values = to_pixels(images)[0] if self._made.is_plain else from_unit_values(images, self._made)[0]
        self.output[box.top : box.bottom, box.left : box.right] = values
