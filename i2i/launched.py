"""The processes that a launcher such as torchrun started, as its environment variables tell."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this one is.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        local_rank: its number among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def launched() -> World:
    """The processes that torchrun or another launcher started; no process group is needed."""
    rank, size, local_rank = (
        int(os.environ.get(variable, alone)) for variable, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    return World(rank, size, local_rank)


def restarted() -> bool:
    """Whether torchrun has started this process in the place of one that failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch() -> str | None:
    """What torchrun tells this launch from others by, if it may start processes again: its --rdzv-id."""
    told = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    may_restart = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    return told if may_restart and told != "none" else None
