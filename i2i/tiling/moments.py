"""Mean and variance of each channel of a map that is seen tile by tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from i2i.data.ranges import Values


class Moments:
    """The moments of what was seen so far: those of each tile about its own mean, joined as in Chan et al. 1983."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = np.zeros(())

    def add(self, count: int, mean: NDArray[np.floating], variance: NDArray[np.floating]) -> None:
        """Adds a tile of ``count`` pixels, by the mean and variance of each channel, (C,)."""
        apart, both = mean.astype(np.float64) - self._mean, self._count + count
        self._squares = self._squares + variance.astype(np.float64) * count
        self._squares = self._squares + np.square(apart) * (self._count * count / both)
        self._mean = self._mean + apart * (count / both)
        self._count = both

    def factors(self, eps: float, *, over_channels: bool) -> tuple[Values, Values]:
        """What is taken from each channel, and what it is multiplied by then: (C, 1, 1)."""
        mean, variance = self._mean, self._squares / self._count
        if over_channels:
            variance = np.broadcast_to((variance + np.square(mean - mean.mean())).mean(), mean.shape)
            mean = np.broadcast_to(mean.mean(), mean.shape)
        scale = 1 / np.sqrt(variance + eps)
        return mean.astype(np.float32)[:, None, None], scale.astype(np.float32)[:, None, None]
