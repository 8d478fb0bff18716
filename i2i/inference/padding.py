"""Pads images at the bottom and right to the sizes that a network takes, by reflection if they are large enough.

If an image is smaller than the padding that it needs, its edge is repeated.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import pad

Mode = Literal["reflect", "replicate"]


def padding_to(height: int, width: int, multiple: int, minimum: int) -> tuple[int, int, Mode]:
    """How many pixels an image lacks at the bottom and right, and how they are made."""
    bottom, right = (max(-(side // -multiple) * multiple, minimum) - side for side in (height, width))
    return bottom, right, "reflect" if bottom < height and right < width else "replicate"


def pad_to(images: Tensor, multiple: int, minimum: int) -> Tensor:
    """Pads images (N, C, H, W) to a multiple and a minimum."""
    height, width = images.shape[2:]
    bottom, right, mode = padding_to(height, width, multiple, minimum)
    return pad(images, (0, right, 0, bottom), mode=mode) if bottom or right else images
