"""A task as judge: can a segmenter of real images read the input's classes from the output?

The form that the FCN score of Isola et al. 2017 (section 3.4, arXiv:1611.07004) has without a large trained network: a
small one is trained on the spot, on the training pairs, from real target images to the label maps that are their
partners. It is meant for labels to photographs. Its figures for real held-out images stand in the column of real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.data.images import Pixels
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import ImageSet, as_rgb, smallest_side
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.trained_here import Classes, Segmenter, train_segmenter

Palette = NDArray[np.int64]
MOST = 2_000
"""How many training pairs the segmenter learns from, at most."""
CLASSES, NEAR, COVERED = 32, 48, 0.9
"""At most so many colours; those nearer than ``NEAR`` grey levels are one; they make up this share of pixels."""


class _Segmentation(Metric):
    needs = ("sources", "training", "training pairs")
    real = "truth"
    by_default = False
    task = "segment"

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        return None if len(palette_of(images)) > 1 else "its inputs are no label maps: they have no few colours"


class PixelAccuracy(_Segmentation, name="segment_pixels"):
    """The share of pixels whose class is read right, the mean over images."""

    def measure(self, images: Evaluated) -> Figure:
        read, true = _read(images)
        return mean_of((read == true).mean((1, 2)))


class ClassIoU(_Segmentation, name="segment_iou"):
    """Intersection over union of each class over all pixels, the mean over the classes that occur."""

    def measure(self, images: Evaluated) -> Figure:
        read, true = _read(images)
        found = {}
        for number in np.unique(true):
            union = ((read == number) | (true == number)).sum()
            found[f"class_{number}"] = float(((read == number) & (true == number)).sum() / union)
        return Figure(float(np.mean(list(found.values()))), len(images.outputs), details=found)


def palette_of(images: Evaluated) -> Palette:
    """The colours (K, 3) that the label maps are drawn with; none where their pixels have too many colours."""
    if images.training_sources is None:
        raise ValueError("no pairs are known among the training images")
    return images.training_sources.few(MOST).once("palette", find_palette)


def find_palette(images: Sequence[Pixels]) -> Palette:
    """The most frequent colours that differ by more than ``NEAR``, in some channel."""
    histogram = np.zeros(32**3, np.int64)  # over all images, whose pixels together may not fit into memory
    for image in images:
        red, green, blue = np.moveaxis(as_rgb(image).astype(np.int64) // 8, -1, 0)
        histogram += np.bincount((red * 32**2 + green * 32 + blue).ravel(), minlength=len(histogram))
    there = np.flatnonzero(histogram)
    cells, counts = np.stack([there // 32**2, there // 32 % 32, there % 32], axis=1), histogram[there]
    colours, left = cells * 8 + 4, np.ones(len(cells), bool)
    chosen: list[NDArray[np.int64]] = []
    for index in np.argsort(-counts, kind="stable"):
        if left[index] and len(chosen) < CLASSES and counts[left].sum() > (1 - COVERED) * counts.sum() / 2:
            chosen.append(colours[index])
            left &= np.abs(colours - colours[index]).max(1) > NEAR
    covered = counts[~left].sum() / counts.sum()
    return np.array(chosen if covered >= COVERED else [], np.int64).reshape(-1, 3)


def classes_of(images: Sequence[Pixels], palette: Palette, side: int) -> Classes:
    """The nearest colour of every pixel, at a size of (side, side): (N, side, side)."""
    maps = []
    for pixels in images:
        small = Image.fromarray(as_rgb(pixels)).resize((side, side), Image.Resampling.NEAREST)
        distances = np.abs(np.asarray(small, np.int64)[:, :, None] - palette).sum(-1)
        maps.append(distances.argmin(-1))
    return np.stack(maps)


def _segmenter_of(images: Evaluated) -> Segmenter:
    if images.training is None or images.training_sources is None:
        raise ValueError("no pairs are known among the training images")
    real, maps, palette = images.training.few(MOST), images.training_sources.few(MOST), palette_of(images)
    partners = dict(zip(maps.numbers, range(len(maps)), strict=True))

    def train(own: ImageSet) -> Segmenter:
        side = Segmenter(2, smallest_side(images.target)).side
        pairs = [(place, partners[number]) for place, number in enumerate(own.numbers) if number in partners]
        classes = classes_of([maps[partner] for _, partner in pairs], palette, side)
        return train_segmenter([own[place] for place, _ in pairs], classes, side, images.seed)

    return real.once(("segmenter", images.seed), train)


def _read(images: Evaluated) -> tuple[Classes, Classes]:
    """The classes read from the outputs, and those of the inputs."""
    judge = _segmenter_of(images)
    read = images.outputs.once(("segmented", images.seed), judge.read)
    return read, classes_of(images.sources or (), palette_of(images), judge.side)
