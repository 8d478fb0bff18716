"""The toy sets of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, figure 1), scaled as in its released code.

Each is divided by about its standard deviation. Differs from that code: new points are drawn for every batch; that code
draws 100,000 points of the 25 Gaussians once.
"""

from __future__ import annotations

import math

import numpy as np

from i2i.data.points import sample_points
from i2i.lab.play import Draw, Floats


def eight_gaussians(count: int, random: np.random.Generator) -> Floats:
    """Eight Gaussians on a ring of radius 2, with standard deviation 0.02, divided by 1.414: (count, 2)."""
    points: Floats = sample_points("ring2d", count, random) / np.float32(1.414)
    return points


def grid_of_gaussians(count: int, random: np.random.Generator) -> Floats:
    """25 Gaussians on a square grid, 2 apart, with standard deviation 0.05, divided by 2.828: (count, 2)."""
    centres = 2 * random.integers(-2, 3, (count, 2))
    points: Floats = ((centres + 0.05 * random.standard_normal((count, 2))) / 2.828).astype(np.float32)
    return points


def swiss_roll(count: int, random: np.random.Generator) -> Floats:
    """A spiral of one and a half turns with noise of standard deviation 0.25, divided by 7.5: (count, 2).

    scikit-learn's ``make_swiss_roll`` without its second coordinate, which is the roll's width.
    """
    angle = 1.5 * math.pi * (1 + 2 * random.random(count))
    spiral = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    points: Floats = ((spiral + 0.25 * random.standard_normal((count, 2))) / 7.5).astype(np.float32)
    return points


TOYS: dict[str, Draw] = {
    "8 Gaussians": eight_gaussians,
    "25 Gaussians": grid_of_gaussians,
    "Swiss roll": swiss_roll,
}
