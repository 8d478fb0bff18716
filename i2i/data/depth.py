"""Values of images between what files store and the networks' range of -1 to 1, for every depth.

8-bit pixels go to the device as they are (``batches.to_unit``); all others become fractions of their range first.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.config.schema import Depth
from i2i.kinds import FULL, NUMPY_TYPES, AnyPixels

AS_8_BIT = Depth()


def fractions(values: AnyPixels, depth: Depth) -> NDArray[np.float32]:
    """Values as float32 in [0, 1]: where each lies in the range of the depth."""
    scaled = values.astype(np.float32)
    if depth.low:
        scaled -= np.float32(depth.low)
    scaled *= np.float32(1 / (depth.high - depth.low))
    return np.clip(scaled, 0, 1, out=scaled)


def outside(values: AnyPixels, depth: Depth) -> float:
    """The share of the values that lie outside the range, which are clipped."""
    return float(((values < np.float32(depth.low)) | (values > np.float32(depth.high))).mean())


def from_unit_values(images: Tensor, depth: Depth) -> AnyPixels:
    """Images (..., C, H, W) in [-1, 1] as values (..., H, W, C) of the depth, rounded where they are integers."""
    scaled = images.detach().float().add(1).div_(2).clamp_(0, 1).mul_(depth.high - depth.low).add_(depth.low)
    values: AnyPixels = np.ascontiguousarray(scaled.movedim(-3, -1).cpu().numpy())
    np.clip(values, depth.low, depth.high, out=values)
    if depth.kind == "float32":
        return values
    return np.clip(np.rint(values, out=values), 0, FULL[depth.kind]).astype(NUMPY_TYPES[depth.kind])


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
