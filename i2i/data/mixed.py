"""Batches of sets in which only some images have a partner: pairs as pairs, and all others as unpaired images."""

from __future__ import annotations

import torch

from i2i.data.batches import BatchDataset, Images, ItemStream, Raw, reader
from i2i.data.transforms import Augmenter
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.kinds import AnyPixels


class MixedDataset(BatchDataset):
    """The n-th batch of a mixed set, which says which of its items are pairs.

    An epoch has every pair once, and as many unpaired items as the larger domain has images without a partner; both are
    spread evenly over it. A domain whose images all have partners shows these in unpaired items, too.

    Args:
        pairs: the images of A and of B that are pairs, by the number of the pair.
        lone: those without a partner; an empty domain is None.
        augmenter: as in ``BatchDataset``, as are all others.
        batch_size: images per domain in a batch, over all processes.
        seed: decides order and augmentation.
        rank: the number of this process.
        world_size: how many processes there are.
        unreadable: items that are replaced without being read.
    """

    def __init__(
        self,
        pairs: tuple[Images, Images],
        lone: tuple[Images | None, Images | None],
        *,
        augmenter: Augmenter,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        unreadable: UnreadableItems,
    ) -> None:
        super().__init__(
            *pairs,
            paired=True,
            augmenter=augmenter,
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unreadable=unreadable,
        )
        self._counts = len(pairs[0]), max(0 if images is None else len(images) for images in lone)
        shown = [
            ("pair", side) if own is None else (name, own) for name, own, side in zip("AB", lone, pairs, strict=True)
        ]
        self._singles = [
            ItemStream(name, len(images), reader(images), seed=seed, known=unreadable) for name, images in shown
        ]

    def __getitem__(self, number: int) -> Raw:
        met, items, paired = list[Unreadable](), list[list[AnyPixels]](), list[bool]()
        for position in self._positions(number):
            is_pair, turn = place(position, *self._counts)
            paired.append(is_pair)
            items.append(self._augmented_pair(turn, met) if is_pair else self._augmented_singles(turn, met))
        sides = [[item[side] for item in items] for side in (0, 1)]
        return self._raw(sides, met)._replace(paired=torch.tensor(paired))


def place(position: int, pairs: int, lone: int) -> tuple[bool, int]:
    """Whether a pair comes at ``position`` of epochs of so many items, and how many of its kind came before."""
    before, after = (count * pairs // (pairs + lone) for count in (position, position + 1))
    return (True, before) if after > before else (False, position - before)
