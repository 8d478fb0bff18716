"""Labels: whether outputs are what was asked for, and how varied they are within a label."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import ImageSet, smallest_side, squeezed
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.trained_here import SIDE, Classifier, train_classifier
from i2i.seeding import numpy_rng

MOST = 10_000
"""How many training images the classifier learns from, at most."""
PAIRS = 500


class LabelAccuracy(Metric, name="label_accuracy"):
    """The share of outputs that a classifier reads as the label that was asked for.

    The classifier is trained on the spot on real images; what it makes of held-out ones stands in the column of real
    images, and no model can be told to be better than that.
    """

    needs = ("training", "labels")
    real = "target"
    task = "classify"

    def measure(self, images: Evaluated) -> Figure:
        judge = classifier_of(images)
        return mean_of((judge.read(images.outputs) == np.array(images.outputs.labels)).astype(np.float64))


class LabelDiversity(Metric, name="label_diversity"):
    """The mean distance of pairs of outputs of a label over that of real images of it, the mean over labels.

    1: as varied as the real ones; 0: one image for each label. Distances are of pixels, of 500 random pairs.
    """

    needs = ("labels",)
    real = "target"

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        return None if _comparable(images) else "no label has two outputs and two real images"

    def measure(self, images: Evaluated) -> Figure:
        side = min(SIDE, smallest_side(images.outputs, images.target))
        ratios = {}
        for label in _comparable(images):
            own, real = (
                _pair_distance(each, label, side, images.seed, name)
                for each, name in ((images.outputs, "outputs"), (images.target, "real"))
            )
            ratios[f"label_{label}"] = own / real if real else float(own == real)
        return Figure(float(np.mean(list(ratios.values()))), len(images.outputs), details=ratios)


def classifier_of(images: Evaluated) -> Classifier:
    """The classifier of the target domain's labels, trained once for one set of training images."""
    if images.training is None:
        raise ValueError("there are no training images")
    few, seed = images.training.few(MOST), images.seed
    return few.once(
        ("classifier", seed), lambda own: train_classifier(own, own.labels, smallest_side(images.target), seed)
    )


def _comparable(images: Evaluated) -> list[int]:
    counts = [np.bincount(each.labels, minlength=1) for each in (images.outputs, images.target)]
    return [label for label in range(min(map(len, counts))) if min(counts[0][label], counts[1][label]) > 1]


def _pair_distance(images: ImageSet, label: int, side: int, seed: int, name: str) -> float:
    """The mean L2 distance of random pairs of different images of ``label``."""
    own = [i for i, other in enumerate(images.labels) if other == label]
    flat = np.stack([squeezed(images[i], side).reshape(-1) for i in own]).astype(np.float64)
    random = numpy_rng(seed, "pairs", name, label)
    pairs = np.stack([random.choice(len(own), 2, replace=False) for _ in range(PAIRS)])
    return float(np.linalg.norm(flat[pairs[:, 0]] - flat[pairs[:, 1]], axis=1).mean())
