"""The data of translators: the images of two domains, unpaired or paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from i2i.batch import Batch
from i2i.config.schema import DataConfig
from i2i.data.batches import BatchDataset, different_shapes, unit_batch
from i2i.data.builtin import load_layout
from i2i.data.depth import described
from i2i.data.found_depth import Found, with_depths
from i2i.data.heads import spread
from i2i.data.identity import Contents, ImageList
from i2i.data.layout import ImageFile, Layout, Split, find_folders
from i2i.data.store import ImageSource, ImageStore, Loading, PixelMemory
from i2i.data.training_set import (
    TrainingData,
    as_listed,
    bytes_of,
    centre,
    image_list,
    note_heads,
    note_sizes,
)
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.errors import DataError
from i2i.kinds import AnyPixels

PAIRS_COMPARED = 16
"""How many pairs are compared in shape when a run starts."""


@dataclass(frozen=True)
class TwoDomains(TrainingData):
    """Both domains, listed and counted."""

    config: DataConfig
    image_size: int
    layout: Layout
    a: ImageSource
    b: ImageSource
    unreadable: UnreadableItems
    contents: Contents
    in_memory: bool

    @classmethod
    def read(cls, config: DataConfig, image_size: int, *, paired: bool, listed: ImageList | None = None) -> TwoDomains:
        """Finds the training images that ``config`` names; ``listed`` as in ``load_training_set``.

        Raises:
            DataError: there is no usable data; says which folder and why.
            ConfigError: the channels are left to the data.
        """
        _ = config.images  # refuses channels that are left to the data before files are looked for
        layout = layout_of(config, paired=paired)
        if listed is not None:
            layout = _as_listed(config.title, layout, listed)
        train = layout.train
        items = len(train.a) if train.paired else len(train.a) + len(train.b)
        unreadable = UnreadableItems(items, "; i2i data check names all")
        streams = ("pair", "partner") if train.paired else ("A", "B")
        try:
            sides = dict(zip(streams, (train.a, train.b), strict=True))
            contents = note_sizes(unreadable, sides, listed=listed is not None)
            if train.paired:
                pairs = note_heads(unreadable, "pair", train.a, train.b, what="pair")
                heads_a, heads_b = ({number: both[side] for number, both in pairs.items()} for side in (0, 1))
            else:
                heads_a, heads_b = (
                    {
                        n: head
                        for n, [head] in note_heads(unreadable, name, side, what=f"image of domain {name}").items()
                    }
                    for name, side in (("A", train.a), ("B", train.b))
                )
        except DataError as error:
            raise DataError(f"{config.title}: {error}") from None
        unreadable.require_few()
        config = with_depths(config, Found("A", train.a, heads_a), Found("B", train.b, heads_b))
        loading_a, loading_b = _loadings(config, config.load_size, drafts=config.jpeg_drafts)
        need = sum(
            bytes_of(len(side), loading, heads.values())
            for side, loading, heads in ((train.a, loading_a, heads_a), (train.b, loading_b, heads_b))
        )
        memory = PixelMemory(len(train.a) + len(train.b), need, config.memory_gib, config.disk_gib)
        a = ImageSource(train.a, loading_a, memory, contents)
        b = ImageSource(train.b, loading_b, memory, contents, first=len(train.a))
        if train.paired and config.fit == "shorter":
            _require_equal_sizes(a, b, unreadable)
        return cls(config, image_size, layout, a, b, unreadable, contents, memory.complete)

    @property
    def roots(self) -> tuple[Path, ...]:
        return self.layout.roots

    @property
    def size(self) -> int:
        return max(len(self.a), len(self.b))

    def describe(self) -> str:
        return f"{len(self.a):,} images in A and {len(self.b):,} in B"

    def notes(self) -> list[str]:
        layout, images = self.layout, self.config.images
        depths = []
        if not images.is_plain:
            a, b = described(images.depth_a, images.channels_a), described(images.depth_b, images.channels_b)
            depths = [f"depth of A: {a}; of B: {b}{_shown(images.channels_a, images.channels_b)}"]
        if layout.kind != "folders A and B" or layout.folders["test"] != layout.folders["train"]:
            return [*depths, *self.a.memory.notes]
        return [
            *depths,
            *self.a.memory.notes,
            f"held out (chosen by file name): {len(layout.test.a):,} images of A and {len(layout.test.b):,} of B "
            f"(data.held_out={layout.held_out:g}; --test-a and --test-b name others)",
        ]

    def problems(self) -> list[str]:
        lone = [f"{path}: no partner of the same name" for path in self.layout.unmatched]
        return [*self.unreadable.reasons(), *lone, *self.layout.denied]

    @cached_property
    def images(self) -> ImageList:
        return image_list(_domains(self.layout))

    def fingerprint(self) -> str:
        return f"{len(self.a)} in A, {len(self.b)} in B, names {self._digest}"

    @property
    def sources(self) -> Mapping[str, ImageSource]:
        return {"pair": self.a, "partner": self.b} if self.layout.train.paired else {"A": self.a, "B": self.b}

    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> BatchDataset:
        return BatchDataset(
            self.a,
            self.b,
            paired=self.layout.train.paired,
            augmenter=self.augmenter(self.a.loading, self.b.loading),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unreadable=self.unreadable,
        )

    def preview(self, count: int) -> Batch:
        """A few fixed held-out images of both domains, spread over the split, at the training size.

        Where no test image can be read, training images take their place.
        """
        train = self.layout.train
        streams = ("pair", "pair") if train.paired else ("A", "B")
        sides = [
            [image for index, image in enumerate(images) if (stream, index) not in self.unreadable]
            for stream, images in zip(streams, (train.a, train.b), strict=True)
        ]
        for split in (self.layout.test, Split(sides[0], sides[1], train.paired)):
            items = self._readable(split, count)
            if items:
                break
        else:
            raise DataError(f"{self.config.title}: none of the images for previews can be read")
        return self._batch(items)

    def examples(self, count: int, *, held_out: bool) -> Batch | None:
        items = self._readable(self.layout.test if held_out else self.layout.train, count)
        return self._batch(items) if items else None

    def _batch(self, items: list[tuple[AnyPixels, AnyPixels]]) -> Batch:
        size, cpu = self.image_size, torch.device("cpu")
        images = self.config.images
        a, b = (
            unit_batch([centre(pixels, size) for pixels in side], depth, cpu)
            for side, depth in zip(zip(*items, strict=True), (images.depth_a, images.depth_b), strict=True)
        )
        return Batch(a, b)

    def _readable(self, split: Split, count: int) -> list[tuple[AnyPixels, AnyPixels]]:
        """Up to ``count`` images of both domains at the training size, spread over the split; or pairs."""
        loadings = _loadings(self.config, self.image_size)
        stores = [
            ImageStore(spread(images, count), loading, 2**30, iter)
            for images, loading in zip((split.a, split.b), loadings, strict=True)
        ]
        a, b = ({n: store[i] for i, n in enumerate(store.numbers)} for store in stores)
        if split.paired:
            return [(a[number], b[number]) for number in sorted(a.keys() & b.keys())]
        return list(zip(a.values(), b.values(), strict=False))


def _shown(*channels: int) -> str:
    """What previews show of so many channels, where it is not all."""
    if max(channels) > 4:
        return "; previews show the first three channels"
    return "; previews show the first channel of two" if 2 in channels else ""


def layout_of(data: DataConfig, *, paired: bool) -> Layout:
    """The layout of the folders or the set that ``data`` names; ``paired`` as in ``find_layout``.

    Raises:
        DataError: as ``load_layout`` and ``find_folders``.
    """
    if data.a is None or data.b is None:
        return load_layout(data.path, size=data.load_size, paired=paired, max_pixels=data.max_pixels)
    tests = [None if test is None else Path(test) for test in (data.test_a, data.test_b)]
    return find_folders(
        Path(data.a), Path(data.b), *tests, held_out=data.held_out, paired=paired, max_pixels=data.max_pixels
    )


def _domains(layout: Layout) -> dict[str, tuple[Path, Sequence[ImageFile]]]:
    """The root of each domain's names, and its training images."""
    roots = layout.folders["train"] if layout.kind == "folders A and B" else (layout.root, layout.root)
    return {"A": (roots[0], layout.train.a), "B": (roots[1], layout.train.b)}


def _as_listed(title: str, layout: Layout, listed: ImageList) -> Layout:
    """The layout with the training images of a run in the place of those that are there now."""
    a, b = as_listed(title, _domains(layout), listed)
    used = {image.name for image in (*a, *b)}
    unmatched = [path for path in layout.unmatched if path not in used]
    return replace(layout, train=Split(a, b, layout.train.paired), unmatched=unmatched)


def _loadings(config: DataConfig, size: int, *, drafts: bool = False) -> tuple[Loading, Loading]:
    """How images of A and of B are decoded and brought to ``size``."""
    images = config.images
    return Loading.of(images, "A", size, drafts=drafts), Loading.of(images, "B", size, drafts=drafts)


def _require_equal_sizes(a: ImageSource, b: ImageSource, unreadable: UnreadableItems) -> None:
    """Compares a few pairs in shape before training; those met later are replaced, as what cannot be read."""
    for index in spread(range(len(a)), PAIRS_COMPARED):
        try:
            one, other = a[index], b[index]
        except DataError as error:
            unreadable.add([Unreadable("pair", index, str(error))])
            continue
        if one.shape[:2] != other.shape[:2]:
            raise DataError(different_shapes(a.images[index].name, one, b.images[index].name, other))
