"""What every kind of training data offers to the loop, and what the kinds share."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import Dataset

from i2i.batch import Batch
from i2i.config import Config
from i2i.data.batches import Raw
from i2i.data.images import Pixels
from i2i.data.store import PictureStore
from i2i.data.transforms import Augmenter

Item = TypeVar("Item")


class TrainingData(ABC):
    """The data of one run, read and counted."""

    @property
    @abstractmethod
    def root(self) -> Path | None:
        """The folder that it lies in; None for data that is drawn and not read."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items an epoch shows: those of the larger domain where there are two."""

    @property
    @abstractmethod
    def in_memory(self) -> bool:
        """Whether drawing an item costs no decoding."""

    @abstractmethod
    def describe(self) -> str:
        """What there is, in words."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What was left out, one line for each file."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the names in order: a run can be continued exactly only on the same pictures."""

    @abstractmethod
    def settled(self, config: Config) -> Config:
        """``config`` with what was found in the data in the place of what it left open.

        Raises:
            ConfigError: it asks for what the data does not have.
        """

    @abstractmethod
    def dataset(self, config: Config, share: tuple[int, int]) -> Dataset[Raw]:
        """The numbered batches of a run, for process ``share[0]`` of ``share[1]``.

        Raises:
            ConfigError: an augmentation that cannot be used.
        """

    @abstractmethod
    def preview(self, config: Config, device: torch.device) -> Batch:
        """A few fixed items for previews, held out where there are such."""


def digest_of_names(root: Path, *stores: PictureStore) -> str:
    """A short hash of the pictures' names relative to ``root``, in order."""
    digest = hashlib.sha256()
    for store in stores:
        for picture in store.pictures:
            digest.update(os.fsencode(os.path.relpath(picture.name, root)) + b"|")
        digest.update(b"/")
    return digest.hexdigest()[:12]


def augmenter_for(config: Config, channels: Iterable[int]) -> Augmenter:
    """The augmentation that ``config`` describes, tried on pictures of these ``channels``.

    Raises:
        ConfigError: one that cannot be used.
    """
    extra = [augmentation.model_dump() for augmentation in config.data.augment]
    augmenter = Augmenter(config.image_size, flip=config.data.flip, extra=extra)
    augmenter.check(channels, config.data.load_size)
    return augmenter


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of the items, evenly spread; all where there are no more."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)


def centre(pixels: Pixels, size: int) -> Pixels:
    """The central square of side ``size`` of (H, W, C)."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]
