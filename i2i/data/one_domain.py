"""The data of noise-to-image methods: pictures of one domain, with labels where the method takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.config import Config
from i2i.data.batches import LabelledDataset, to_unit
from i2i.data.collection import Collection, Part, find_collection
from i2i.data.store import Loading, PictureStore
from i2i.data.training_set import TrainingData, augmenter_for, centre, digest_of_names, spread
from i2i.data.transforms import stack
from i2i.display import tracked
from i2i.errors import ConfigError, DataError


@dataclass(frozen=True)
class OneDomain(TrainingData):
    """One domain, read and counted."""

    collection: Collection
    channels: int
    pictures: PictureStore

    @classmethod
    def read(cls, config: Config) -> OneDomain:
        """Finds and reads the training pictures that ``config.data`` names.

        Raises:
            DataError: there is no usable data; says which folder and why.
        """
        data = config.data
        collection = find_collection(data.path, size=data.load_size)
        channels = data.channels_a
        if channels == "auto":
            channels = 1 if collection.is_grey() else 3
        pictures = _read(collection.train, config, channels, data.load_size, int(data.memory_gib * 2**30))
        if not len(pictures):
            raise DataError(f"{collection.root}: no picture can be read; first: {pictures.skipped[0]}")
        return cls(collection, channels, pictures)

    @property
    def root(self) -> Path | None:
        return self.collection.root if self.collection.root.is_dir() else None

    @property
    def size(self) -> int:
        return len(self.pictures)

    @property
    def in_memory(self) -> bool:
        return self.pictures.in_memory

    def describe(self) -> str:
        labels = f" with {len(self.collection.labels)} labels" if self.collection.labels else ""
        return f"{len(self.pictures):,} pictures{labels}"

    def problems(self) -> list[str]:
        return [str(error) for error in self.pictures.skipped]

    def fingerprint(self) -> str:
        return f"{len(self.pictures)} pictures, names {digest_of_names(self.collection.root, self.pictures)}"

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
        return config.changed("data.channels_a", self.channels).changed("data.labels", used)

    def dataset(self, config: Config, share: tuple[int, int]) -> LabelledDataset:
        return LabelledDataset(
            self.pictures,
            self._labels(config, self.collection.train, self.pictures),
            augmenter=augmenter_for(config, {self.channels}),
            batch_size=config.training.batch_size,
            seed=config.training.seed,
            share=share,
        )

    def preview(self, config: Config, device: torch.device) -> Batch:
        count = config.training.sample_count
        for part in (self.collection.test, self.collection.train):
            few = Part(spread(part.pictures, count), spread(part.labels, count))
            pictures = _read(few, config, self.channels, config.image_size, budget=2**30)
            if len(pictures):
                break
        images = stack([centre(pictures[i], config.image_size) for i in range(len(pictures))])
        label = self._labels(config, few, pictures)
        return Batch(to_unit(torch.from_numpy(images), device), label=None if label is None else label.to(device))

    @staticmethod
    def _labels(config: Config, part: Part, pictures: PictureStore) -> Tensor | None:
        if not config.data.labels:
            return None
        return torch.tensor([part.labels[number] for number in pictures.numbers])


def read_pictures(pictures: Sequence[Part], config: Config) -> list[PictureStore]:
    """The pictures of several parts at the training size."""
    return [_read(part, config, config.data.channels("A"), config.image_size, budget=2**31) for part in pictures]


def _read(part: Part, config: Config, channels: int, load_size: int, budget: int) -> PictureStore:
    loading = Loading(channels, load_size, config.data.fit, config.data.background)
    return PictureStore(part.pictures, loading, budget, tracked("reading", len(part.pictures)))
