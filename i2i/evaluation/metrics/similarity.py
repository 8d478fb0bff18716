"""SSIM (Wang et al. 2004) by scikit-image, and MS-SSIM (Wang et al. 2003) by torchmetrics."""

from __future__ import annotations

import numpy as np
import torch

from i2i.data.transforms import stack
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import smallest_side
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.metrics.pixels import masks_of, mean_where

WINDOW, SMALLEST = 7, 176
"""SSIM's window, and the side from which the five scales of MS-SSIM have room for theirs, of 11 pixels."""
INNER = slice(WINDOW // 2, -(WINDOW // 2))
"""Where the window fits into the image."""


class Ssim(Metric, name="ssim"):
    """Structural similarity with a uniform window of 7, the mean over pixels, channels and images.

    Windows reach beyond what a mask shows: what is black in it is there the truth.
    """

    needs = ("truth",)
    real = "truth"
    masked = True
    packages = ("skimage",)

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images) or _too_small(images, WINDOW):
            return reason
        shown = all(mask is None or mask[INNER, INNER].any() for mask in masks_of(images))
        return None if shown else f"a mask shows nothing but {WINDOW // 2} pixels at the border, where no window fits"

    def measure(self, images: Evaluated) -> Figure:
        from skimage.metrics import structural_similarity

        values = []
        for output, true, mask in zip(images.outputs, images.truth or (), masks_of(images), strict=True):
            shown = output if mask is None else np.where(mask > 0, output, true)
            _, near = structural_similarity(shown, true, channel_axis=2, data_range=255, full=True)
            values.append(mean_where(near[INNER, INNER], None if mask is None else mask[INNER, INNER]))
        return mean_of(np.array(values))


class MultiScaleSsim(Metric, name="ms_ssim"):
    """Structural similarity at five scales with the paper's weights, the mean over images."""

    needs = ("truth",)
    real = "truth"
    packages = ("torchmetrics",)

    def lacking(self, images: Evaluated) -> str | None:
        return super().lacking(images) or _too_small(images, SMALLEST)

    def measure(self, images: Evaluated) -> Figure:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

        values = []
        for pair in zip(images.outputs, images.truth or (), strict=True):
            output, true = (torch.from_numpy(stack([pixels])).double() for pixels in pair)
            values.append(float(ms_ssim(output, true, data_range=255.0)))
        return mean_of(np.array(values))


def _too_small(images: Evaluated, side: int) -> str | None:
    smallest = smallest_side(images.outputs)
    return f"it needs images from {side} px up, and these have {smallest}" if smallest < side else None
