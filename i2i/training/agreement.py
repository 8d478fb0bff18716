"""What a run's ranks agree on: where they start, and regularly stopping, elapsed time and items that cannot be read.

Each step would wait for it; twice a second is often enough for people. Between two agreements every rank goes by the
last one, so that all do the same. The exchange is of CPU tensors: it waits for the other ranks, and for no device.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from accelerate.utils import broadcast_object_list
from torch import distributed

from i2i.config.changes import FOLDERS, MACHINE
from i2i.config.explain import differing_keys
from i2i.config.schema import Config
from i2i.errors import ConfigError, DataError
from i2i.training.processes import patience
from i2i.world import world

SECONDS = 0.5
LONGEST = 1_000
"""Seconds and steps between two agreements."""


MAY_DIFFER = (*FOLDERS, *(setting for setting in MACHINE if setting != "training.device"), "training.start_from")
"""Settings that may differ between ranks: paths, and what a machine is capable of."""


def require_same_start(config: Config, images: str, step: int) -> None:
    """Refuses to start where this rank would do something else than rank 0: later, both would wait for ever.

    Args:
        config: the settings.
        images: what tells these from others.
        step: how many steps are done.

    Raises:
        ConfigError: other settings than on rank 0.
        DataError: other images, or another checkpoint.
    """
    rank = world().rank
    if world().size == 1:
        return
    told = [(config.model_dump(mode="json"), images, step)]
    broadcast_object_list(told)
    settings, images_there, step_there = told[0]
    differing = differing_keys(config, Config.model_validate(settings), ignoring=MAY_DIFFER)
    if differing:
        raise ConfigError(f"rank {rank} has other settings than rank 0, start both alike: {', '.join(differing)}")
    if images != images_there:
        raise DataError(
            f"rank {rank} has other images in {config.data.title} ({images}) than rank 0 ({images_there}): "
            "give both the same"
        )
    if step != step_there:
        raise DataError(
            f"rank {rank} would go on from step {step}, and rank 0 from step {step_there}: "
            "give both the same run folder, with the same checkpoints"
        )


class Told(NamedTuple):
    """What one rank says, and what then holds for all.

    Attributes:
        spent: the part of the time limit that has passed: rank 0's.
        stop: whether a rank was asked to stop.
        news: whether a rank has met an item that cannot be read.
    """

    spent: float
    stop: bool
    news: bool


class Agreement:
    """The ranks' common word in a run of ``config``; made on all ranks at once."""

    def __init__(self, config: Config) -> None:
        self._next = 0
        self._last: tuple[int, float] | None = None  # the step of the last agreement, and when it was
        self._alone = world().size == 1
        self._group: Any = None if self._alone else distributed.new_group(backend="gloo", timeout=patience(config))
        self._held = Told(0.0, False, False)

    def after(self, step: int, own: Told, *, last: bool) -> Told:
        """What holds after ``step``, given what this rank has to say; ``last`` asks for an agreement at the end."""
        if self._alone:
            return own
        if step < self._next and not last:
            return self._held._replace(news=False)
        here, now = world(), time.perf_counter()
        wait = 1
        if self._last is not None:  # a resumed run does not begin with step 0, so that its first tells no speed
            before, then = self._last
            wait = min(max(round(SECONDS * (step - before) / max(now - then, 1e-9)), 1), LONGEST)
        first = [own.spent, float(wait)] if here.rank == 0 else [0.0, 0.0]
        told = torch.tensor([*first, float(own.stop), float(own.news)], dtype=torch.float64)
        distributed.all_reduce(told, group=self._group)
        spent, waited, stop, news = told.tolist()
        self._next, self._last = step + int(waited), (step, now)
        self._held = Told(spent, stop > 0, news > 0)
        return self._held
