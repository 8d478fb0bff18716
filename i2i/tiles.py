"""Joining images into a sheet: the one place where a grid, its gaps and its frame are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i2i.data.images import Pixels


def tile(
    images: Sequence[Pixels], columns: int, *, gap: int = 0, frame: int = 0, background: int = 255, scale: int = 1
) -> Pixels:
    """Joins images (H, W, C), uint8, of one size to rows of ``columns``; the last row is filled up with background.

    Args:
        images: the images, row by row; at least one.
        columns: images in a row.
        gap: pixels between images.
        frame: pixels around the sheet.
        background: the value of every channel where no image is.
        scale: each pixel of an image becomes a square with this side.
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
