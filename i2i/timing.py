"""Times several ways to do the same, in turns, so that what else the machine does hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from i2i.display import tracked

Way = TypeVar("Way")
BEHIND = 2
"""A way that takes this many times as long as the first one is left out after two turns, of which one warmed it up."""


def in_turns(
    ways: Mapping[Way, Callable[[int], object]], turns: int, limit: float = float("inf"), label: str = ""
) -> dict[Way, list[float]]:
    """The seconds of each turn of each way. The first turns warm up: the shortest is the time of a way.

    Args:
        ways: what is timed, given the number of the turn.
        turns: how many turns there are, unless time runs out.
        limit: seconds after which nothing is begun but the first turn of the first way; what is expected to last
            beyond them is not begun either.
        label: of the progress bar; none without it.
    """
    begin = time.perf_counter()
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    first = next(iter(ways))

    def due() -> Iterator[Way]:
        for turn in range(turns):
            for way, own in seconds.items():
                behind = len(own) > 1 and min(own) > BEHIND * min(seconds[first])
                left = limit - (time.perf_counter() - begin)
                is_needed = not seconds[first]
                if is_needed or (not behind and len(own) == turn and left > (min(own) if own else 0)):
                    yield way

    def done() -> Iterator[Way]:
        for way in due():
            start = time.perf_counter()
            ways[way](len(seconds[way]))
            seconds[way].append(time.perf_counter() - start)
            yield way

    for _ in tracked(label, turns * len(ways))(done()) if label else done():
        pass
    return {way: own for way, own in seconds.items() if own}
