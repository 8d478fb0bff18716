"""What the values of images are. This file imports nothing but NumPy, as the runtime without torch needs it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["8-bit", "uint8", "uint16", "float32"]
"""What the values of images are. "8-bit": of images as programs show them, brought to the channels that are asked for;
the others: as a file stores them, with the channels that it has."""
AnyPixels = NDArray[Any]
"""An image (H, W, C): uint8, uint16 or float32."""
NUMPY_TYPES: dict[Kind, type[np.generic]] = {
    "8-bit": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "float32": np.float32,
}
FULL: dict[Kind, float] = {"8-bit": 255.0, "uint8": 255.0, "uint16": 65_535.0}
"""The largest value of the kinds that have one: their range is from 0 to it."""
