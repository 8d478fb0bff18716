"""The history of generated images of Shrivastava et al. 2017 (SimGAN, section 2.3), as CycleGAN uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2i.world import items_of_all, world


class ImageHistory(nn.Module):
    """A buffer of generated images for a discriminator: with probability 1/2 an image is exchanged for a stored one.

    The stored images are part of the state dict, and so of checkpoints. With capacity 0, images pass through unchanged.
    Every rank has the same history, that of the whole batch. A stored image is exchanged at most once in a batch, so
    that ranks send each other what the history gets and nothing else: at most its capacity, however many ranks.
    """

    images: Tensor

    def __init__(self, capacity: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, channels, image_size, image_size))
        self.stored = 0

    @torch.no_grad()
    def exchange(self, fakes: Tensor) -> Tensor:
        """Maps fakes: (N, C, H, W) to a batch of the same shape in which about half are older ones, detached."""
        if not len(self.images):
            return fakes.detach().to(self.images.dtype, copy=True)
        here = world()
        shown, stored = self._exchanges(len(fakes) * here.size)
        own = range(here.rank, len(fakes) * here.size, here.size)
        batch = torch.stack(
            [
                self.images[shown[item]] if item in shown else fake.to(self.images.dtype)
                for item, fake in zip(own, fakes.detach(), strict=True)
            ]
        )
        if stored:
            new = items_of_all(fakes.detach(), list(stored.values()))
            torch._foreach_copy_([self.images[slot] for slot in stored], list(new.to(self.images.dtype)))
        return batch

    def _exchanges(self, count: int) -> tuple[dict[int, int], dict[int, int]]:
        """By item of the whole batch the slot whose image is shown in its place, and by slot the item that it gets."""
        capacity = len(self.images)
        shown, stored = dict[int, int](), dict[int, int]()
        exchanged, slots = (torch.rand(count) < 0.5).tolist(), torch.randint(capacity, (count,)).tolist()
        for item in range(count):
            if self.stored < capacity:
                stored[self.stored] = item
                self.stored += 1
            elif exchanged[item] and slots[item] not in stored:
                shown[item] = slots[item]
                stored[slots[item]] = item
        return shown, stored

    def get_extra_state(self) -> int:
        """The number of stored images: a Python int, so that reading it does not synchronise with the device."""
        return self.stored

    def set_extra_state(self, state: int) -> None:
        """Takes over the number of stored images."""
        self.stored = state
