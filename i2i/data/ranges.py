"""Values of images between what files store and the networks' range of -1 to 1, for every depth, in NumPy alone.

The runtime without PyTorch needs them; ``depth.py`` has them for tensors.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from i2i.kinds import FULL, NUMPY_TYPES, AnyPixels, Kind

Values = NDArray[np.float32]


class Range(Protocol):
    """The values of images, of which ``low`` to ``high`` are -1 to 1 in the networks."""

    @property
    def kind(self) -> Kind:
        """What they are."""

    @property
    def low(self) -> float:
        """The least."""

    @property
    def high(self) -> float:
        """The largest."""


def fractions(values: AnyPixels, depth: Range) -> Values:
    """Values as float32 in [0, 1]: where each lies in the range of the depth."""
    scaled = values.astype(np.float32)
    if depth.low:
        scaled -= np.float32(depth.low)
    scaled *= np.float32(1 / (depth.high - depth.low))
    return np.clip(scaled, 0, 1, out=scaled)


def from_unit_array(images: Values, depth: Range) -> AnyPixels:
    """Images (..., C, H, W) in [-1, 1] as values (..., H, W, C) of the depth, rounded where they are integers."""
    values = np.ascontiguousarray(np.moveaxis(images + np.float32(1), -3, -1))
    values /= np.float32(2)
    np.clip(values, 0, 1, out=values)
    values *= np.float32(depth.high - depth.low)
    values += np.float32(depth.low)
    np.clip(values, depth.low, depth.high, out=values)
    if depth.kind == "float32":
        return values
    return np.clip(np.rint(values, out=values), 0, FULL[depth.kind]).astype(NUMPY_TYPES[depth.kind])


def beyond(values: AnyPixels, depth: Range) -> int:
    """How many of an image's values are outside the range."""
    return int(((values < np.float32(depth.low)) | (values > np.float32(depth.high))).sum())


def clipped(values: AnyPixels, depth: Range) -> str:
    """What a person should know of an image's values outside the range; nothing where there are none."""
    return clipped_share(beyond(values, depth) / values.size, depth)


def clipped_share(share: float, depth: Range) -> str:
    """The same for this share of an image's values."""
    if not share:
        return ""
    return (
        f"{share:.1%} of its values are outside of {depth.low:,.9g} to {depth.high:,.9g}, the range of training, and "
        "are clipped"
    )
