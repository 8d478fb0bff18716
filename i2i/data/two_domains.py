"""The data of translators: the pictures of two domains, unpaired or paired."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from i2i.batch import Batch
from i2i.config import Config
from i2i.data.batches import BatchDataset, to_unit
from i2i.data.builtin import load_layout
from i2i.data.layout import Layout, Split
from i2i.data.store import Loading, PictureStore
from i2i.data.training_set import TrainingData, augmenter_for, centre, digest_of_names, spread
from i2i.data.transforms import stack
from i2i.display import tracked
from i2i.errors import DataError


@dataclass(frozen=True)
class TwoDomains(TrainingData):
    """Both domains, read and counted."""

    layout: Layout
    a: PictureStore
    b: PictureStore

    @classmethod
    def read(cls, config: Config, *, paired: bool) -> TwoDomains:
        """Finds and reads the training pictures that ``config.data`` names.

        Raises:
            DataError: there is no usable data; says which folder and why.
        """
        data = config.data
        layout = load_layout(data.path, size=data.load_size, paired=paired)
        a, b = _read_split(layout.train, config, data.load_size, int(data.memory_gib * 2**30))
        for store, domain in ((a, "A"), (b, "B")):
            if not len(store):
                raise DataError(f"{layout.root}: no picture of domain {domain} can be read; first: {store.skipped[0]}")
        if layout.train.paired:
            _require_equal_sizes(a, b)
        return cls(layout, a, b)

    @property
    def root(self) -> Path:
        return self.layout.root

    @property
    def size(self) -> int:
        return max(len(self.a), len(self.b))

    @property
    def in_memory(self) -> bool:
        return self.a.in_memory and self.b.in_memory

    def describe(self) -> str:
        return f"{len(self.a):,} pictures in A and {len(self.b):,} in B"

    def problems(self) -> list[str]:
        unreadable = [str(error) for error in [*self.a.skipped, *self.b.skipped]]
        return unreadable + [f"{path}: no partner of the same name" for path in self.layout.unmatched]

    def fingerprint(self) -> str:
        return f"{len(self.a)} in A, {len(self.b)} in B, names {digest_of_names(self.layout.root, self.a, self.b)}"

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
        )

    def preview(self, config: Config, device: torch.device) -> Batch:
        """A few fixed held-out pictures of both domains, spread over the split, at the training size.

        Where no test picture can be read, training pictures take their place.
        """
        train = self.layout.train
        readable = Split([train.a[i] for i in self.a.numbers], [train.b[i] for i in self.b.numbers], train.paired)
        for split in (self.layout.test, readable):
            count = config.training.sample_count
            few = Split(spread(split.a, count), spread(split.b, count), split.paired)
            a, b = _read_split(few, config, config.image_size, budget=2**30)
            rows = min(len(a), len(b))
            if rows:
                break
        size = config.image_size
        sides = [torch.from_numpy(stack([centre(store[i], size) for i in range(rows)])) for store in (a, b)]
        return Batch(to_unit(sides[0], device), to_unit(sides[1], device))


def _read_split(split: Split, config: Config, load_size: int, budget: int) -> tuple[PictureStore, PictureStore]:
    data = config.data
    share = budget // 2
    stores = []
    for pictures, channels in ((split.a, data.channels("A")), (split.b, data.channels("B"))):
        loading = Loading(channels, load_size, data.fit, data.background)
        stores.append(PictureStore(pictures, loading, share, tracked("reading", len(pictures))))
    a, b = stores
    if split.paired:
        whole = set(a.numbers) & set(b.numbers)
        a, b = a.only(whole), b.only(whole)
    return a, b


def _require_equal_sizes(a: PictureStore, b: PictureStore) -> None:
    """Both sides of a pair are cropped at one place, so they must have one size."""
    for i in range(len(a)):
        if a.shape(i)[:2] != b.shape(i)[:2]:
            raise DataError(
                f"{a.pictures[i].name} and {b.pictures[i].name} are a pair of different shapes, "
                f"{a.shape(i)[1]}x{a.shape(i)[0]} and {b.shape(i)[1]}x{b.shape(i)[0]} at the load size: use "
                "data.fit=square or correct the files"
            )
