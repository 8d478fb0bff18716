"""The accelerator without arithmetic of ``i2i.planning``, which writes down what happens on it.

So a machine without a GPU can check what a step does on one. Every operator on the device is written down with its
shapes, and so is whatever crosses between host and device. Who asks for a number on the device gets a 1, and a 0 inside
of steps: nothing has overflowed.

Registering is for good: only ``on_the_device`` does so, in a process of its own.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import i2i
from i2i.planning import registering
from i2i.planning.fake import Crossing, FakeAccelerator, is_fake

PACKAGE = str(Path(i2i.__file__).parent)


@dataclass(frozen=True)
class Event:
    """What crossed, by which operator, and the functions of i2i that asked for it, the innermost last."""

    kind: Crossing
    operator: str
    functions: tuple[str, ...]

    def within(self, function: str) -> bool:
        """Whether ``function`` (``engine.step`` is that of ``engine.py``) is among those that asked."""
        return any(each.rpartition(":")[0] == function for each in self.functions)

    def __str__(self) -> str:
        return f"{self.kind}: {self.operator} in {' > '.join(self.functions)}"


@dataclass
class Log:
    """What happened on the device.

    Attributes:
        operators: each with the shapes and types of its operands and results.
        events: what crossed between host and device.
        free: operators that ran outside of torch's deterministic mode.
    """

    operators: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    free: list[str] = field(default_factory=list)

    def of(self, *kinds: Crossing) -> list[Event]:
        """The events of these kinds."""
        return [event for event in self.events if event.kind in kinds]


class Accelerator(FakeAccelerator):
    """The accelerator, with a log of what happens on it."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self._paused = self._watched = False
        self._lock = threading.Lock()

    @property
    def number(self) -> float:  # type: ignore[override]
        return 0.0 if self._watched else 1.0

    @contextmanager
    def recorded(self, *, host: bool = False) -> Iterator[Log]:
        """A log of its own for the time of the context; with ``host``, what happens on the host alone is in it too."""
        before, self.log, self._watched = self.log, Log(), host
        try:
            yield self.log
        finally:
            self.log, self._watched = before, False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is written down."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def ran(self, operator: Any, args: Any, kwargs: Any, out: Any) -> None:
        if self._paused:
            return
        taken, made = (
            ", ".join(shape_of(leaf) for leaf in tree_leaves(each) if isinstance(leaf, Tensor))
            for each in ((args, kwargs), out)
        )
        line = f"{operator}: {taken} -> {made}"
        with self._lock:
            self.log.operators.append(line)
            if not torch.are_deterministic_algorithms_enabled():
                self.log.free.append(line)

    def crossed(self, kind: Crossing, operator: Any) -> None:
        if not self._paused and (kind != "host" or self._watched):
            with self._lock:
                self.log.events.append(Event(kind, str(operator), callers()))


def shape_of(tensor: Tensor) -> str:
    """Type and shape, such as ``float32[2, 3]``; of a tensor on the host with its device."""
    text = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
    return text if is_fake(tensor) else f"{text}@{tensor.device}"


def callers() -> tuple[str, ...]:
    """The functions of i2i on the stack as ``file.function:line``, the innermost last."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE) and Path(code.co_filename).parent.name != "planning":
            found.insert(0, f"{Path(code.co_filename).stem}.{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(found)


DEVICE: Accelerator | None = None


def device() -> Accelerator:
    """The device of this process."""
    assert DEVICE is not None, "only a process that registers the device has it"
    return DEVICE


def register() -> None:
    """Makes this process one that has the accelerator, and nothing to compute with but it."""
    global DEVICE
    registering.register()
    DEVICE = Accelerator()
    DEVICE.__enter__()
