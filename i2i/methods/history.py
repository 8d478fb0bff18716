"""The history of generated images of Shrivastava et al. 2017 (SimGAN, section 2.3), as CycleGAN uses it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from i2i.deciding import decided
from i2i.world import items_of_all, own_part, world


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
        here, device = world(), fakes.device
        draw = partial(self._draw, len(fakes) * here.size)
        drawn = draw() if here.size > 1 else None  # then the host has to know what ranks send each other
        shown, slots, items = (decided(draw, device) if drawn is None else drawn.to(device)).unbind(1)
        new, own = fakes.detach().to(self.images.dtype), own_part(shown)
        batch = torch.where(_each(own >= 0), self.images[own.clamp(min=0)], new)
        if drawn is None:
            kept = torch.where(_each(items >= 0), new[items.clamp(min=0)], self.images[slots])
            self.images.index_copy_(0, slots, kept)
        elif stored := {slot: item for _, slot, item in drawn.tolist() if item >= 0}:
            sent = items_of_all(fakes.detach(), list(stored.values()))
            torch._foreach_copy_([self.images[slot] for slot in stored], list(sent.to(self.images.dtype)))
        return batch

    def _draw(self, count: int) -> Tensor:
        """Rows (count, 3): the slot that is shown in place of an item, and a slot with the item that it gets.

        -1 stands for none. Each row names something to store: where fewer items are stored, some do so twice.
        """
        shown, stored = self._exchanges(count)
        pairs = list(stored.items()) or [(0, -1)]
        pairs += pairs[-1:] * (count - len(pairs))
        return torch.tensor([[shown.get(item, -1), *pair] for item, pair in enumerate(pairs)])

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


def _each(condition: Tensor) -> Tensor:
    """A condition (N,) for images (N, C, H, W)."""
    return condition[:, None, None, None]
