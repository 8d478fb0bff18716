"""What data hands to methods: a batch of pictures, and the shape that all batches share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Needs = Literal["unpaired", "paired", "one domain"]
"""What a method learns from: two domains without or with pairs, or pictures of one domain."""


@dataclass(frozen=True)
class DataSpec:
    """What a method must know of the data to build its networks.

    Attributes:
        image_size: side of a training crop, in pixels.
        channels_a: channels of the pictures, of domain A where there are two.
        channels_b: channels of domain B.
        classes: how many labels there are; 0 where pictures have none or they are not used.
    """

    image_size: int
    channels_a: int
    channels_b: int
    classes: int = 0


@dataclass(frozen=True)
class Batch:
    """Pictures (N, C, H, W) float32 in [-1, 1]; ``b`` is the other domain, item by item where the data is paired.

    ``label``: (N,) int64. ``share``: this process's number and the number of processes; the pictures are those that it
    has of the whole batch, every ``share[1]``-th from ``share[0]`` on.
    """

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None
    share: tuple[int, int] = (0, 1)

    def other(self) -> Tensor:
        """The other domain's pictures.

        Raises:
            ValueError: this batch has one domain only.
        """
        if self.b is None:
            raise ValueError("this method needs two domains, and the batch has one")
        return self.b
