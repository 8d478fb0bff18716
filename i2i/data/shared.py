"""Memory that a training process and its loader workers share."""

from __future__ import annotations

import mmap

import torch
from torch import Tensor


def shared_zeros(size: int) -> Tensor:
    """Bytes that forked processes share; torch shares a tensor with those that are started otherwise."""
    return torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8) if size else torch.zeros(0, dtype=torch.uint8)
