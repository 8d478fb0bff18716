"""The images that the probes give to a discriminator: of one domain, or pairs joined along channels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from i2i.bounds import MAX_PIXELS
from i2i.data.batches import to_unit
from i2i.data.builtin import BUILTIN, load_layout
from i2i.data.collection import Collection, find_collection
from i2i.data.store import ImageLike, ImageStore
from i2i.data.training_set import centre
from i2i.data.transforms import stack
from i2i.display import counted, tracked
from i2i.errors import ConfigError, DataError
from i2i.probes.discriminators import Probed

BATCH = 128
BUDGET = 2**31
"""Bytes of decoded images kept in memory for each domain."""


@dataclass(frozen=True)
class Source:
    """The images of a data set that a discriminator can be given.

    Attributes:
        root: the data folder or built-in name.
        images: the images of each domain of its input; for pairs, item by item.
        held_out: whether they are held-out images; otherwise training images.
        labels: the label name of each image; empty if the data has no labels.
    """

    root: Path
    images: tuple[Sequence[ImageLike], ...]
    held_out: bool
    labels: tuple[str, ...]


def find_source(probed: Probed, data: str, max_pixels: int = MAX_PIXELS) -> Source:
    """The held-out images of ``data`` that fit ``probed``, or all images if none are held out.

    Args:
        probed: the discriminator; for a translator's, the images of its domain are used.
        data: as ``find_collection`` takes it. For a translator, a set of two domains, or a folder of the
            discriminator's domain; if it was trained on pairs, a set of pairs.
        max_pixels: the limit for images that are read.

    Raises:
        ConfigError: the model was trained on points.
        DataError: as ``find_collection`` and ``find_layout``.
    """
    if not probed.paired and not (probed.translates and _has_two_domains(data)):
        collection = collection_for(probed, data, max_pixels)
        part = collection.test if collection.test.images else collection.train
        labels = tuple(collection.labels[number] for number in part.labels) if collection.labels else ()
        return Source(collection.root, (part.images,), part is collection.test, labels)
    layout = load_layout(data, size=probed.config.image_size, paired=probed.paired, max_pixels=max_pixels)
    splits = [{"A": split.a, "B": split.b} for split in (layout.test, layout.train)]
    held_out = all(splits[0][domain] for domain in probed.domains)
    chosen = splits[0] if held_out else splits[1]
    return Source(layout.root, tuple(chosen[domain] for domain in probed.domains), held_out, ())


def _has_two_domains(data: str) -> bool:
    root = Path(data)
    return (root / "trainA").is_dir() or (root / "trainB").is_dir() or (data in BUILTIN and not root.is_dir())


def collection_for(probed: Probed, data: str, max_pixels: int = MAX_PIXELS) -> Collection:
    """The images of ``data``, for a model that was trained on images.

    Raises:
        ConfigError: it was trained on points.
        DataError: as ``find_collection``.
    """
    if probed.config.image_size == 1:
        raise ConfigError("this model was trained on points, not images: choose another with --model")
    return find_collection(data, size=probed.config.image_size, max_pixels=max_pixels)


class Images:
    """The readable images of a part, at the model's size.

    Attributes:
        numbers: their indices in the part.
        skipped: why the others cannot be read.
    """

    def __init__(self, root: Path, images: Sequence[Sequence[ImageLike]], probed: Probed) -> None:
        """Reads every image once.

        Args:
            root: the data, for messages.
            images: the images of each of the discriminator's domains, item by item.
            probed: the discriminator.

        Raises:
            DataError: fewer than two images can be read, so there is nothing to compare.
        """
        self._probed = probed
        self._stores = [
            ImageStore(own, loading, BUDGET, tracked("reading", len(own)))
            for own, loading in zip(images, probed.loadings, strict=True)
        ]
        self.skipped = [error for store in self._stores for error in store.skipped]
        self.numbers = sorted(set.intersection(*(set(store.numbers) for store in self._stores)))
        self._places = [dict(zip(store.numbers, range(len(store)), strict=True)) for store in self._stores]
        if len(self) < 2:
            first = f"; first: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{root}: {counted(len(self), 'image')} of a part can be read, but two are needed{first}")

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, indices: Sequence[int]) -> Tensor:
        """These images as the discriminator's input: (N, C, H, W) in [-1, 1], the central square."""
        size, numbers = self._probed.config.image_size, [self.numbers[index] for index in indices]
        domains = [
            stack([centre(store[places[number]], size) for number in numbers])
            for store, places in zip(self._stores, self._places, strict=True)
        ]
        return to_unit(torch.cat([torch.from_numpy(pixels) for pixels in domains], dim=1), self._probed.device)

    def batches(self, label: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The images in order, in batches, with their part of ``label`` (N,)."""
        for start in range(0, len(self), BATCH):
            yield self._batch(range(start, min(len(self), start + BATCH)), label)

    def mixed_batches(self, label: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches that mix all parts of the set, since folders are read label by label."""
        count = math.ceil(len(self) / BATCH)
        for start in range(count):
            yield self._batch(range(start, len(self), count), label)

    def _batch(self, indices: range, label: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.at(indices), None if label is None else label[list(indices)]
