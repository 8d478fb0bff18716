"""Values of images between what files store and the networks' range of -1 to 1, for every depth, as tensors.

8-bit pixels go to the device as they are (``batches.to_unit``); all others become fractions of their range first.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.config.schema import Depth
from i2i.data.ranges import fractions, from_unit_array
from i2i.kinds import AnyPixels

AS_8_BIT = Depth()


def from_unit_values(images: Tensor, depth: Depth) -> AnyPixels:
    """``from_unit_array`` of a tensor."""
    return from_unit_array(images.detach().float().cpu().numpy(), depth)


def unit_tensor(values: AnyPixels, depth: Depth) -> Tensor:
    """Values (..., C, H, W) that are not 8-bit images as a tensor in [-1, 1]."""
    return torch.from_numpy(fractions(values, depth)).mul_(2).sub_(1)


def as_shown(values: AnyPixels, depth: Depth) -> NDArray[np.uint8]:
    """An image (H, W, C) as people see it: 8 bits of the stated range; of two channels, or more than three, some.

    The first three, or where there are two the first.
    """
    if depth.is_plain:
        return values
    channels = values.shape[2]
    shown = values[..., : 3 if channels >= 3 else 1]
    return np.rint(fractions(shown, depth) * 255).astype(np.uint8)


def described(depth: Depth, channels: int) -> str:
    """A depth in words."""
    parts = f"{channels} channel{'s' if channels > 1 else ''}"
    return f"{depth.kind}, {parts}, values from {depth.low:,.9g} to {depth.high:,.9g}"
