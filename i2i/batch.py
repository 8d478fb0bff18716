"""What data passes to methods: batches of images, and a description of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Domain = Literal["A", "B"]
Needs = Literal["unpaired", "paired", "one domain"]
"""The data that a method learns from: two domains, unpaired or paired, or one domain."""
Labels = Literal["ignored", "optional", "required"]
"""Whether a method uses labels: never, if the data has them, or always."""


@dataclass(frozen=True)
class DataSpec:
    """What a method must know about the data to build its networks.

    Attributes:
        image_size: side of a training crop, in pixels.
        channels_a: channels of the images; with two domains, of domain A.
        channels_b: channels of domain B.
        classes: number of labels; 0 if there are none or they are not used.
    """

    image_size: int
    channels_a: int
    channels_b: int
    classes: int = 0


@dataclass(frozen=True)
class Batch:
    """Images (N, C, H, W) float32 in [-1, 1]; ``b`` is the other domain, item by item if the data is paired.

    ``label``: (N,) int64. ``mask``: (N, 1, H, W) float32 in [0, 1], how much each pixel of a pair counts.
    ``paired``: (N,) bool, where only some items are pairs. With several ranks, the batch holds the items of this rank
    (``i2i/world.py``).
    """

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None
    mask: Tensor | None = None
    paired: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return replace(self, **{name: each.to(device) for name, each in vars(self).items() if each is not None})

    def of(self, domain: Domain) -> Tensor:
        """The images of ``domain``; errors as ``other``."""
        return self.a if domain == "A" else self.other()

    def other(self) -> Tensor:
        """The other domain's images.

        Raises:
            ValueError: this batch has only one domain.
        """
        if self.b is None:
            raise ValueError("this method needs two domains, and the batch has one")
        return self.b
