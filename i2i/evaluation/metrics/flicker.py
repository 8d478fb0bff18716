"""Flicker: how much the translation of a clip changes where the clip itself stands still.

The temporal flickering of VBench (Huang et al. 2024, section 3.1, arXiv:2311.17982) is the mean absolute difference of
neighbouring frames of videos in which nothing moves. Here a clip may move: its pixels that stay the same count. So no
optical flow is needed, and what happens to things that move is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from i2i.data.images import Pixels
from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric

STILL = 2
"""A pixel is still where no channel changes by more grey levels than that: cameras and encoders leave some noise."""


class Flicker(Metric, name="flicker"):
    """The mean of |output - output before| over the pixels whose input is still, of a range of 1.

    Neighbouring frames depend on each other, so there is no honest spread.
    """

    lower_is_better = True
    needs = ("frames", "sources")
    real = "truth"
    by_default = False

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        if len({pixels.shape for pixels in images.sources or ()}) > 1:
            return "its frames differ in size"
        return None if any(still.any() for still, _ in _changes(images)) else "no pixel of the input is ever still"

    def measure(self, images: Evaluated) -> Figure:
        changed = everywhere = still_pixels = pixels = 0.0
        for still, change in _changes(images):
            changed += float(change[still].sum())
            everywhere += float(change.sum())
            still_pixels += int(still.sum())
            pixels += still.size
        details = {"still": still_pixels / pixels, "everywhere": everywhere / pixels}
        return Figure(changed / still_pixels, len(images.outputs), details=details)


def _changes(images: Evaluated) -> Iterator[tuple[NDArray[np.bool_], Values]]:
    """Of each two neighbours: where the input is still, and by how much the output changes, (H, W) each."""
    for before, after in pairwise(zip(images.sources or (), images.outputs, strict=True)):
        still: NDArray[np.bool_] = np.all(_apart(before[0], after[0]) <= STILL, axis=2)
        yield still, _apart(before[1], after[1]).mean(2) / 255


def _apart(one: Pixels, other: Pixels) -> Values:
    return np.abs(other.astype(np.float64) - one)
