"""The interface of training data to the training loop, and code shared by all kinds of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.config.schema import DataConfig
from i2i.data.batches import Images, NumberedBatches, batches_from
from i2i.data.heads import Head, head_sample
from i2i.data.identity import GONE, ChangedImage, Contents, ImageList, relative_names
from i2i.data.layout import ImageFile
from i2i.data.on_device import Places, Tables
from i2i.data.store import ImageLike, ImageSource, Loading, PixelMemory
from i2i.data.transforms import Augmenter
from i2i.data.unreadable import ITEMS, Unreadable, UnreadableItems
from i2i.display import warn
from i2i.errors import DataError
from i2i.kinds import AnyPixels

AnyImage = TypeVar("AnyImage", bound=ImageLike)
Domains = Mapping[str, tuple[Path, Sequence[AnyImage]]]
"""The root and the images of each domain."""


class TrainingData(ABC):
    """The data of one run, listed and counted; images are decoded when they are drawn.

    Attributes:
        config: its settings, with what was found in the data in the place of what they left open.
        image_size: side of a training crop, in pixels.
        unreadable: the items that could not be read so far.
        contents: size and digest of every image.
        in_memory: whether all images fit in memory once they are decoded, so that only the first epoch costs decoding.
    """

    config: DataConfig
    image_size: int
    unreadable: UnreadableItems
    contents: Contents
    in_memory: bool

    @property
    @abstractmethod
    def roots(self) -> tuple[Path, ...]:
        """The folders that it lies in; none for data that is drawn and not read."""

    @property
    @abstractmethod
    def listed(self) -> tuple[Path, ...]:
        """The folders among them, or within, of which every image belongs to it."""

    def notes(self) -> list[str]:
        """What a person should know of how the data was split."""
        return []

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items an epoch shows: those of the larger domain where there are two."""

    @abstractmethod
    def describe(self) -> str:
        """What there is, in words."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What was left out or could not be read so far, one line for each item."""

    @property
    @abstractmethod
    def images(self) -> ImageList:
        """The names of the training images in order, which a run keeps; none for data that is drawn and not read."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the names in order: a run can be continued exactly only on the same images."""

    @cached_property
    def _digest(self) -> str:
        return self.images.digest()

    @property
    def sources(self) -> Mapping[str, ImageSource]:
        """The images by the stream that shows them; those of pairs as "pair" and "partner"."""
        return {}

    def contents_state(self) -> Tensor:
        """What a checkpoint keeps of the contents: (images, 2), as ``Contents.state``."""
        numbers = [
            source.first + number
            for item, number, _ in self.unreadable.state()
            for stream, source in self.sources.items()
            if ITEMS.get(stream, stream) == item
        ]
        return self.contents.state(numbers)

    def require_same(self, recorded: Tensor, *, repaired: bool = False) -> None:
        """Compares the images with what ``contents_state`` gave, and takes it over.

        Args:
            recorded: what it gave.
            repaired: the run ended for images that cannot be read; one that it has never read may be another now.

        Raises:
            ChangedImage: one of them has other contents.
            DataError: too many have become unreadable.
        """
        if repaired:
            recorded = torch.where(recorded[:, 1:] == 0, torch.tensor([GONE, 0]), recorded)
        differing = self.contents.differing(recorded)
        for stream, source in self.sources.items():
            item = ITEMS.get(stream, stream)
            for index in (number - source.first for number in differing):
                if not 0 <= index < len(source) or (item, index) in self.unreadable:
                    continue
                try:
                    source.require_unreadable(index)
                except ChangedImage:
                    raise
                except DataError as error:
                    self.unreadable.add([Unreadable(item, index, str(error))])
                self.unreadable.require_few()
        self.contents.load_state(recorded)

    @abstractmethod
    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> NumberedBatches:
        """The numbered batches of a run.

        Args:
            batch_size: items of a batch, over all processes.
            seed: decides order and augmentation.
            rank: the number of this process, whose part of every batch it is.
            world_size: how many processes there are.

        Raises:
            ConfigError: an augmentation that cannot be used.
        """

    def batches(self, dataset: NumberedBatches, start: int, *, workers: int, device: torch.device) -> Iterator[Batch]:
        """Endless batches as ``batches_from``, or as ``Tables.batches`` with ``data.on_device``; errors as there."""
        if self.config.on_device:
            return self.tables.batches(dataset, start, device)
        return batches_from(dataset, start, workers=workers, device=device, unreadable=self.unreadable)

    @cached_property
    def tables(self) -> Tables:
        """The images as a device keeps them; errors as ``Tables``."""
        return Tables(self.sources, self.image_size, self.unreadable)

    @property
    def bytes_on_device(self) -> int:
        """How much memory of the device the images take for the whole run."""
        return self.tables.nbytes if self.config.on_device else 0

    def shown(self, *loadings: Loading, input_side: int = 0) -> tuple[Mapping[str, Images], Augmenter]:
        """What a dataset shows, by stream, and how it augments that: images that are decoded so, or their places.

        ``input_side`` is as in ``Augmenter``.

        Raises:
            ConfigError: an augmentation that cannot be used.
        """
        if self.config.on_device:
            return self.tables.rows, Places(self.image_size, flip=self.config.flip)
        return self.sources, self.augmenter(*loadings, input_side=input_side)

    @abstractmethod
    def preview(self, count: int) -> Batch:
        """Up to ``count`` fixed items for previews, held out where there are such."""

    @abstractmethod
    def examples(self, count: int, *, held_out: bool) -> Batch | None:
        """Up to ``count`` fixed items of the training or of the held-out part; None where none of them can be read.

        They are brought to the training size as those for previews are, and depend on the files alone.
        """

    def smallest(self) -> int:
        """How many training images there are, in the smaller domain where there are two."""
        return min((len(source) for source in self.sources.values()), default=self.size)

    def augmenter(self, *loadings: Loading, input_side: int = 0) -> Augmenter:
        """The augmentation of the settings, tried on images that are decoded so.

        Raises:
            ConfigError: one that cannot be used.
        """
        extra = [augmentation.model_dump() for augmentation in self.config.augment]
        augmenter = Augmenter(self.image_size, flip=self.config.flip, extra=extra, input_side=input_side)
        samples = {(loading.channels, loading.depth.is_plain) for loading in loadings}
        side = self.image_size  # crops are transformed
        augmenter.check(
            np.full((side, side, channels), 128, np.uint8)
            if is_plain
            else np.full((side, side, channels), 0.5, np.float32)
            for channels, is_plain in sorted(samples)
        )
        return augmenter


