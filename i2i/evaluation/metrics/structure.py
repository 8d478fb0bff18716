"""Alignment: whether an output has its edges where its input has them."""

from __future__ import annotations

from itertools import chain

import numpy as np

from i2i.data.images import Pixels
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import Values, as_rgb, squeezed
from i2i.evaluation.metrics.base import Metric
from i2i.seeding import numpy_rng

OTHERS = 4
"""How many other outputs each input is held against."""
LUMA = np.array([0.299, 0.587, 0.114])


class Alignment(Metric, name="alignment"):
    """The correlation of edges with the own input's, less that with the inputs of other outputs.

    0: an output has no more in common with its input than with any other, as where a model ignores what it is given.
    Edges are the lengths of the brightness gradients.
    """

    needs = ("sources",)
    real = "truth"

    def lacking(self, images: Evaluated) -> str | None:
        return super().lacking(images) or ("it needs two images" if len(images.outputs) < 2 else None)

    def measure(self, images: Evaluated) -> Figure:
        sources = images.sources or ()
        shapes = {pixels.shape[:2] for pixels in chain(images.outputs, sources)}
        side = None if len(shapes) == 1 else min(chain.from_iterable(shapes))
        x, y = (np.stack([_edges(pixels, side) for pixels in each]) for each in (sources, images.outputs))
        own = (x * y).sum(1)
        # A permutation in one cycle: no shift along it leaves an image beside itself.
        order = numpy_rng(images.seed, "alignment").permutation(len(x))
        shifts = range(1, min(OTHERS, len(x) - 1) + 1)
        other = np.zeros(len(x))
        for shift in shifts:
            other[order] += (x[np.roll(order, shift)] * y[order]).sum(1) / len(shifts)
        return mean_of(own - other, own=float(own.mean()), shuffled=float(other.mean()))


def _edges(pixels: Pixels, side: int | None) -> Values:
    """Edges as a vector of mean 0 and length 1, or of zeros where there are none."""
    brightness = (as_rgb(pixels) if side is None else squeezed(pixels, side)) @ LUMA
    edges = np.hypot(*np.gradient(brightness)).ravel()
    edges -= edges.mean()
    length = float(np.linalg.norm(edges))
    return edges / length if length > 1e-9 else np.zeros_like(edges)
