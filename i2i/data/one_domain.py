"""The data of noise-to-image methods: images of one domain, with labels if the method uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from i2i.batch import Batch, Labels
from i2i.config.schema import DataConfig, ImageConfig
from i2i.data.batches import LabelledDataset, to_unit
from i2i.data.collection import Collection, Part, find_collection
from i2i.data.heads import spread
from i2i.data.identity import Contents, ImageList
from i2i.data.store import ImageSource, ImageStore, Loading
from i2i.data.stored import Held
from i2i.data.training_set import (
    TrainingData,
    as_listed,
    bytes_of,
    centre,
    image_list,
    note_heads,
    note_sizes,
    pixel_memory,
)
from i2i.data.transforms import stack
from i2i.data.unreadable import UnreadableItems
from i2i.display import counted, tracked
from i2i.errors import ConfigError, DataError


@dataclass(frozen=True)
class OneDomain(TrainingData):
    """One domain, listed and counted."""

    config: DataConfig
    image_size: int
    collection: Collection
    source: ImageSource
    unreadable: UnreadableItems
    contents: Contents
    in_memory: bool
    held: frozenset[Held] = frozenset()

    @classmethod
    def read(
        cls, config: DataConfig, image_size: int, labels: Labels = "ignored", listed: ImageList | None = None
    ) -> OneDomain:
        """Finds the training images that ``config`` names; arguments as ``load_training_set``.

        Raises:
            DataError: there is no usable data; says which folder and why.
            ConfigError: labels are asked for that the data does not have.
        """
        collection = find_collection(config.path, size=config.load_size, max_pixels=config.max_pixels)
        config = _resolved(config, labels, collection)
        if listed is not None:
            [images] = as_listed(config.title, {"A": (collection.root, collection.train.images)}, listed)
            collection = replace(collection, train=Part(images, list(listed.labels)))
        train = collection.train.images
        unreadable = UnreadableItems(len(train), f"; i2i data check {collection.root} names all")
        try:
            contents = note_sizes(unreadable, {"A": train}, listed=listed is not None)
            [heads] = zip(*note_heads(unreadable, "A", train).values(), strict=True)
        except DataError as error:
            raise DataError(f"{collection.root}: {error}") from None
        unreadable.require_few()
        held = frozenset(head.held for head in heads)
        if not any(each.fits_8_bits for each in held):
            raise DataError(
                f"{collection.root}: holds {min(map(str, held))}, and recipes that make images from noise learn images "
                "of 8 or 16 bits in 1, 3 or 4 channels"
            )
        loading = Loading.of(config.images, "A", config.load_size, drafts=config.jpeg_drafts)
        memory = pixel_memory(len(train), bytes_of(len(train), loading, heads), config)
        source = ImageSource(train, loading, memory, contents)
        return cls(config, image_size, collection, source, unreadable, contents, memory.complete, held)

    @property
    def roots(self) -> tuple[Path, ...]:
        return (self.collection.root,) if self.collection.root.is_dir() else ()

    @property
    def listed(self) -> tuple[Path, ...]:
        return tuple(root / "train" if (root / "train").is_dir() else root for root in self.roots)

    @property
    def size(self) -> int:
        return len(self.source)

    def describe(self) -> str:
        labels = f" with {len(self.collection.labels)} labels" if self.collection.labels else ""
        return f"{counted(len(self.source), 'image')}{labels}"

    def notes(self) -> list[str]:
        reduced = any(held.kind == "uint16" for held in self.held)
        divided = ["16-bit values are divided by 257: this recipe generates 8-bit images"] if reduced else []
        return divided + self.source.memory.notes

    def problems(self) -> list[str]:
        return [*self.unreadable.reasons(), *self.collection.denied]

    @cached_property
    def images(self) -> ImageList:
        train = self.collection.train
        return image_list({"A": (self.collection.root, train.images)}, train.labels)

    def fingerprint(self) -> str:
        return f"{len(self.source)} images, names {self._digest}"

    @property
    def sources(self) -> Mapping[str, ImageSource]:
        return {"A": self.source}

    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> LabelledDataset:
        images, augmenter = self.shown(self.source.loading)
        return LabelledDataset(
            images["A"],
            torch.tensor(self.collection.train.labels) if self.config.labels else None,
            augmenter=augmenter,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unreadable=self.unreadable,
        )

    def preview(self, count: int) -> Batch:
        train = self.collection.train
        kept = [index for index in range(len(train.images)) if ("A", index) not in self.unreadable]
        readable = Part([train.images[i] for i in kept], [train.labels[i] for i in kept] if train.labels else [])
        for part in (self.collection.test, readable):
            batch = self._few(part, count)
            if batch is not None:
                return batch
        raise DataError(f"{self.collection.root}: none of the images for previews can be read")

    def examples(self, count: int, *, held_out: bool) -> Batch | None:
        return self._few(self.collection.test if held_out else self.collection.train, count)

    def _few(self, part: Part, count: int) -> Batch | None:
        """Up to ``count`` images of the part, spread over it; None where none of them can be read."""
        few = Part(spread(part.images, count), spread(part.labels, count))
        images = _read(few, self.config.images, self.image_size, budget=2**30)
        if not len(images):
            return None
        pixels = stack([centre(images[i], self.image_size) for i in range(len(images))])
        label = torch.tensor([few.labels[number] for number in images.numbers]) if self.config.labels else None
        return Batch(to_unit(torch.from_numpy(pixels), torch.device("cpu")), label=label)


def read_images(parts: Sequence[Part], images: ImageConfig, size: int) -> list[ImageStore]:
    """The images of several parts, brought to ``size`` as those of domain A."""
    return [_read(part, images, size, budget=2**31) for part in parts]


def _read(part: Part, images: ImageConfig, size: int, budget: int) -> ImageStore:
    return ImageStore(part.images, Loading.of(images, "A", size), budget, tracked("reading", len(part.images)))


def _resolved(config: DataConfig, wanted: Labels, collection: Collection) -> DataConfig:
    """``config`` with the channels and labels of ``collection`` in the place of what it leaves open."""
    if wanted == "required" and not collection.labels:
        raise ConfigError(
            f"this recipe needs labels, and {config.path} has none: give train/<label>/ folders, IDX files "
            "or the built-in set digits"
        )
    used = () if wanted == "ignored" else collection.labels
    if config.labels not in (None, (), used):
        raise ConfigError(f"data.labels: {list(config.labels or ())} given, and the data has {list(collection.labels)}")
    if config.labels == () and wanted != "required":
        used = ()
    channels = config.channels_a
    if channels == "auto":
        channels = 1 if collection.is_grey() else 3
    return config.model_copy(update={"channels_a": channels, "labels": used})
