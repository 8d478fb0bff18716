"""Whether a whole image fits into memory: what its translation takes, from that of a smaller one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import cache, cached_property

import torch

from i2i.device import capabilities, total_memory
from i2i.launched import launched
from i2i.methods.translation import TranslationMethod

SHARE = 0.5
"""Of the memory of a device, what the translation of one image may take: other programs and images have the rest."""
SIDE = 256
"""Of the smaller image: large enough that weights and the borders of maps count little."""
MOST_BYTES = 4096
"""Of a pixel: with so many, four times those of a ResNet of width 64, small images fit without an estimate."""


class MemoryForImages:
    """The memory that translations by ``method`` take on ``device``, in float32.

    Attributes:
        of_a_pixel: gives the bytes for each pixel, in a direction.
    """

    def __init__(
        self, method: TranslationMethod, device: torch.device, of_a_pixel: Callable[[str], float] | None = None
    ) -> None:
        """Where ``of_a_pixel`` is not given, it is an estimate."""
        self._method, self._device = method, device
        self.of_a_pixel: Callable[[str], float] = of_a_pixel or cache(self._estimate)
        self._lock = threading.Lock()

    @cached_property
    def room(self) -> float:
        """The bytes that there are for an image in each of the processes that share the work."""
        sharing = 1 if capabilities(self._device).own_memory else launched().size
        return SHARE * total_memory(self._device) / sharing

    def needed(self, direction: str, pixels: int) -> float:
        """The bytes that an image of so many pixels takes at the peak of its translation; 0 where it surely fits."""
        if pixels * MOST_BYTES <= self.room:
            return 0
        with self._lock:  # threads that read images ask too
            return pixels * self.of_a_pixel(direction)

    def _estimate(self, direction: str) -> float:
        """The bytes for each pixel, as tensors and convolutions of a CPU take them; other devices take fewer."""
        from i2i.planning.stage import CPU  # with more of torch, for which small images need not wait

        offered = self._method.directions()[direction]
        generator, stage = copy.deepcopy(offered.generator).cpu(), CPU()
        side = max(SIDE, generator.minimum)
        with torch.no_grad(), stage.computing():
            generator(torch.empty(1, offered.in_channels, side, side))
        return stage.ledger.peak().total / side**2
