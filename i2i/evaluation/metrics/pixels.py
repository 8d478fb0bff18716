"""L1 and PSNR against the true partner, of what masks show where there are masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from i2i.data.images import Pixels
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric

ROUNDING = 1 / 12
"""The mean square of what rounding to 8 bits changes: images do not count as nearer than that, or equal ones would be
infinitely good."""


class L1(Metric, name="l1"):
    """The mean of |output - truth| over pixels and channels, of a range of 1; then over images."""

    lower_is_better = True
    needs = ("truth",)
    real = "truth"
    masked = True

    def measure(self, images: Evaluated) -> Figure:
        return mean_of(np.array([mean_where(np.abs(d), mask) / 255 for d, mask in differences(images)]))


class L1NotWhite(Metric, name="l1_not_white"):
    """L1 over the pixels whose truth is not white, of all images together: drawings are mostly white."""

    lower_is_better = True
    needs = ("truth",)
    real = "truth"
    masked = True
    by_default = False

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        return None if any(counts.any() for counts in _drawn(images)) else "every truth is white"

    def measure(self, images: Evaluated) -> Figure:
        off = total = 0.0
        for (d, _), counts in zip(differences(images), _drawn(images), strict=True):
            off += float((np.abs(d).mean(2) * counts).sum())
            total += float(counts.sum())
        return Figure(off / total / 255, len(images.outputs))


class Psnr(Metric, name="psnr"):
    """10 log10(255^2 / mean square difference) in dB, the mean over images; at most 58.9 for each."""

    needs = ("truth",)
    real = "truth"
    masked = True

    def measure(self, images: Evaluated) -> Figure:
        squares = np.array([mean_where(np.square(d), mask) for d, mask in differences(images)])
        return mean_of(10 * np.log10(255**2 / np.maximum(squares, ROUNDING)))


def differences(images: Evaluated) -> Iterator[tuple[Values, Pixels | None]]:
    """Output minus truth, (H, W, C) each, in grey levels; and the mask."""
    for output, true, mask in zip(images.outputs, images.truth or (), masks_of(images), strict=True):
        yield output.astype(np.float64) - true, mask


def masks_of(images: Evaluated) -> Sequence[Pixels | None]:
    """The mask of each output (H, W, 1), or None."""
    return [None] * len(images.outputs) if images.masks is None else images.masks


def mean_where(values: Values, mask: Pixels | None) -> float:
    """The mean of (H, W, C) over what counts."""
    return float(np.average(values, weights=None if mask is None else np.broadcast_to(mask, values.shape)))


def _drawn(images: Evaluated) -> Iterator[Values]:
    """How much each pixel of an image (H, W) counts, 0 where the truth is white."""
    for true, mask in zip(images.truth or (), masks_of(images), strict=True):
        counts: Values = np.ones(true.shape[:2]) if mask is None else mask[:, :, 0] / 255
        yield counts * (true < 255).any(2)
