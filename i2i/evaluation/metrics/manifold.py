"""Precision and recall by nearest neighbours in features (Kynkaanniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.distances import distances
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of, standard_error
from i2i.evaluation.images import Values
from i2i.evaluation.metrics.base import Metric

NEIGHBOURS = 3


class _Neighbours(Metric):
    needs = ("network",)

    def lacking(self, images: Evaluated) -> str | None:
        few = min(len(images.outputs), len(images.target)) <= NEIGHBOURS
        return super().lacking(images) or (f"it needs {NEIGHBOURS + 1} images on each side" if few else None)


class Precision(_Neighbours, name="precision"):
    """The share of outputs that lie among the real images: nearer to one than its third neighbour is."""

    def measure(self, images: Evaluated) -> Figure:
        return mean_of(covered(images.features(images.outputs), images.features(images.target)))


class Recall(_Neighbours, name="recall"):
    """The share of real images that lie among the outputs."""

    def measure(self, images: Evaluated) -> Figure:
        found = covered(images.features(images.target), images.features(images.outputs))
        return Figure(float(found.mean()), len(images.outputs), standard_error(found), per_target=found)


def covered(points: Values, manifold: Values) -> Values:
    """Whether each of (n, D) is within the distance of one of (m, D) to its third neighbour: (n,), 0 or 1."""
    within = distances(manifold, manifold)
    np.fill_diagonal(within, 0.0)
    radii = np.partition(within, NEIGHBOURS, axis=1)[:, NEIGHBOURS]  # the nearest is the point itself
    inside = [bool(row.any()) for row in distances(points, manifold) <= radii]
    return np.array(inside, np.float64)
