"""What data hands to methods: a batch of pictures, and the shape that all batches share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """What a method must know of the data to build its networks: channels per domain, side of a training crop."""

    image_size: int
    channels_a: int
    channels_b: int


@dataclass(frozen=True)
class Batch:
    """Pictures (N, C, H, W) float32 in [-1, 1]; ``b`` is the other domain, item by item where the data is paired."""

    a: Tensor
    b: Tensor | None = None
    label: Tensor | None = None

    def other(self) -> Tensor:
        """The other domain's pictures.

        Raises:
            ValueError: this batch has one domain only.
        """
        if self.b is None:
            raise ValueError("this method needs two domains, and the batch has one")
        return self.b
