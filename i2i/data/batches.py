"""Batches as a pure function of (seed, batch number), through order and augmentation.

Each domain is a separate stream: in every epoch a new permutation of its items, drawn from the seed. An item that
cannot be read is replaced by another of its stream, chosen only by seed and position, so no other batch changes.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from i2i.batch import Batch
from i2i.config.schema import Depth
from i2i.data.depth import unit_tensor
from i2i.data.identity import ChangedImage
from i2i.data.images import Pixels
from i2i.data.ranges import fractions
from i2i.data.store import ImageLike, ImageSource, Loading
from i2i.data.transforms import Augmenter, stack
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.device import capabilities
from i2i.display import warn
from i2i.errors import DataError
from i2i.kinds import AnyPixels
from i2i.seeding import derive_seed, numpy_rng

Item = TypeVar("Item")
DEATHS, DEATHS_WITHIN = 3, 1000
"""How many deaths of loader workers a run survives within how many batches."""


class Raw(NamedTuple):
    """A batch as loaders pass it on: images (N, C, H, W), uint8, or float32 in [-1, 1]; labels (N,), int64.

    ``mask``: (N, 1, H, W), uint8. ``paired``: (N,), bool. ``unreadable``: what could not be read, and was replaced.
    """

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None
    mask: Tensor | None = None
    paired: Tensor | None = None
    unreadable: tuple[Unreadable, ...] = ()


class Images(Protocol):
    """The images of a stream by index."""

    @property
    def images(self) -> Sequence[ImageLike]:
        """Where they come from."""

    @property
    def loading(self) -> Loading:
        """How they are decoded."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> AnyPixels:
        """The image (H, W, C) at the load size."""


class ItemStream(Generic[Item]):
    """An endless stream of items: each once in an epoch, in an order that is a function of the seed.

    Args:
        name: which stream it is; streams of other names have other orders.
        length: how many items there are.
        read: gives an item by its index; raises DataError.
        seed: decides the order, and what replaces an item that cannot be read.
        known: items that are replaced without being read.
    """

    def __init__(
        self, name: str, length: int, read: Callable[[int], Item], *, seed: int, known: UnreadableItems
    ) -> None:
        self._name, self._length, self._read, self._seed, self._known = name, length, read, seed, known

    def at(self, position: int, met: list[Unreadable]) -> tuple[int, Item]:
        """The index of the item at ``position``, and the item; what had to be replaced is added to ``met``.

        Raises:
            ChangedImage: it has other contents than before.
            DataError: no item can be read.
        """
        tried: set[int] = set()
        for index in self._candidates(position):
            if index in tried or (self._name, index) in self._known:
                continue
            tried.add(index)
            try:
                return index, self._read(index)
            except ChangedImage:
                raise  # it can be read, and training on would mix two sets
            except DataError as error:
                met.append(Unreadable(self._name, index, str(error)))
        reasons = [item.reason for item in met if item.stream == self._name] or self._known.reasons()
        raise DataError(f"none of {self._length:,} items can be read; first: {reasons[0]}")

    def _candidates(self, position: int) -> Iterator[int]:
        yield draw(self._seed, self._name, self._length, position)
        yield from numpy_rng(self._seed, "replacement", self._name, position).permutation(self._length).tolist()


