"""FID: the Frechet distance of two normal distributions fitted to features (Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric

ENOUGH = 2048
"""With fewer images than features the covariances have no rank, and the figure says more of n than of the images."""


class Fid(Metric, name="fid"):
    """Biased: comparable only at one n, and large where n is small. KID is the figure for small sets."""

    lower_is_better = True
    needs = ("network",)
    of_sets = True

    def caution(self, images: Evaluated) -> str | None:
        n = min(len(images.outputs), len(images.target))
        return None if n >= ENOUGH else f"of {n:,} images it says more of n than of them; {ENOUGH:,} are needed"

    def measure(self, images: Evaluated) -> Figure:
        outputs, target = images.features(images.outputs), images.features(images.target)
        return Figure(frechet_distance(outputs, target), len(outputs))


def frechet_distance(outputs: Values, target: Values) -> float:
    """|difference of means|^2 + tr(C + C' - 2 (C C')^(1/2)) of features (n, D) and (m, D)."""
    (mean, other_mean), (covariance, other) = zip(*(_moments(each) for each in (outputs, target)), strict=True)
    # The trace of a root is the sum of the roots of the eigenvalues, which are real here but for rounding.
    root = np.sqrt(np.linalg.eigvals(covariance @ other).astype(complex)).real.sum()
    return float(np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other) - 2 * root)


def _moments(features: Values) -> tuple[Values, Values]:
    return features.mean(0), np.cov(features, rowvar=False)
