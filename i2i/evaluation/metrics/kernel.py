"""KID: the squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric


class Kid(Metric, name="kid"):
    """Unbiased (equation 4), with the cubic polynomial kernel (x.y / D + 1)^3; below zero by chance alone.

    What each image contributes is its jackknife pseudo-value: n times the figure less n - 1 times that without the
    image. Their mean is the figure, and their standard errors over outputs and over real images give its spread.
    """

    lower_is_better = True
    needs = ("network",)
    of_sets = True

    def lacking(self, images: Evaluated) -> str | None:
        few = min(len(images.outputs), len(images.target)) < 3
        return super().lacking(images) or ("it needs three images on each side" if few else None)

    def measure(self, images: Evaluated) -> Figure:
        return kernel_distance(images.features(images.outputs), images.features(images.target))


def kernel_distance(outputs: Values, target: Values) -> Figure:
    """The figure of features (n, D) and (m, D)."""
    across = _kernel(outputs, target)
    within_outputs, within_target = _without_diagonal(outputs), _without_diagonal(target)
    first = _mean_of_pairs(within_outputs)
    second = _mean_of_pairs(within_target)
    value = first + second - 2 * float(across.mean())
    per_image = _pseudo_values(within_outputs, across.mean(1), second)
    per_target = _pseudo_values(within_target, across.mean(0), first)
    variance = per_image.var(ddof=1) / len(per_image) + per_target.var(ddof=1) / len(per_target)
    return Figure(value, len(outputs), float(np.sqrt(variance)), per_image, per_target)


def _kernel(a: Values, b: Values) -> Values:
    product: Values = (a @ b.T / a.shape[1] + 1) ** 3
    return product


def _without_diagonal(features: Values) -> Values:
    kernel = _kernel(features, features)
    np.fill_diagonal(kernel, 0)
    return kernel


def _mean_of_pairs(within: Values) -> float:
    n = len(within)
    return float(within.sum() / (n * (n - 1)))


def _pseudo_values(within: Values, across: Values, other: float) -> Values:
    """N * KID - (n - 1) * KID without the i-th image, for every image of one side: (n,).

    Args:
        within: the kernel of this side, with an empty diagonal.
        across: each image's mean kernel with the other side.
        other: the mean kernel within the other side.
    """
    n = len(within)
    whole = _mean_of_pairs(within) + other - 2 * across.mean()
    within_left = (within.sum() - 2 * within.sum(1)) / ((n - 1) * (n - 2))
    across_left = (across.sum() - across) / (n - 1)
    values: Values = n * whole - (n - 1) * (within_left + other - 2 * across_left)
    return values