def image_list(domains: Domains[AnyImage], labels: Sequence[int] = ()) -> ImageList:
    """The names of each domain's images relative to its root, in order."""
    names = {domain: list(relative_names(root, images)) for domain, (root, images) in domains.items()}
    return ImageList(names, labels)


def as_listed(title: str, domains: Domains[AnyImage], listed: ImageList) -> list[list[AnyImage]]:
    """The images of each domain that a run has listed, in its order, also where they are no longer there.

    New ones are named in a warning and left out: with them, every batch would be another.

    Raises:
        DataError: the list is that of another kind of data.
    """
    if domains.keys() != listed.names.keys():
        raise DataError(f"{title} has other domains than the data that this run was started with")
    images, new = list[list[AnyImage]](), list[str]()
    for domain, (root, found) in domains.items():
        there, names = dict(zip(relative_names(root, found), found, strict=True)), listed.names[domain]
        images.append([there[name] if name in there else _absent(found[0], root / name) for name in names])
        new += there.keys() - set(names)
    if new:
        warn(f"{title}: new since the run was started, and not used: {len(new):,}, first {min(new)}")
    return images


def _absent(like: AnyImage, path: Path) -> AnyImage:
    if isinstance(like, ImageFile):
        return replace(like, path=path)
    raise DataError(f"{path}: the images have changed since the run was started: it is no longer among them")


def note_sizes(unreadable: UnreadableItems, domains: Mapping[str, Sequence[ImageLike]], *, listed: bool) -> Contents:
    """Asks for the size of every file, so that those that are gone are known before training.

    Args:
        unreadable: takes those that are not there.
        domains: the images, by the stream that shows them.
        listed: whether a run has listed them before.

    Raises:
        DataError: too many are not there.
    """
    sizes, gone = list[int](), list[Unreadable]()
    for stream, images in domains.items():
        for index, image in enumerate(images):
            try:
                sizes.append(image.size())
            except DataError as error:
                sizes.append(GONE)
                gone.append(Unreadable(ITEMS.get(stream, stream), index, str(error)))
    items = {(item.stream, item.number): item for item in gone}.values()
    if listed and len(items) > unreadable.limit:
        raise DataError(
            f"{len(items):,} of the run's {unreadable.total:,} items are not there, first {gone[0].reason}: "
            "restore them, or name the folder that holds them with --data, or --a and --b"
        )
    unreadable.add(items)
    return Contents(sizes)


def note_heads(
    unreadable: UnreadableItems, stream: str, *domains: Sequence[ImageLike], what: str = "image"
) -> dict[int, tuple[Head, ...]]:
    """Reads the headers of a fixed sample of items, so that data which is not there is known before training.

    Args:
        unreadable: takes those that cannot be read.
        stream: what the items are called there.
        domains: the images; the i-th of all domains are one item.
        what: what an item is called in messages.

    Returns:
        The headers of the items whose headers can be read, by their numbers.

    Raises:
        DataError: there is no such item.
    """
    heads, bad = dict[int, tuple[Head, ...]](), list[Unreadable]()
    for index in head_sample(range(len(domains[0]))):
        try:
            heads[index] = tuple(images[index].head() for images in domains)
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


def pixel_memory(count: int, need: int, config: DataConfig) -> PixelMemory:
    """What keeps ``count`` decoded images of ``need`` bytes on the host: nothing where the device keeps them."""
    return PixelMemory(count, 0 if config.on_device else need, config.memory_gib, config.disk_gib)


def centre(pixels: AnyPixels, size: int) -> AnyPixels:
    """The central square of side ``size`` of (H, W, C)."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]
