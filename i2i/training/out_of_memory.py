"""What to try after a step has run out of memory: the largest batch and the largest image that are estimated to fit."""

from __future__ import annotations

import torch

from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.device import free_memory
from i2i.display import say
from i2i.errors import UserError
from i2i.planning.apart import on_stage

SHARE = 0.9
"""The part of the memory that may be filled: the estimate may be a tenth too low."""


def what_fits(config: Config, device: torch.device, kept: int) -> str:
    """The end of an error message; empty where nothing can be said. ``kept``: bytes of images that stay there."""
    say("out of memory: looking for what fits")
    batch, size = config.training.batch_size, config.image_size
    try:
        room = int(SHARE * (free_memory(device) - kept))
        fitting, side = on_stage(device.type, _largest, config, room)
    except (UserError, RuntimeError, ValueError, OSError, MemoryError, ImportError, AttributeError):
        return ""  # what has run out of memory is to be told, also where this torch lacks what planning needs
    if fitting >= batch:  # more than was free: other programs have it
        return ""
    ways = [f"training.batch_size={fitting}"] if fitting else []
    ways += [f"image_size={side}"] if side else []
    without = f"; data.on_device=false frees {kept / 2**30:.3g} GiB" if kept else ""
    found = " or ".join(ways) or f"no batch at {size} px and no image size with a batch of {batch}"
    return f"; estimated to fit into {room / 2**30:.1f} GiB: {found}{without}"


def _largest(config: Config, room: int) -> tuple[int, int]:
    """The largest batch at the size of ``config``, and the largest size with its batch; 0 for none."""
    from i2i.planning.fitting import largest_batch, largest_size  # with parts of torch that no other training needs
    from i2i.planning.rehearsal import Rehearsal
    from i2i.planning.stage import stage_for

    stage = stage_for(config.training.device)
    rehearsal = Rehearsal(config, stage)
    peak, left = rehearsal.peak(), room - stage.context

    def resized(size: int) -> Config:
        load_size = round(size * config.data.load_size / config.image_size)
        return changed(config, {"image_size": size, "data.load_size": load_size})

    def needed(other: Config) -> int:
        return Rehearsal(other, stage_for(config.training.device)).peak().total

    batch = largest_batch(lambda count: rehearsal.peak(count).total, config.training.batch_size, left)
    return batch, largest_size(needed, resized, config.image_size, peak, left)
