"""A process that plays any rank of a cluster of any size, and writes down what it asks of the other ranks.

The process group returns tensors as they are, as torch's fake one does, which is enough for gradients and statistics:
no step depends on their values. Where a run does depend on what other ranks say, it answers for them. Rank 0 is played
first, and what it said is repeated to every other rank: all it broadcasts, and its part of the agreements. Of the
remaining ranks one is asked to stop, and the others have nothing to say.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

import torch
from accelerate import PartialState
from torch import Tensor, distributed
from torch.distributed import Backend, ProcessGroup

from .accelerator import callers

BACKEND = "played"
STOP = 2
"""Where in an agreement a rank says that it was asked to stop."""


@dataclass(frozen=True)
class Collective:
    """What one rank asks of all.

    Attributes:
        kind: the operation.
        group: the number of the process group, by the order of their making.
        tensors: types and shapes of what goes in.
        bytes: of them.
        asked: the function of i2i that asks.
    """

    kind: str
    group: int
    tensors: tuple[str, ...]
    bytes: int
    asked: str


class Cluster:
    """``size`` ranks of which one at a time is played; ``stopped`` is asked to stop while the first steps are done."""

    def __init__(self, size: int, *, stopped: int | None = None) -> None:
        self.size, self.stopped = size, stopped
        self._said: list[tuple[Collective, Tensor | None]] = []

    @contextmanager
    def rank(self, rank: int) -> Iterator[list[Collective]]:
        """This process is ``rank``; rank 0 comes first. Its clock is none of the others' clocks."""
        names: dict[str, object] = {
            "RANK": rank,
            "WORLD_SIZE": self.size,
            "LOCAL_RANK": rank % 8,
            "LOCAL_WORLD_SIZE": min(8, self.size),
        }
        names |= {"MASTER_ADDR": "none", "MASTER_PORT": 0}
        ticks = itertools.count(1000.0 * rank, 0.3 * (1 + rank))
        log = Log(rank, self.size, self.stopped, said=self._said)
        with (
            mock.patch.dict(os.environ, {name: str(value) for name, value in names.items()}),
            mock.patch.object(time, "perf_counter", partial(next, ticks)),
            mock.patch.object(distributed, "new_group", _played_group),
            log.being_written(),
        ):
            PartialState._reset_state()  # what an earlier training of this process has left
            distributed.init_process_group(
                BACKEND, store=torch._C._distributed_c10d.HashStore(), rank=rank, world_size=self.size
            )
            try:
                yield log.collectives
            finally:
                distributed.destroy_process_group()
                PartialState._reset_state()


@dataclass
class Log:
    """What the played rank has asked for.

    Attributes:
        rank: its number.
        size: how many there are.
        stopped: which one is asked to stop.
        said: each operation of rank 0, and what it gave where that is listened to.
        collectives: those so far.
        agreements: how many of them were agreements.
        groups: how many process groups have been made.
    """

    rank: int
    size: int
    stopped: int | None
    said: list[tuple[Collective, Tensor | None]]
    collectives: list[Collective] = field(default_factory=list)
    agreements: int = 0
    groups: int = 0

    @contextmanager
    def being_written(self) -> Iterator[None]:
        """Process groups that are made in this context write here."""
        global WRITTEN
        WRITTEN = self
        try:
            yield
        finally:
            WRITTEN = None

    def met(self, kind: str, group: int, tensors: Sequence[Tensor]) -> None:
        """Takes note of an operation, and answers for the other ranks."""
        asked = callers()[-1].rpartition(":")[0]
        shapes = tuple(f"{tensor.dtype}{list(tensor.shape)}" for tensor in tensors)
        met = Collective(kind, group, shapes, sum(tensor.nbytes for tensor in tensors), asked)
        self.collectives.append(met)
        listened = kind == "broadcast" or asked == "agreement.after"
        if self.rank == 0:
            self.said.append((met, tensors[0].clone() if listened else None))
        assert len(self.collectives) <= len(self.said), f"rank {self.rank} asks for {met}, and rank 0 has ended"
        of_first, first = self.said[len(self.collectives) - 1]
        assert met == of_first, f"rank {self.rank} asks for {met}, and rank 0 for {of_first}"
        if first is None:
            return
        if kind == "broadcast":
            tensors[0].copy_(first)
        else:
            self._agree(tensors[0], first)

    def _agree(self, told: Tensor, first: Tensor) -> None:
        """Adds the parts of rank 0 and of the rank that is asked to stop."""
        self.agreements += 1
        asked = self.stopped is not None and self.agreements > 1
        if self.rank:
            told += first
        if self.rank != self.stopped:
            told[STOP] += asked
            return
        assert bool(told[STOP]) == asked, "the others were told something else"
        if not asked:
            os.kill(os.getpid(), signal.SIGTERM)


WRITTEN: Log | None = None
"""Of the rank that is played now."""


class PlayedGroup(ProcessGroup):
    """A process group of which one rank is there."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)  # type: ignore[call-arg]
        assert WRITTEN is not None
        self._log, self._number = WRITTEN, WRITTEN.groups
        WRITTEN.groups += 1

    def _met(self, kind: str, tensors: Sequence[Tensor]) -> Any:
        self._log.met(kind, self._number, tensors)
        done = torch.futures.Future[Any]()
        done.set_result(None)
        return torch._C._distributed_c10d._create_work_from_future(done)

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> Any:  # type: ignore[override]
        return self._met("allreduce", tensors)

    def broadcast(self, tensors: list[Tensor], opts: Any = None) -> Any:  # type: ignore[override]
        return self._met("broadcast", tensors)

    def barrier(self, opts: Any = None) -> Any:
        return self._met("barrier", [])

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None) -> Any:  # type: ignore[override]
        for output in outputs[0]:
            output.copy_(inputs[0])
        return self._met("allgather", inputs)


def _make_group(store: Any, rank: int, size: int, timeout: Any) -> PlayedGroup:
    return PlayedGroup(rank, size)


_new_group = distributed.new_group


def _played_group(**settings: Any) -> Any:
    return _new_group(**settings | {"backend": BACKEND})


Backend.register_backend(BACKEND, _make_group, devices=["cpu"])
