"""Memorisation: whether outputs repeat training images (after Meehan et al. 2020, arXiv:2004.05675)."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.distances import nearest
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import ImageSet, Values, unit_vectors
from i2i.evaluation.metrics.base import Metric

SIZE = 16
"""The side at which images are compared: there a copy is still a copy, and blur no longer makes everything near."""


class Memorisation(Metric, name="memorisation"):
    """How often an output is nearer to a training image than a held-out image is: the mean over all pairs of them.

    0.5: outputs are as far from the training images as held-out images are; 1: all are nearer than any of these, as
    copies are; below 0.5: they lie farther away, as poor images do. Differs from the paper's statistic in the space,
    pixels of images of 16x16, and in the figure: the probability, and not its z-score.
    """

    ranks = False
    needs = ("training",)
    real = "target"

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        return None if images.training is not None and len(images.training.all) else REASON

    def measure(self, images: Evaluated) -> Figure:
        if images.training is None:
            raise ValueError(REASON)
        training = images.training.all.once("small", _small)
        own, held_out = (nearest(each.once("small", _small), training) for each in (images.outputs, images.target))
        held_out = np.sort(held_out)
        farther = len(held_out) - np.searchsorted(held_out, own, side="right")
        equal = np.searchsorted(held_out, own, side="right") - np.searchsorted(held_out, own, side="left")
        return mean_of((farther + equal / 2) / len(held_out), nearest=float(own.min()))


REASON = "no training image can be read"


def _small(images: ImageSet) -> Values:
    return unit_vectors(images, SIZE)
