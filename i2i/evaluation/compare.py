"""What may be said of two models: a paired bootstrap over images, and the spread below which there is no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i2i.evaluation.evaluated import Figure
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric
from i2i.seeding import numpy_rng

RESAMPLES = 10_000
CHUNK = 500


@dataclass(frozen=True)
class Comparison:
    """Two models by one figure.

    Attributes:
        metric: the figure's name.
        a: the number of one model.
        b: that of the other.
        difference: a's value less b's.
        spread: below it a difference counts as none.
        probability: that a is better, over resampled images; None where nothing can be resampled.
        better: a, b, or None for no difference.
    """

    metric: str
    a: int
    b: int
    difference: float
    spread: float
    probability: float | None
    better: int | None


def compare(metric: Metric, title: str, figures: Sequence[Figure], a: int, b: int, seed: int) -> Comparison:
    """Compares two of the models' ``figures``, of the same images in the same order."""
    one, other = figures[a], figures[b]
    difference = one.value - other.value
    resampled = _resampled_differences(one, other, seed)
    own = [figure.spread for figure in (one, other) if figure.spread is not None]
    spread = max(own, default=0.0) if metric.of_sets or resampled is None else float(resampled.std())
    probability = None
    if resampled is not None:
        better = resampled < 0 if metric.lower_is_better else resampled > 0
        probability = float(better.mean() + (resampled == 0).mean() / 2)
    winner = None
    if abs(difference) > spread:
        winner = a if (difference < 0) == metric.lower_is_better else b
    return Comparison(title, a, b, difference, spread, probability, winner)


def _resampled_differences(one: Figure, other: Figure, seed: int) -> Values | None:
    """The difference of two figures over resampled outputs, and real images where it depends on those: (RESAMPLES,)."""
    random = numpy_rng(seed, "bootstrap")
    differences = None
    for left, right in ((one.per_image, other.per_image), (one.per_target, other.per_target)):
        if left is None or right is None or len(left) != len(right):
            continue
        means = _bootstrapped(left - right, random) - (left - right).mean()
        differences = means if differences is None else differences + means
    return None if differences is None else differences + (one.value - other.value)


def _bootstrapped(values: Values, random: np.random.Generator) -> Values:
    """The means of resampled (n,): (RESAMPLES,)."""
    parts = [values[random.integers(0, len(values), (CHUNK, len(values)))].mean(1) for _ in range(RESAMPLES // CHUNK)]
    return np.concatenate(parts)
