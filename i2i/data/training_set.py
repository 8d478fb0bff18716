"""What every kind of training data offers to the loop, and what the kinds share."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch.utils.data import Dataset

from i2i.batch import Batch
from i2i.config.schema import DataConfig
from i2i.data.batches import Raw
from i2i.data.heads import Head, head_sample
from i2i.data.images import Pixels
from i2i.data.store import Loading, Picture
from i2i.data.transforms import Augmenter
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.errors import DataError


class TrainingData(ABC):
    """The data of one run, listed and counted; images are decoded when they are drawn.

    Attributes:
        config: its settings, with what was found in the data in the place of what they left open.
        image_size: side of a training crop, in pixels.
        unreadable: the items that could not be read so far.
    """

    config: DataConfig
    image_size: int
    unreadable: UnreadableItems

    @property
    @abstractmethod
    def roots(self) -> tuple[Path, ...]:
        """The folders that it lies in; none for data that is drawn and not read."""

    def notes(self) -> list[str]:
        """What a person should know of how the data was split."""
        return []

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items an epoch shows: those of the larger domain where there are two."""

    @property
    @abstractmethod
    def in_memory(self) -> bool:
        """Whether all images fit in memory once they are decoded, so that only the first epoch costs decoding."""

    @abstractmethod
    def describe(self) -> str:
        """What there is, in words."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What was left out or could not be read so far, one line for each item."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the names in order: a run can be continued exactly only on the same pictures."""

    @abstractmethod
    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> Dataset[Raw]:
        """The numbered batches of a run.

        Args:
            batch_size: items of a batch, over all processes.
            seed: decides order and augmentation.
            rank: the number of this process, whose part of every batch it is.
            world_size: how many processes there are.

        Raises:
            ConfigError: an augmentation that cannot be used.
        """

    @abstractmethod
    def preview(self, count: int) -> Batch:
        """Up to ``count`` fixed items for previews, held out where there are such."""

    def augmenter(self, *channels: int) -> Augmenter:
        """The augmentation of the settings, tried on images of these ``channels``.

        Raises:
            ConfigError: one that cannot be used.
        """
        extra = [augmentation.model_dump() for augmentation in self.config.augment]
        augmenter = Augmenter(self.image_size, flip=self.config.flip, extra=extra)
        augmenter.check(set(channels), self.config.load_size)
        return augmenter


def digest_of_names(*domains: tuple[Path, Sequence[Picture]]) -> str:
    """A short hash of the names of each domain's pictures relative to a folder, in order."""
    digest = hashlib.sha256()
    for root, pictures in domains:
        prefix = os.path.join(root, "")
        for picture in pictures:
            name = os.fspath(picture.name)  # below the root, as it was listed
            short = name.removeprefix(prefix) if name.startswith(prefix) else os.path.relpath(name, root)
            digest.update(os.fsencode(short) + b"|")
        digest.update(b"/")
    return digest.hexdigest()[:12]


def note_heads(
    unreadable: UnreadableItems, stream: str, *domains: Sequence[Picture], what: str = "picture"
) -> list[tuple[Head, ...]]:
    """Reads the headers of a fixed sample of items, so that data which is not there is known before training.

    Args:
        unreadable: takes those that cannot be read.
        stream: what the items are called there.
        domains: the pictures; the i-th of all domains are one item.
        what: what an item is called in messages.

    Returns:
        The headers of the items whose headers can be read.

    Raises:
        DataError: there is no such item.
    """
    heads, bad = [], list[Unreadable]()
    for index in head_sample(range(len(domains[0]))):
        try:
            heads.append(tuple(pictures[index].head() for pictures in domains))
        except DataError as error:
            bad.append(Unreadable(stream, index, str(error)))
    if not heads:
        raise DataError(f"no {what} can be read; first: {bad[0].reason}")
    unreadable.add(bad)
    return heads


def bytes_of(count: int, loading: Loading, heads: Iterable[Head]) -> int:
    """How many bytes ``count`` decoded images take at most, as the headers of a sample say.

    This is exact where all images become squares. Where they do not, others may be larger, and some may then not be
    kept.
    """
    return count * max(map(loading.size_of, heads))


def centre(pixels: Pixels, size: int) -> Pixels:
    """The central square of side ``size`` of (H, W, C)."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]
