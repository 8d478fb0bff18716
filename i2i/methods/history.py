"""The history of generated images of Shrivastava et al. 2017 (SimGAN, section 2.3), as CycleGAN uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2i.world import gathered, own_part


class ImageHistory(nn.Module):
    """A buffer of generated images for a discriminator: with probability 1/2 an image is exchanged for a stored one.

    The stored images are part of the state dict, and so of checkpoints. With capacity 0, images pass through unchanged.
    Every rank has the same history, that of the whole batch.
    """

    images: Tensor

    def __init__(self, capacity: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, channels, image_size, image_size))
        self.stored = 0

    @torch.no_grad()
    def exchange(self, fakes: Tensor) -> Tensor:
        """Maps fakes: (N, C, H, W) to a batch of the same shape in which about half are older ones, detached."""
        capacity = len(self.images)
        if not capacity:
            return fakes.detach().to(self.images.dtype, copy=True)
        new = gathered(fakes).to(self.images.dtype)
        shown, stored = list(new), dict[int, Tensor]()  # by slot what the history gets
        for i, image in enumerate(new):
            if self.stored < capacity:
                stored[self.stored] = image
                self.stored += 1
            elif torch.rand(()) < 0.5:
                slot = int(torch.randint(capacity, ()))
                shown[i] = stored.get(slot, self.images[slot])
                stored[slot] = image
        batch = torch.stack(shown)
        if stored:
            torch._foreach_copy_([self.images[slot] for slot in stored], list(stored.values()))
        return own_part(batch)

    def get_extra_state(self) -> int:
        """The number of stored images: a Python int, so that reading it does not synchronise with the device."""
        return self.stored

    def set_extra_state(self, state: int) -> None:
        """Takes over the number of stored images."""
        self.stored = state
