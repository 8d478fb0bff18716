"""The shortest time in which a GPU can take a step: a bound from its data sheet, and no measurement.

A step takes at least as long as each of its parts alone: arithmetic at the highest rate, every operand and result moved
once at full bandwidth, and a launch for each kernel (Williams, Waterman, Patterson 2009, "Roofline").
"""

from __future__ import annotations

from typing import NamedTuple

from i2i.config.schema import Precision
from i2i.planning.hardware import GPU, LAUNCH
from i2i.planning.work import Work


class Bound(NamedTuple):
    """Seconds that each part of a step takes at least."""

    arithmetic: float
    memory: float
    launches: float

    @property
    def seconds(self) -> float:
        """The longest."""
        return max(self)

    @property
    def binding(self) -> str:
        """Which part that is."""
        return self._fields[self.index(self.seconds)]


def bound(work: Work, gpu: GPU, precision: Precision) -> Bound | None:
    """What binds ``work`` on ``gpu``; None where it does not compute in this precision."""
    if precision not in gpu.flops:
        return None
    return Bound(work.flop / gpu.flops[precision], work.bytes / gpu.bandwidth, work.kernels * LAUNCH)