class NumberedBatches(Dataset[Raw]):
    """The n-th batch of a run, whatever other batches were asked for.

    Args:
        images: those that it reads.
        batch_size: items of a batch, over all processes.
        seed: decides order and augmentation.
        rank: the number of this process, which loads its part of every batch.
        world_size: how many processes there are.
    """

    def __init__(self, *images: Images, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self._rank, self._world_size = rank, world_size

    def expect_new_workers(self) -> None:
        """Forgets what loader workers that have died may have left behind."""
        for images in self._images:
            if isinstance(images, ImageSource):
                images.memory.renew_lock()

    def _positions(self, number: int) -> range:
        """The positions in the stream that batch ``number`` has for this process."""
        whole = range(number * self._batch_size, (number + 1) * self._batch_size)
        return whole[self._rank :: self._world_size]


class BatchDataset(NumberedBatches):
    """The n-th batch of a two-domain set.

    Args:
        a: images of domain A by index.
        b: images of domain B; where ``paired``, the i-th of both are one item.
        paired: draw the same item from both domains, with the same geometry.
        masks: where ``paired``, the i-th is the mask of the i-th pair.
        augmenter: applied to every drawn image.
        batch_size: images per domain in a batch, over all processes.
        seed: as in ``NumberedBatches``.
        rank: as in ``NumberedBatches``.
        world_size: as in ``NumberedBatches``.
        unreadable: items that are replaced without being read.
    """

    def __init__(
        self,
        a: Images,
        b: Images,
        *,
        paired: bool,
        masks: Images | None = None,
        augmenter: Augmenter,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        unreadable: UnreadableItems,
    ) -> None:
        shown = [a, b] if masks is None else [a, b, masks]
        super().__init__(*shown, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        self._shown, self._paired, self._augmenter = shown, paired, augmenter
        self._depths = beyond_8_bits(a), beyond_8_bits(b)
        self._read_a, self._read_b = reader(a), reader(b)
        self._pairs = ItemStream("pair", len(a), self._pair, seed=seed, known=unreadable)
        self._singles = [
            ItemStream(name, len(images), read, seed=seed, known=unreadable)
            for name, images, read in (("A", a, self._read_a), ("B", b, self._read_b))
        ]

    def __getitem__(self, number: int) -> Raw:
        positions, met = self._positions(number), list[Unreadable]()
        if self._paired:
            pairs = [self._augmented_pair(position, met) for position in positions]
            sides = [[pair[side] for pair in pairs] for side in range(len(self._shown))]
        else:
            items = [self._augmented_singles(position, met) for position in positions]
            sides = [[item[side] for item in items] for side in (0, 1)]
        return self._raw(sides, met)

    def _raw(self, sides: list[list[AnyPixels]], met: list[Unreadable]) -> Raw:
        a, b = (as_tensor(images, depth) for images, depth in zip(sides[:2], self._depths, strict=True))
        return Raw(a, b, mask=torch.from_numpy(stack(sides[2])) if sides[2:] else None, unreadable=tuple(met))

    def _augmented_singles(self, position: int, met: list[Unreadable]) -> list[AnyPixels]:
        """An image of each domain."""
        return [
            self._augmenter.single(stream.at(position, met)[1], derive_seed(self._seed, "augment", domain, position))
            for domain, stream in zip("AB", self._singles, strict=True)
        ]

    def _augmented_pair(self, position: int, met: list[Unreadable]) -> list[AnyPixels]:
        seed = derive_seed(self._seed, "augment", "pair", position)
        return self._augmenter.pair(*self._pairs.at(position, met)[1], seed=seed)

    def _pair(self, index: int) -> list[AnyPixels]:
        """Both sides, and the mask where there are masks."""
        a, *others = [self._read_a(index), self._read_b(index), *(masks[index] for masks in self._shown[2:])]
        for images, other in zip(self._shown[1:], others, strict=True):
            if a.shape[:2] != other.shape[:2]:  # they are cropped at one place
                names = self._shown[0].images[index].name, images.images[index].name
                raise DataError(different_shapes(names[0], a, names[1], other))
        return [a, *others]


class LabelledDataset(NumberedBatches):
    """The n-th batch of a one-domain set, with labels where there are some.

    Args:
        images: the domain.
        labels: the label of each image, or None.
        augmenter: applied to every drawn image.
        batch_size: as in ``NumberedBatches``.
        seed: as in ``NumberedBatches``.
        rank: as in ``NumberedBatches``.
        world_size: as in ``NumberedBatches``.
        unreadable: as in ``BatchDataset``.
    """

    def __init__(
        self,
        images: Images,
        labels: Tensor | None,
        *,
        augmenter: Augmenter,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        unreadable: UnreadableItems,
    ) -> None:
        super().__init__(images, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        self._labels, self._augmenter = labels, augmenter
        self._stream = ItemStream("A", len(images), images.__getitem__, seed=seed, known=unreadable)

    def __getitem__(self, number: int) -> Raw:
        positions, met = self._positions(number), list[Unreadable]()
        items = [self._stream.at(position, met) for position in positions]
        seeds = [derive_seed(self._seed, "augment", "A", position) for position in positions]
        drawn = [self._augmenter.single(pixels, seed) for (_, pixels), seed in zip(items, seeds, strict=True)]
        label = None if self._labels is None else self._labels[[index for index, _ in items]]
        return Raw(torch.from_numpy(stack(drawn)), label=label, unreadable=tuple(met))


def different_shapes(name: Path, pixels: AnyPixels, partner: Path, other: AnyPixels) -> str:
    """What is wrong with a pair of different shapes."""
    return (
        f"{name} and {partner} are a pair of different shapes, {pixels.shape[1]}x{pixels.shape[0]} and "
        f"{other.shape[1]}x{other.shape[0]} at the load size: use data.fit=square or correct the files"
    )


def draw(seed: int, stream: str, length: int, position: int) -> int:
    """Which of ``length`` items the ``stream`` shows at ``position``: each once in every ``length`` positions."""
    epoch, place = divmod(position, length)
    return int(_permutation(seed, stream, length, epoch)[place])


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: str, length: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return numpy_rng(seed, "order", stream, epoch).permutation(length)


def beyond_8_bits(images: Images) -> Depth | None:
    """The depth of images that are no 8-bit images."""
    return None if images.loading.depth.is_plain else images.loading.depth


def reader(images: Images) -> Callable[[int], AnyPixels]:
    """Reads 8-bit pixels as they are, and all others as fractions of their range, which albumentations takes."""
    depth = beyond_8_bits(images)
    return images.__getitem__ if depth is None else partial(_fractions_of, images, depth)


def _fractions_of(images: Images, depth: Depth, index: int) -> AnyPixels:
    return fractions(images[index], depth)


def as_tensor(augmented: list[AnyPixels], depth: Depth | None) -> Tensor:
    """Images (H, W, C) from a ``reader`` as (N, C, H, W): 8-bit ones as they are, all others in [-1, 1]."""
    images = torch.from_numpy(stack(augmented))
    return images if depth is None else images.mul_(2).sub_(1)


def unit_batch(images: Sequence[AnyPixels], depth: Depth, device: torch.device) -> Tensor:
    """Images (H, W, C) of a depth, all of one size, as (N, C, H, W) in [-1, 1]."""
    stacked = stack(images)
    if depth.is_plain:
        return to_unit(torch.from_numpy(stacked), device)
    return unit_tensor(stacked, depth).to(device)


def batches_from(
    dataset: NumberedBatches,
    start: int,
    *,
    workers: int,
    device: torch.device,
    unreadable: UnreadableItems | None = None,
) -> Iterator[Batch]:
    """Endless batches from number ``start`` on, on ``device``; worker processes change nothing but the speed.

    What could not be read is added to ``unreadable`` with the batch that has something else in its place. Workers that
    die are started again, as batches are a function of their number.

    Raises:
        ChangedImage: an image has other contents than before.
        DataError: no item can be read, or workers die again and again.
    """
    number, deaths = start, list[int]()
    while True:
        try:
            with closing(_loaded(dataset, number, workers, device)) as loaded:
                for raw in loaded:
                    if unreadable is not None:
                        unreadable.add(raw.unreadable)
                    number += 1
                    yield moved(raw, device)
        except DataError as error:
            # From a worker the message comes wrapped in its traceback.
            last = str(error).rstrip().rpartition("\n")[2]
            raise type(error)(re.sub(r"^i2i(\.\w+)+: ", "", last)) from None
        except (RuntimeError, ConnectionError, EOFError) as error:
            if not workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
                raise
            reason = " ".join(str(error).split())
        deaths = [*(death for death in deaths if death > number - DEATHS_WITHIN), number]
        if len(deaths) > DEATHS:
            raise DataError(
                f"loader workers died {len(deaths)} times within {DEATHS_WITHIN:,} batches ({reason}); where memory "
                "is short, continue with --set data.workers=0 or a lower data.memory_gib"
            )
        warn(f"a loader worker died, perhaps for lack of memory, and is started again ({reason})")
        dataset.expect_new_workers()


def moved(raw: Raw, device: torch.device) -> Batch:
    """The batch in float32 on ``device``."""
    return Batch(
        to_unit(raw.a, device),
        None if raw.b is None else to_unit(raw.b, device),
        None if raw.label is None else raw.label.to(device, non_blocking=True),
        None if raw.mask is None else raw.mask.to(device, non_blocking=True).float().div_(255),
        None if raw.paired is None else raw.paired.to(device, non_blocking=True),
    )


def _loaded(dataset: NumberedBatches, start: int, workers: int, device: torch.device) -> Generator[Raw]:
    """The batches as a loader gives them; a dead worker is noticed only here."""
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # as many as were asked for
    loader: DataLoader[Raw] = DataLoader(
        dataset,
        batch_size=None,
        sampler=itertools.count(start),
        num_workers=workers,
        worker_init_fn=_end_quietly_without_its_training if workers else None,
        pin_memory=capabilities(device).pins,
        # Its own generator: starting a loader draws a number, which must not come out of a step's seed.
        generator=torch.Generator(),
    )
    # torch would raise from a signal handler, in the middle of a step. Without it a loader looks every five seconds.
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD")
    before = signal.getsignal(signal.SIGCHLD) if main else None
    batches = iter(loader)
    if main and before is not None:
        signal.signal(signal.SIGCHLD, before)
    try:
        while True:
            yield next(batches)
    finally:
        if workers:  # an error's traceback would keep them until it is collected
            batches._shutdown_workers()  # type: ignore[attr-defined]


def _end_quietly_without_its_training(_: int) -> None:
    """In a loader worker: once the training is killed, its threads print no tracebacks about a connection to it."""
    training, before = os.getppid(), sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if os.getppid() == training or not isinstance(error, (OSError, EOFError)):
            before(kind, error, trace)

    sys.excepthook = hook


def to_unit(pixels: Tensor, device: torch.device) -> Tensor:
    """Maps uint8 pixels to float32 in [-1, 1] on ``device``; what is float already only moves."""
    if pixels.is_floating_point():
        return pixels.to(device, non_blocking=True)
    return pixels.to(device, non_blocking=True).float().div_(127.5).sub_(1)


def from_unit(images: Tensor) -> Tensor:
    """The inverse of ``to_unit``: values in [-1, 1] to uint8, rounded and clipped."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_pixels(images: Tensor) -> list[Pixels]:
    """Images (N, C, H, W) in [-1, 1] as arrays (H, W, C), uint8."""
    return list(from_unit(images).permute(0, 2, 3, 1).cpu().numpy())
