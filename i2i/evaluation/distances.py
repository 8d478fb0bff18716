"""Euclidean distances between sets of points."""

from __future__ import annotations

import torch

from i2i.evaluation.images import Values


def distances(a: Values, b: Values) -> Values:
    """The distances of (n, D) and (m, D): (n, m)."""
    found: Values = torch.cdist(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return found


def nearest(a: Values, b: Values, chunk: int = 1024) -> Values:
    """The distance of each of (n, D) to the nearest of (m, D): (n,)."""
    parts = torch.split(torch.from_numpy(b), chunk)
    found: Values = torch.stack([torch.cdist(torch.from_numpy(a), part).amin(1) for part in parts]).amin(0).numpy()
    return found
