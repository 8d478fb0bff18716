"""The data of translators: the pictures of two domains, unpaired or paired."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from i2i.batch import Batch
from i2i.config.schema import Config, DataConfig
from i2i.data.batches import BatchDataset, different_shapes, to_unit
from i2i.data.builtin import load_layout
from i2i.data.heads import spread
from i2i.data.images import Pixels
from i2i.data.layout import Layout, Split, find_folders
from i2i.data.store import ImageSource, Loading, PictureStore, PixelMemory
from i2i.data.training_set import TrainingData, augmenter_for, bytes_of, centre, digest_of_names, note_heads
from i2i.data.transforms import stack
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.errors import DataError

PAIRS_COMPARED = 16
"""How many pairs are compared in shape when a run starts."""


@dataclass(frozen=True)
class TwoDomains(TrainingData):
    """Both domains, listed and counted."""

    layout: Layout
    a: ImageSource
    b: ImageSource
    unreadable: UnreadableItems
    fits_in_memory: bool

    @classmethod
    def read(cls, config: Config, *, paired: bool) -> TwoDomains:
        """Finds the training pictures that ``config.data`` names.

        Raises:
            DataError: there is no usable data; says which folder and why.
        """
        data = config.data
        layout = layout_of(data, paired=paired)
        train = layout.train
        items = len(train.a) if train.paired else len(train.a) + len(train.b)
        unreadable = UnreadableItems(items, "; i2i data check names all")
        try:
            if train.paired:
                heads_a, heads_b = zip(*note_heads(unreadable, "pair", train.a, train.b, what="pair"), strict=True)
            else:
                [heads_a] = zip(*note_heads(unreadable, "A", train.a, what="picture of domain A"), strict=True)
                [heads_b] = zip(*note_heads(unreadable, "B", train.b, what="picture of domain B"), strict=True)
        except DataError as error:
            raise DataError(f"{data.title}: {error}") from None
        unreadable.require_few()
        loading_a, loading_b = _loading(config, "A", data.load_size), _loading(config, "B", data.load_size)
        need = bytes_of(len(train.a), loading_a, heads_a) + bytes_of(len(train.b), loading_b, heads_b)
        budget = int(data.memory_gib * 2**30)
        memory = PixelMemory(len(train.a) + len(train.b), min(need, budget))
        a, b = ImageSource(train.a, loading_a, memory), ImageSource(train.b, loading_b, memory, first=len(train.a))
        if train.paired and data.fit == "shorter":
            _require_equal_sizes(a, b, unreadable)
        return cls(layout, a, b, unreadable, need <= budget)

    @property
    def roots(self) -> tuple[Path, ...]:
        return self.layout.roots

    @property
    def size(self) -> int:
        return max(len(self.a), len(self.b))

    @property
    def in_memory(self) -> bool:
        return self.fits_in_memory

    def describe(self) -> str:
        return f"{len(self.a):,} pictures in A and {len(self.b):,} in B"

    def notes(self) -> list[str]:
        layout = self.layout
        if layout.kind != "folders A and B" or layout.folders["test"] != layout.folders["train"]:
            return []
        return [
            f"held out by their names: {len(layout.test.a):,} pictures of A and {len(layout.test.b):,} of B "
            f"(data.held_out={layout.held_out:g}; --test-a and --test-b name others)"
        ]

    def problems(self) -> list[str]:
        return self.unreadable.reasons() + [f"{path}: no partner of the same name" for path in self.layout.unmatched]

    def fingerprint(self) -> str:
        return f"{len(self.a)} in A, {len(self.b)} in B, names {self._digest}"

    @cached_property
    def _digest(self) -> str:
        layout = self.layout
        roots = layout.folders["train"] if layout.kind == "folders A and B" else (layout.root, layout.root)
        return digest_of_names((roots[0], layout.train.a), (roots[1], layout.train.b))

    def settled(self, config: Config) -> Config:
        return config

    def dataset(self, config: Config, share: tuple[int, int]) -> BatchDataset:
        return BatchDataset(
            self.a,
            self.b,
            paired=self.layout.train.paired,
            augmenter=augmenter_for(config, {config.data.channels("A"), config.data.channels("B")}),
            batch_size=config.training.batch_size,
            seed=config.training.seed,
            share=share,
            unreadable=self.unreadable,
        )

    def preview(self, config: Config, device: torch.device) -> Batch:
        """A few fixed held-out pictures of both domains, spread over the split, at the training size.

        Where no test picture can be read, training pictures take their place.
        """
        train, size = self.layout.train, config.image_size
        streams = ("pair", "pair") if train.paired else ("A", "B")
        sides = [
            [picture for index, picture in enumerate(pictures) if (stream, index) not in self.unreadable]
            for stream, pictures in zip(streams, (train.a, train.b), strict=True)
        ]
        for split in (self.layout.test, Split(sides[0], sides[1], train.paired)):
            items = _readable(split, config, config.training.sample_count)
            if items:
                break
        else:
            raise DataError(f"{config.data.title}: none of the pictures for previews can be read")
        a, b = (torch.from_numpy(stack([centre(pixels, size) for pixels in side])) for side in zip(*items, strict=True))
        return Batch(to_unit(a, device), to_unit(b, device))


def layout_of(data: DataConfig, *, paired: bool) -> Layout:
    """The layout of the folders or the set that ``data`` names; ``paired`` as in ``find_layout``.

    Raises:
        DataError: as ``load_layout`` and ``find_folders``.
    """
    if data.a is None or data.b is None:
        return load_layout(data.path, size=data.load_size, paired=paired)
    tests = [None if test is None else Path(test) for test in (data.test_a, data.test_b)]
    return find_folders(Path(data.a), Path(data.b), *tests, held_out=data.held_out, paired=paired)


def _readable(split: Split, config: Config, count: int) -> list[tuple[Pixels, Pixels]]:
    """Up to ``count`` pictures of both domains at the training size, spread over the split; pairs where it has them."""
    size = config.image_size
    stores = [
        PictureStore(spread(pictures, count), loading, 2**30, iter)
        for pictures, loading in ((split.a, _loading(config, "A", size)), (split.b, _loading(config, "B", size)))
    ]
    a, b = ({n: store[i] for i, n in enumerate(store.numbers)} for store in stores)
    if split.paired:
        return [(a[number], b[number]) for number in sorted(a.keys() & b.keys())]
    return list(zip(a.values(), b.values(), strict=False))


def _loading(config: Config, domain: Literal["A", "B"], size: int) -> Loading:
    return Loading(config.data.channels(domain), size, config.data.fit, config.data.background)


def _require_equal_sizes(a: ImageSource, b: ImageSource, unreadable: UnreadableItems) -> None:
    """Compares a few pairs in shape before training; those met later are replaced, as what cannot be read."""
    for index in spread(range(len(a)), PAIRS_COMPARED):
        try:
            one, other = a[index], b[index]
        except DataError as error:
            unreadable.add([Unreadable("pair", index, str(error))])
            continue
        if one.shape[:2] != other.shape[:2]:
            raise DataError(different_shapes(a.pictures[index].name, one, b.pictures[index].name, other))
