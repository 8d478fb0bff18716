"""Batches of consecutive images of equal size, which go through a network together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from i2i.device import capabilities
from i2i.inference.inputs import Input

BATCH_PIXELS = 1 << 20
"""A batch has up to this many pixels."""


def batch_pixels(device: torch.device) -> int:
    """The most pixels of a batch of several images: on a CPU, where batches gain nothing, there are none."""
    return BATCH_PIXELS if capabilities(device).asynchronous else 0


def equal_sized(items: Iterable[Input | None], most: int) -> Iterator[list[Input]]:
    """Groups consecutive images of equal size into batches of up to ``most`` pixels, and of one image at least."""
    batch: list[Input] = []
    for item in items:
        if item is None:
            continue
        area = item.pixels.shape[0] * item.pixels.shape[1]
        if batch and (batch[0].pixels.shape != item.pixels.shape or (len(batch) + 1) * area > most):
            yield batch
            batch = []
        batch.append(item)
        if 2 * area > most:  # no other fits beside it
            yield batch
            batch = []
    if batch:
        yield batch
