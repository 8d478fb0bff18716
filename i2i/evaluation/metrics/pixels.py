"""L1 and PSNR against the true partner."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import ImageSet, Values
from i2i.evaluation.metrics.base import Metric

ROUNDING = 1 / 12
"""The mean square of what rounding to 8 bits changes: images do not count as nearer than that, or equal ones would be
infinitely good."""


class L1(Metric, name="l1"):
    """The mean of |output - truth| over pixels and channels, of a range of 1; then over images."""

    lower_is_better = True
    needs = ("truth",)
    real = "truth"

    def measure(self, images: Evaluated) -> Figure:
        return mean_of(np.array([np.abs(d).mean() / 255 for d in differences(images.outputs, images.truth)]))


class L1NotWhite(Metric, name="l1_not_white"):
    """L1 over the pixels whose truth is not white, of all images together: drawings are mostly white."""

    lower_is_better = True
    needs = ("truth",)
    real = "truth"
    by_default = False

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        return None if any((true < 255).any() for true in images.truth or ()) else "every truth is white"

    def measure(self, images: Evaluated) -> Figure:
        off = [np.abs(d).mean(2) for d in differences(images.outputs, images.truth)]
        drawn = [(true < 255).any(2) for true in images.truth or ()]
        pixels = np.concatenate([each[where] for each, where in zip(off, drawn, strict=True)])
        return Figure(float(pixels.mean() / 255), len(images.outputs))


class Psnr(Metric, name="psnr"):
    """10 log10(255^2 / mean square difference) in dB, the mean over images; at most 58.9 for each."""

    needs = ("truth",)
    real = "truth"

    def measure(self, images: Evaluated) -> Figure:
        squares = np.array([np.square(d).mean() for d in differences(images.outputs, images.truth)])
        return mean_of(10 * np.log10(255**2 / np.maximum(squares, ROUNDING)))


def differences(outputs: ImageSet, truth: ImageSet | None) -> list[Values]:
    """Output minus truth, (H, W, C) each, in grey levels."""
    pairs = zip(outputs, truth or (), strict=True)
    return [output.astype(np.float64) - true for output, true in pairs]
