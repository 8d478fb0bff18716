"""The data of noise-to-image methods: pictures of one domain, with labels where the method takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from i2i.batch import Batch
from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.data.batches import LabelledDataset, to_unit
from i2i.data.collection import Collection, Part, find_collection
from i2i.data.heads import spread
from i2i.data.store import ImageSource, Loading, PictureStore, PixelMemory
from i2i.data.training_set import TrainingData, augmenter_for, bytes_of, centre, digest_of_names, note_heads
from i2i.data.transforms import stack
from i2i.data.unreadable import UnreadableItems
from i2i.display import tracked
from i2i.errors import ConfigError, DataError


@dataclass(frozen=True)
class OneDomain(TrainingData):
    """One domain, listed and counted."""

    collection: Collection
    channels: int
    pictures: ImageSource
    unreadable: UnreadableItems
    fits_in_memory: bool

    @classmethod
    def read(cls, config: Config) -> OneDomain:
        """Finds the training pictures that ``config.data`` names.

        Raises:
            DataError: there is no usable data; says which folder and why.
        """
        data = config.data
        collection = find_collection(data.path, size=data.load_size)
        channels = data.channels_a
        if channels == "auto":
            channels = 1 if collection.is_grey() else 3
        train = collection.train.pictures
        unreadable = UnreadableItems(len(train), f"; i2i data check {collection.root} names all")
        try:
            [heads] = zip(*note_heads(unreadable, "A", train), strict=True)
        except DataError as error:
            raise DataError(f"{collection.root}: {error}") from None
        unreadable.require_few()
        loading = Loading(channels, data.load_size, data.fit, data.background)
        need, budget = bytes_of(len(train), loading, heads), int(data.memory_gib * 2**30)
        pictures = ImageSource(train, loading, PixelMemory(len(train), min(need, budget)))
        return cls(collection, channels, pictures, unreadable, need <= budget)

    @property
    def roots(self) -> tuple[Path, ...]:
        return (self.collection.root,) if self.collection.root.is_dir() else ()

    @property
    def size(self) -> int:
        return len(self.pictures)

    @property
    def in_memory(self) -> bool:
        return self.fits_in_memory

    def describe(self) -> str:
        labels = f" with {len(self.collection.labels)} labels" if self.collection.labels else ""
        return f"{len(self.pictures):,} pictures{labels}"

    def problems(self) -> list[str]:
        return self.unreadable.reasons()

    def fingerprint(self) -> str:
        return f"{len(self.pictures)} pictures, names {self._digest}"

    @cached_property
    def _digest(self) -> str:
        return digest_of_names((self.collection.root, self.collection.train.pictures))

    def settled(self, config: Config) -> Config:
        wanted, found = config.method.get("labels", "ignored"), self.collection.labels
        if wanted == "required" and not found:
            raise ConfigError(
                f"{config.arch} needs labels, and {config.data.path} has none: give train/<label>/ folders, IDX files "
                "or the built-in set digits"
            )
        used = () if wanted == "ignored" else found
        if config.data.labels not in (None, (), used):
            raise ConfigError(f"data.labels: {list(config.data.labels or ())} given, and the data has {list(found)}")
        if config.data.labels == () and wanted != "required":
            used = ()
        return changed(config, {"data.channels_a": self.channels, "data.labels": used})

    def dataset(self, config: Config, share: tuple[int, int]) -> LabelledDataset:
        return LabelledDataset(
            self.pictures,
            torch.tensor(self.collection.train.labels) if config.data.labels else None,
            augmenter=augmenter_for(config, {self.channels}),
            batch_size=config.training.batch_size,
            seed=config.training.seed,
            share=share,
            unreadable=self.unreadable,
        )

    def preview(self, config: Config, device: torch.device) -> Batch:
        count = config.training.sample_count
        train = self.collection.train
        kept = [index for index in range(len(train.pictures)) if ("A", index) not in self.unreadable]
        readable = Part([train.pictures[i] for i in kept], [train.labels[i] for i in kept] if train.labels else [])
        for part in (self.collection.test, readable):
            few = Part(spread(part.pictures, count), spread(part.labels, count))
            pictures = _read(few, config, self.channels, config.image_size, budget=2**30)
            if len(pictures):
                break
        else:
            raise DataError(f"{self.collection.root}: none of the pictures for previews can be read")
        images = to_unit(
            torch.from_numpy(stack([centre(pictures[i], config.image_size) for i in range(len(pictures))])), device
        )
        label = torch.tensor([few.labels[number] for number in pictures.numbers]) if config.data.labels else None
        return Batch(images, label=None if label is None else label.to(device))


def read_pictures(pictures: Sequence[Part], config: Config) -> list[PictureStore]:
    """The pictures of several parts at the training size."""
    return [_read(part, config, config.data.channels("A"), config.image_size, budget=2**31) for part in pictures]


def _read(part: Part, config: Config, channels: int, load_size: int, budget: int) -> PictureStore:
    loading = Loading(channels, load_size, config.data.fit, config.data.background)
    return PictureStore(part.pictures, loading, budget, tracked("reading", len(part.pictures)))
