"""Callbacks: what a run does between its steps, and when. No callback changes the run by a bit.

The next step draws from its own seed, so that a callback may draw what it likes; weights and layers it leaves as they
are. Under several processes every rank calls every callback, at the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from i2i.errors import ConfigError

if TYPE_CHECKING:
    from i2i.training.trainer import Trainer


@dataclass(frozen=True)
class Position:
    """Where a run is.

    Attributes:
        step: how many steps are done.
        progress: the fraction of the run that is done, as the schedule of the learning rate measures it: in [0, 1].
        over: whether the run is complete.
        asked_to_stop: whether somebody asked it to stop here.
    """

    step: int
    progress: float
    over: bool
    asked_to_stop: bool

    @property
    def last(self) -> bool:
        """Whether no step follows now."""
        return self.over or self.asked_to_stop


Cadence = Callable[[Position], bool]
"""Whether something is due after the step of a position."""


@dataclass(frozen=True)
class Callback:
    """``act(trainer)`` after each step at which it is ``due``.

    Attributes:
        due: when.
        act: what.
        at_start: also before the first step of a run.
        at_resume: also before the first step of a run that goes on: for what a checkpoint does not hold, such as an
            augmentation of one's own, without which it would go on as another run.
    """

    due: Cadence
    act: Callable[[Trainer], None]
    at_start: bool = False
    at_resume: bool = False


def every(steps: int) -> Cadence:
    """After every ``steps`` steps, and at the end of the run.

    Raises:
        ConfigError: ``steps`` below 1.
    """
    if steps < 1:
        raise ConfigError(f"every({steps}): give a number of steps from 1 up")
    return lambda position: position.step % steps == 0 or position.over


def always(position: Position) -> bool:
    """After every step."""
    return True


class EverySeconds:
    """After the step at which ``seconds`` have passed since the last time, and whenever the run ends or is stopped.

    The clocks of several ranks differ: what is due now and then by the clock must not wait for other ranks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.perf_counter()

    def __call__(self, position: Position) -> bool:
        """Whether it is time."""
        due = position.last or time.perf_counter() - self._last >= self._seconds
        if due:
            self._last = time.perf_counter()
        return due
