"""Steps whose device work is recorded once and then replayed, as CUDA graphs do it.

A small step on a fast GPU takes as long as Python and the driver need to start its kernels one by one. A recording is
started at once, and computes the same bits. A step is recorded in parts, from one update to the next: between them
optimisers step as ever, so that rates, checkpoints and resumes know nothing of it.
What a recording may not contain is a decision of the host: its draws go through ``i2i/deciding.py``, and a method says
by its ``variant`` what else differs between steps.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.deciding import Draw, deciding

Result = TypeVar("Result")
Again = Callable[[], None]
Recorder = Callable[[Again], Again]
"""Does the device work of a function, and returns what does it again, on the same addresses."""

WARM_UP = 3
"""Steps of a variant before it is recorded: libraries choose their algorithms and take their memory in the first."""


class CudaRecorder:
    """Records CUDA graphs, which share their memory: they are replayed in the order in which they were recorded."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Again) -> Again:
        graph = torch.cuda.CUDAGraph()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        if any("empty" in str(warning.message) for warning in said):
            return _nothing
        graph.replay()
        return graph.replay


def _nothing() -> None:
    """Replays a part without device work."""


@dataclass
class _Part(Generic[Result]):
    """What a step does up to an update: its inputs at fixed addresses, its result, and how it is done again."""

    batches: list[Batch] = field(default_factory=list)
    decisions: list[tuple[Draw, Tensor]] = field(default_factory=list)
    result: Result | None = None
    again: Again | None = None

    def refill(self, batches: Iterator[Batch]) -> None:
        """Takes the inputs of the next step."""
        for kept in self.batches:
            _copy(kept, next(batches))
        for draw, drawn in self.decisions:
            drawn.copy_(draw(), non_blocking=True)


class Replay(Generic[Result]):
    """Steps as generators of results: the first of a variant are done as they are, later ones from its recording.

    Args:
        recorder: records the work of a part.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: defaultdict[Hashable, int] = defaultdict(int)
        self._recorded: dict[Hashable, list[_Part[Result]]] = {}

    def __call__(
        self, work: Callable[[Iterator[Batch]], Iterator[Result]], batches: Iterator[Batch], variant: Hashable
    ) -> Iterator[Result]:
        """Does a step.

        Args:
            work: the step; all that it computes depends on its batches, on draws, and on tensors at fixed addresses.
            batches: those of the run.
            variant: the same for steps that do the same operations.

        Yields:
            Its results; those of a replayed step are the same tensors in each step.
        """
        self._seen[variant] += 1
        if self._seen[variant] < WARM_UP:
            yield from work(batches)
        elif self._seen[variant] == WARM_UP:
            yield from self._watched(work, batches, self._recorded.setdefault(variant, []))
        elif self._seen[variant] == WARM_UP + 1:
            yield from self._record(work, batches, self._recorded[variant])
        else:
            for part in self._recorded[variant]:
                part.refill(batches)
                if part.again is not None:
                    part.again()
                if part.result is not None:
                    yield part.result

    def _watched(
        self, work: Callable[[Iterator[Batch]], Iterator[Result]], batches: Iterator[Batch], parts: list[_Part[Result]]
    ) -> Iterator[Result]:
        """A step as it is; ``parts`` get copies of its inputs."""
        part: _Part[Result] = _Part()

        def taken() -> Iterator[Batch]:
            for batch in batches:
                part.batches.append(_copied(batch))
                yield batch

        def decide(draw: Draw, device: torch.device) -> Tensor:
            drawn = draw().to(device)
            part.decisions.append((draw, drawn.clone()))
            return drawn

        stream = work(taken())
        while True:
            parts.append(part)
            with deciding(decide):
                result = next(stream, None)
            if result is None:
                return
            part = _Part()
            yield result

    def _record(
        self, work: Callable[[Iterator[Batch]], Iterator[Result]], batches: Iterator[Batch], parts: list[_Part[Result]]
    ) -> Iterator[Result]:
        """A step that is recorded in ``parts`` while it is done."""
        stream = work(batch for part in parts for batch in part.batches)
        for part in parts:
            part.refill(batches)
            drawn = iter([kept for _, kept in part.decisions])
            part.again = self._recorder(partial(_do, stream, part, drawn))
            if part.result is not None:
                yield part.result


def _do(stream: Iterator[Result], part: _Part[Result], drawn: Iterator[Tensor]) -> None:
    """The work of a part, with its decisions in their place."""
    with deciding(lambda draw, device: next(drawn)):
        part.result = next(stream, None)


def _copied(batch: Batch) -> Batch:
    return replace(batch, **{name: tensor.clone() for name, tensor in vars(batch).items() if tensor is not None})


def _copy(kept: Batch, batch: Batch) -> None:
    """Copies into tensors that stay where they are."""
    for name, to in vars(kept).items():
        if to is not None:
            to.copy_(getattr(batch, name), non_blocking=True)
