"""Distances between sets of points."""

from __future__ import annotations

import numpy as np

from i2i.evaluation.images import Values


def squared_distances(a: Values, b: Values) -> Values:
    """Squared Euclidean distances of (n, D) and (m, D): (n, m), at least 0."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0), np.float64)  # below 0 by rounding alone


def nearest(a: Values, b: Values, chunk: int = 1024) -> Values:
    """The distance of each of (n, D) to the nearest of (m, D): (n,)."""
    parts = [squared_distances(a, b[start : start + chunk]).min(1) for start in range(0, len(b), chunk)]
    return np.sqrt(np.min(parts, axis=0))
