"""The largest batch and the largest image that fit into memory."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import cache

from i2i.build import check_buildable
from i2i.config.schema import Config
from i2i.errors import ConfigError
from i2i.planning.memory import Kind, Peak

MOST = 65_536
"""Images of a batch; larger ones are not looked for."""
SIZES = [*range(4, 64, 4), *range(64, 4097, 32)]
"""Image sizes that are tried, in pixels; networks take some of them."""
FIXED: tuple[Kind, ...] = ("weights", "gradients", "optimisers", "moving average")
"""Kinds of memory that do not grow with the image."""

Resized = Callable[[int], Config]
"""Gives the configuration at another image size, or raises ConfigError."""


def largest(fits: Callable[[int], bool], guess: float, most: int) -> int:
    """The largest number from 1 to ``most`` that fits, 0 for none; looks near ``guess`` first."""
    low, high = 0, most + 1
    at, stride = round(min(max(guess, 1), most)), 1
    while high - low > 1:
        if fits(at):
            low, at = at, at + stride
        else:
            high, at = at, at - stride
        stride *= 2
        if not low < at < high:
            at = (low + high) // 2
    return low


def largest_batch(needed: Callable[[int], int], batch: int, room: int) -> int:
    """The largest batch for which ``needed`` is at most ``room`` bytes; how it grows from ``batch`` leads there."""
    few, many = 8 * batch, 16 * batch  # with less, weights can outweigh what grows
    one, two = needed(few), needed(many)
    guess = few + math.floor((room - one) * (many - few) / (two - one))
    return largest(lambda count: needed(count) <= room, guess, MOST)


def largest_size(needed: Callable[[Config], int], resized: Resized, size: int, peak: Peak, room: int) -> int:
    """The largest image size at which ``needed`` is at most ``room`` bytes, 0 for none; at ``size`` it is ``peak``."""

    @cache
    def at_most(index: int) -> Config | None:
        """The configuration at the largest size up to ``SIZES[index]`` that the networks take."""
        return _buildable(resized, SIZES[index]) or (at_most(index - 1) if index else None)

    @cache
    def fits(count: int) -> bool:
        config = at_most(count - 1)
        return config is None or needed(config) <= room

    fixed = sum(peak.by_kind[kind] for kind in FIXED)
    guess = size * math.sqrt(max(0, room - fixed) / (peak.total - fixed))
    count = largest(fits, bisect_right(SIZES, guess), len(SIZES))
    found = at_most(count - 1) if count else None
    return 0 if found is None else found.image_size


def _buildable(resized: Resized, size: int) -> Config | None:
    try:
        config = resized(size)
        check_buildable(config)
    except ConfigError:
        return None
    return config
