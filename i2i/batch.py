"""What data hands to methods: a batch of images, and what all batches have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Domain = Literal["A", "B"]
Needs = Literal["unpaired", "paired", "one domain"]
"""What a method learns from: two domains without or with pairs, or images of one domain."""
Labels = Literal["ignored", "optional", "required"]
"""Whether a method uses the labels of its data: never, where there are some, or always."""


@dataclass(frozen=True)
class DataSpec:
    """What a method must know of the data to build its networks.

    Attributes:
        image_size: side of a training crop, in pixels.
        channels_a: channels of the images, of domain A where there are two.
        channels_b: channels of domain B.
        classes: how many labels there are; 0 where images have none or they are not used.
    """

    image_size: int
    channels_a: int
    channels_b: int
    classes: int = 0


@dataclass(frozen=True)
class Batch:
    """Images (N, C, H, W) float32 in [-1, 1]; ``b`` is the other domain, item by item where the data is paired.

    ``label``: (N,) int64. On several ranks these are the items of this one (``i2i/world.py``).
    """

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        b, label = (None if tensor is None else tensor.to(device) for tensor in (self.b, self.label))
        return Batch(self.a.to(device), b, label)

    def of(self, domain: Domain) -> Tensor:
        """The images of ``domain``; errors as ``other``."""
        return self.a if domain == "A" else self.other()

    def other(self) -> Tensor:
        """The other domain's images.

        Raises:
            ValueError: this batch has one domain only.
        """
        if self.b is None:
            raise ValueError("this method needs two domains, and the batch has one")
        return self.b
