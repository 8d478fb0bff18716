"""``training.batch_size=auto``: the largest power of two whose steps are estimated to fit into the memory that is free.

By the estimate of ``--dry-run`` (``i2i/planning``), which is up to a tenth off, and no more than the images that there
are. It is settled once: the run keeps the number, so that it goes on exactly.
"""

from __future__ import annotations

from functools import cache

import torch

from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.data.training_set import TrainingData
from i2i.device import free_memory
from i2i.display import say
from i2i.errors import ConfigError
from i2i.planning.apart import on_stage

SHARE = 0.8
"""The part of the free memory that is filled: the estimate may be a tenth too low, and others need some too."""
GUESS = 4
"""The search begins at a batch of 2 to the power of this, less one."""
GIB = 2**30


def require_one_process(processes: int) -> None:
    """Refuses to choose a batch for several processes, whose devices may differ and whose share has to be whole."""
    if processes > 1:
        raise ConfigError(
            f"training.batch_size auto is for one process: give the number of images that {processes} processes share, "
            f"a multiple of {processes}"
        )


def with_fitting_batch(config: Config, device: torch.device, data: TrainingData) -> Config:
    """``config``, which is settled otherwise, with the batch size that fits, of at most all images; says which.

    Raises:
        ConfigError: not even a batch of 1 fits.
    """
    images, free = data.smallest(), free_memory(device) - data.bytes_on_device
    batch, needed, twice = on_stage(device.type, fitting, config, int(SHARE * free), images)
    there = f"{SHARE:.0%} of the {free / GIB:.1f} GiB that are free on {device.type}"
    if not batch:
        raise ConfigError(
            f"training.batch_size auto: a batch of 1 at {config.image_size} px needs {twice / GIB:.1f} GiB by the "
            f"estimate, which is more than {there}: lower image_size or networks.generator.width"
        )
    bound = f"{2 * batch} would take {twice / GIB:.1f}" if twice else f"there are {images:,} images"
    say(
        f"training.batch_size auto: {batch}, the largest power of two that fits into {there} "
        f"(estimated: {needed / GIB:.1f} GiB; {bound})"
    )
    return changed(config, {"training.batch_size": batch})


def fitting(config: Config, room: int, most: int) -> tuple[int, int, int]:
    """The largest power of two that fits into ``room``, 0 for none, and no more than ``most``.

    With the bytes that it takes, and those that twice as many images take; 0 where ``most`` has decided.
    """
    from i2i.planning.fitting import largest  # with parts of torch that no other training needs
    from i2i.planning.rehearsal import Rehearsal
    from i2i.planning.stage import stage_for

    stage = stage_for(config.training.device)
    rehearsal = Rehearsal(config, stage)

    @cache
    def needed(power: int) -> int:
        return rehearsal.peak(2**power).total + stage.context

    powers = largest(lambda number: needed(number - 1) <= room, GUESS, most.bit_length())
    twice = 0 if 2**powers > most else needed(powers)
    return (2 ** (powers - 1), needed(powers - 1), twice) if powers else (0, 0, twice)
