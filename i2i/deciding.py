"""Draws of the host within a training step, as tensors on the device.

What the host draws itself is fixed in a recorded step (``i2i/training/replay.py``); what it asks for here is drawn
again each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Draw = Callable[[], Tensor]
Decide = Callable[[Draw, torch.device], Tensor]


def _now(draw: Draw, device: torch.device) -> Tensor:
    return draw().to(device)


_decide: Decide = _now


def decided(draw: Draw, device: torch.device) -> Tensor:
    """What ``draw`` gives, a tensor on the CPU that has the same shape each time, on ``device``.

    Args:
        draw: may be called again for later steps, without what is around it; it keeps no tensors.
        device: where the decision is used.
    """
    return _decide(draw, device)


@contextmanager
def deciding(decide: Decide) -> Iterator[None]:
    """Within the context, decisions are made by ``decide``."""
    global _decide
    before, _decide = _decide, decide
    try:
        yield
    finally:
        _decide = before
