"""Points instead of images, for the theory experiments: drawn from a known distribution, endless, never stored.

``ring2d``: eight Gaussians on a ring of radius 2 with standard deviation 0.02 (Metz et al. 2017, section 3.1).
``line1d``: one Gaussian on the line, mean 3 and standard deviation 0.5.
A point is an image of one pixel: (C, 1, 1) with C coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.batch import Batch
from i2i.config.schema import DataConfig
from i2i.data.batches import NumberedBatches, Raw
from i2i.data.identity import Contents, ImageList
from i2i.data.training_set import TrainingData
from i2i.data.unreadable import UnreadableItems
from i2i.errors import ConfigError, DataError
from i2i.seeding import numpy_rng

POINTS = ("ring2d", "line1d")
EPOCH = 50_000
"""How many points an epoch is counted as."""
RING_MODES, RING_RADIUS, RING_STD = 8, 2.0, 0.02
LINE_MEAN, LINE_STD = 3.0, 0.5


def ring_centres() -> NDArray[np.float32]:
    """The centres of the ring's Gaussians: (8, 2)."""
    angles = 2 * math.pi * np.arange(RING_MODES) / RING_MODES
    return (RING_RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)


def sample_points(name: str, count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Draws (count, coordinates) from the distribution ``name``."""
    if name == "ring2d":
        centres = ring_centres()[random.integers(RING_MODES, size=count)]
        return (centres + RING_STD * random.standard_normal((count, 2))).astype(np.float32)
    return (LINE_MEAN + LINE_STD * random.standard_normal((count, 1))).astype(np.float32)


class PointDataset(NumberedBatches):
    """The n-th batch of points, a function of (seed, batch number)."""

    def __init__(self, name: str, *, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        super().__init__(batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        self._name, self._own = name, list(self._positions(0))

    def __getitem__(self, number: int) -> Raw:
        points = sample_points(self._name, self._batch_size, numpy_rng(self._seed, "points", number))
        return Raw(_as_images(points)[self._own])


@dataclass(frozen=True)
class Points(TrainingData):
    """A distribution of points."""

    config: DataConfig
    image_size: int
    unreadable: UnreadableItems = field(default_factory=lambda: UnreadableItems(EPOCH))
    contents: Contents = field(default_factory=lambda: Contents([]))
    in_memory: bool = True

    @classmethod
    def named(cls, config: DataConfig, image_size: int) -> Points:
        """The distribution that ``config.path`` names.

        Raises:
            DataError: a recipe for images, where points are images of one pixel.
            ConfigError: labels are asked for, or that a device keeps them.
        """
        name, channels = config.path, 2 if config.path == "ring2d" else 1
        if image_size != 1 or config.channels_a not in ("auto", channels):
            raise DataError(f"{name} holds points: set image_size=1 and data.channels_a={channels}, or give a folder")
        if config.on_device:
            raise ConfigError(f"data.on_device: {name} is drawn and never stored: leave it out")
        if config.labels:
            raise ConfigError(f"data.labels: the points of {name} have none")
        return cls(config.model_copy(update={"channels_a": channels, "labels": ()}), image_size)

    @property
    def roots(self) -> tuple[Path, ...]:
        return ()

    @property
    def listed(self) -> tuple[Path, ...]:
        return ()

    @property
    def size(self) -> int:
        return EPOCH

    def describe(self) -> str:
        return f"points of {self.config.path}"

    def problems(self) -> list[str]:
        return []

    @property
    def images(self) -> ImageList:
        return ImageList({})

    def fingerprint(self) -> str:
        return self.config.path

    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> PointDataset:
        return PointDataset(self.config.path, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)

    def preview(self, count: int) -> Batch:
        """A thousand points whatever ``count``: a few would show no distribution."""
        name = self.config.path
        return Batch(_as_images(sample_points(name, 1000, numpy_rng("preview", name))))

    def examples(self, count: int, *, held_out: bool) -> Batch:
        name, part = self.config.path, "held out" if held_out else "training"
        return Batch(_as_images(sample_points(name, count, numpy_rng("examples", name, part))))


def _as_images(points: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(points)[:, :, None, None]
