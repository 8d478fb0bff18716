"""The data of one run: the stores of both domains, the pictures for previews, and what could not be read."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import torch

from i2i.batch import Batch
from i2i.config import Config
from i2i.data.batches import BatchDataset, to_unit
from i2i.data.builtin import load_layout
from i2i.data.images import Pixels
from i2i.data.layout import Layout, Picture, Split
from i2i.data.store import Loading, PictureStore
from i2i.data.transforms import Augmenter, stack
from i2i.display import tracked
from i2i.errors import DataError


@dataclass(frozen=True)
class TrainingSet:
    """Both domains, read and counted."""

    layout: Layout
    a: PictureStore
    b: PictureStore

    def problems(self) -> list[str]:
        """What was left out, one line for each file."""
        unreadable = [str(error) for error in [*self.a.skipped, *self.b.skipped]]
        return unreadable + [f"{path}: no partner of the same name" for path in self.layout.unmatched]

    def fingerprint(self) -> str:
        """A hash of the names in order: a run can be continued exactly only on the same pictures."""
        digest = hashlib.sha256()
        for store in (self.a, self.b):
            for picture in store.pictures:
                digest.update(os.fsencode(picture.path.relative_to(self.layout.root)) + b"|")
            digest.update(b"/")
        return f"{len(self.a)} in A, {len(self.b)} in B, names {digest.hexdigest()[:12]}"


def load_training_set(config: Config, *, paired: bool) -> TrainingSet:
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
    return TrainingSet(layout, a, b)


def batch_dataset(training_set: TrainingSet, config: Config, share: tuple[int, int]) -> BatchDataset:
    """The numbered batches of a run, as the configuration draws them."""
    extra = [augmentation.model_dump() for augmentation in config.data.augment]
    augmenter = Augmenter(config.image_size, flip=config.data.flip, extra=extra)
    augmenter.check({config.data.channels_a, config.data.channels_b}, config.data.load_size)
    return BatchDataset(
        training_set.a,
        training_set.b,
        paired=training_set.layout.train.paired,
        augmenter=augmenter,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        share=share,
    )


def preview_batch(training_set: TrainingSet, config: Config, device: torch.device) -> Batch:
    """A few fixed held-out pictures of both domains, spread over the split, at the training size.

    Where no test picture can be read, training pictures take their place.
    """
    layout = training_set.layout
    readable = Split(training_set.a.pictures, training_set.b.pictures, layout.train.paired)
    for split in (layout.test, readable):
        count = config.training.sample_count
        few = Split(_spread(split.a, count), _spread(split.b, count), split.paired)
        a, b = _read_split(few, config, config.image_size, budget=2**30)
        rows = min(len(a), len(b))
        if rows:
            break
    sides = (torch.from_numpy(stack([_centre(store[i], config.image_size) for i in range(rows)])) for store in (a, b))
    return Batch(*(to_unit(side, device) for side in sides))


def _read_split(split: Split, config: Config, load_size: int, budget: int) -> tuple[PictureStore, PictureStore]:
    data = config.data
    share = budget // 2
    stores = []
    for pictures, channels in ((split.a, data.channels_a), (split.b, data.channels_b)):
        loading = Loading(channels, load_size, data.fit, data.background)
        stores.append(PictureStore(pictures, loading, share, tracked("reading", len(pictures))))
    a, b = stores
    if split.paired:
        whole = set(a.numbers) & set(b.numbers)
        a, b = a.only(whole), b.only(whole)
    return a, b


def _spread(pictures: list[Picture], count: int) -> list[Picture]:
    return [pictures[i * len(pictures) // count] for i in range(count)] if len(pictures) > count else pictures


def _centre(pixels: Pixels, size: int) -> Pixels:
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]
