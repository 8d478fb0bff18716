"""A reduced copy of an image, whose statistics stand for those of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from i2i.data.ranges import Values


def thumbnail(rows: Callable[[int, int], Values], height: int, width: int, side: int) -> Values:
    """Means of squares of an image, whose longest side they make ``side`` at most.

    Args:
        rows: gives the image from one row to another, (1, C, h, W).
        height: of the image.
        width: of the image.
        side: of the result.

    Returns:
        (1, C, h, w).
    """
    factor = -(-max(height, width) // side)
    lefts = np.arange(0, width, factor)
    counts = np.diff(lefts, append=width).astype(np.float32)
    made = []
    for top in range(0, height, factor):
        strip = rows(top, min(top + factor, height))
        made.append(np.add.reduceat(strip.mean(axis=2), lefts, axis=2) / counts)
    return np.stack(made, axis=2)
