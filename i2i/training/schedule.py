"""Optimisers and their learning rates: Adam, RMSprop or SGD for each player, constant and then linear to zero.

The shape is CycleGAN's (Zhu et al. 2017, section 4) and that of the authors' PyTorch training of pix2pix and CUT:
constant for the first half, linear over the second. A warm-up may come before, as in EnCo's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch
from torch.optim import Adam, Optimizer, RMSprop

from i2i.config.schema import OptimizerConfig, ScheduleConfig
from i2i.display import counted

WARMUP_START = 0.05
"""What the rate rises from, as in 20 epochs that begin with a twentieth (EnCo's released code)."""


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], config: OptimizerConfig, *, fused: bool = False
) -> Optimizer:
    """The optimiser that ``config`` names; ``fused`` takes one kernel where torch has one (for RMSprop it has none)."""
    match config.name:
        case "adam":
            return Adam(parameters, lr=config.lr, betas=config.betas, fused=True)  # one pass over the weights
        case "rmsprop":
            return RMSprop(parameters, lr=config.lr, alpha=config.alpha)
        case "sgd":
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, fused=fused)
        case _:
            assert_never(config.name)


def rate_factor(progress: float, schedule: ScheduleConfig) -> float:
    """What the learning rate is multiplied by when a share ``progress`` of the run, in [0, 1), is done."""
    if progress < schedule.warmup:
        return WARMUP_START + (1 - WARMUP_START) * progress / schedule.warmup
    if progress <= schedule.constant:
        return 1.0
    return max(0.0, (1 - progress) / (1 - schedule.constant))


def describe(schedule: ScheduleConfig, steps: int, max_time: float | None) -> str:
    """The schedule in words, for the start of a run."""
    length = counted(steps, "step")
    if schedule.over == "budget" and max_time is not None:
        length += f" or {max_time / 60:g} min, whichever is nearer"
    if schedule.constant == 1:
        rising = f"rising for {schedule.warmup:.0%}, then " if schedule.warmup else ""
        return f"{rising}constant over {length}"
    constant = f"rising for {schedule.warmup:.0%}, constant until" if schedule.warmup else "constant for"
    return f"{constant} {schedule.constant:.0%} of {length}, then linear to 0"
