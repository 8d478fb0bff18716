"""Batches as a pure function of (seed, batch number): order, augmentation and nothing else decide what is in one.

Each domain is a stream of its own: in every epoch a new permutation of all its pictures, as drawn from the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from i2i.batch import Batch
from i2i.data.images import Pixels
from i2i.data.store import PictureStore
from i2i.data.transforms import Augmenter, stack
from i2i.errors import DataError
from i2i.seeding import derive_seed, generator


class Raw(NamedTuple):
    """A batch as loaders pass it on: pictures (N, C, H, W), uint8, or float32 as they are; labels (N,), int64."""

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None


class BatchDataset(Dataset[Raw]):
    """The n-th batch of a two-domain set.

    Args:
        a: pictures of domain A.
        b: pictures of domain B; where ``paired``, the i-th of both are one item.
        paired: draw the same item from both domains, with the same geometry.
        augmenter: applied to every drawn picture.
        batch_size: pictures per domain in a batch, over all processes.
        seed: decides order and augmentation.
        share: this process's number and the number of processes, each of which loads its part of every batch.
    """

    def __init__(
        self,
        a: PictureStore,
        b: PictureStore,
        *,
        paired: bool,
        augmenter: Augmenter,
        batch_size: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._a, self._b, self._paired = a, b, paired
        self._augmenter, self._batch_size, self._seed = augmenter, batch_size, seed
        self._share = share

    def __getitem__(self, number: int) -> Raw:
        positions = positions_of(number, self._batch_size, self._share)
        if self._paired:
            items = [self._pair(position) for position in positions]
            return Raw(_tensor([a for a, _ in items]), _tensor([b for _, b in items]))
        return Raw(
            _tensor([self._single(self._a, "A", position) for position in positions]),
            _tensor([self._single(self._b, "B", position) for position in positions]),
        )

    def _single(self, store: PictureStore, domain: str, position: int) -> Pixels:
        seed = derive_seed(self._seed, "augment", domain, position)
        return self._augmenter.single(store[draw(self._seed, domain, len(store), position)], seed)

    def _pair(self, position: int) -> tuple[Pixels, Pixels]:
        index = draw(self._seed, "pair", len(self._a), position)
        seed = derive_seed(self._seed, "augment", "pair", position)
        return self._augmenter.pair(self._a[index], self._b[index], seed)


class LabelledDataset(Dataset[Raw]):
    """The n-th batch of a one-domain set, with labels where there are some.

    Args:
        pictures: the domain.
        labels: the label of each picture, or None.
        augmenter: applied to every drawn picture.
        batch_size: pictures in a batch, over all processes.
        seed: decides order and augmentation.
        share: as in ``BatchDataset``.
    """

    def __init__(
        self,
        pictures: PictureStore,
        labels: Tensor | None,
        *,
        augmenter: Augmenter,
        batch_size: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._pictures, self._labels = pictures, labels
        self._augmenter, self._batch_size, self._seed = augmenter, batch_size, seed
        self._share = share

    def __getitem__(self, number: int) -> Raw:
        positions = positions_of(number, self._batch_size, self._share)
        chosen = [draw(self._seed, "A", len(self._pictures), position) for position in positions]
        seeds = [derive_seed(self._seed, "augment", "A", position) for position in positions]
        drawn = [self._augmenter.single(self._pictures[index], seed) for index, seed in zip(chosen, seeds, strict=True)]
        return Raw(_tensor(drawn), label=None if self._labels is None else self._labels[chosen])


def positions_of(number: int, batch_size: int, share: tuple[int, int]) -> range:
    """The positions in the stream that batch ``number`` has for process ``share[0]`` of ``share[1]``."""
    rank, processes = share
    return range(number * batch_size, (number + 1) * batch_size)[rank::processes]


def draw(seed: int, stream: str, length: int, position: int) -> int:
    """Which of ``length`` items the ``stream`` shows at ``position``: each once in every ``length`` positions."""
    epoch, place = divmod(position, length)
    return int(_permutation(seed, stream, length, epoch)[place])


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: str, length: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return generator(seed, "order", stream, epoch).permutation(length)


def _tensor(pictures: list[Pixels]) -> Tensor:
    return torch.from_numpy(stack(pictures))


def batches_from(
    dataset: Dataset[Raw], start: int, *, workers: int, device: torch.device, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Endless batches from number ``start`` on, on ``device``; worker processes change nothing but the speed."""
    loader: DataLoader[Raw] = DataLoader(
        dataset,
        batch_size=None,
        sampler=itertools.count(start),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        # Its own generator: starting a loader draws a number, which must not come out of a step's seed.
        generator=torch.Generator(),
    )
    try:
        for a, b, label in loader:
            yield Batch(
                to_unit(a, device),
                None if b is None else to_unit(b, device),
                None if label is None else label.to(device, non_blocking=True),
                share,
            )
    except DataError as error:
        # From a worker the message comes wrapped in its traceback.
        raise DataError(str(error).rstrip().rpartition("\n")[2].removeprefix("i2i.errors.DataError: ")) from None


def to_unit(pixels: Tensor, device: torch.device) -> Tensor:
    """Maps uint8 pixels to float32 in [-1, 1] on ``device``; what is float already only moves."""
    if pixels.is_floating_point():
        return pixels.to(device, non_blocking=True)
    return pixels.to(device, non_blocking=True).float().div_(127.5).sub_(1)


def from_unit(images: Tensor) -> Tensor:
    """The inverse of ``to_unit``: values in [-1, 1] to uint8, rounded and clipped."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
