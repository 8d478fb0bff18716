"""Joins images into a sheet; the only place that computes a grid, its gaps and its frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i2i.data.images import Pixels


def tile(
    images: Sequence[Pixels], columns: int, *, gap: int = 0, frame: int = 0, background: int = 255, scale: int = 1
) -> Pixels:
    """Joins equally large images (H, W, C), uint8, into rows of ``columns``; background fills the last row.

    Args:
        images: the images, row by row; at least one.
        columns: images in a row.
        gap: pixels between images.
        frame: pixels around the sheet.
        background: the value of every channel outside images.
        scale: each pixel of an image becomes a square of this side.
    """
    height, width, channels = images[0].shape
    down, across = scale * height + gap, scale * width + gap
    size = (-(-len(images) // columns) * down - gap + 2 * frame, columns * across - gap + 2 * frame, channels)
    sheet = np.full(size, background, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = frame + row * down, frame + column * across
        cell = image.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + scale * height, left : left + scale * width] = cell
    return sheet
