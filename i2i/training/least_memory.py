"""The least memory that a run can do with: what surely does not fit is refused before it is tried.

Counted are weights with their gradients and the optimiser's averages, the images of a step, and one image at the load
size. Activations, most of what training takes, are not: a run that passes may still be too large. The estimate of all
of it is that of ``--dry-run`` (``i2i/planning``), which rehearses steps for seconds; this check takes none.
"""

from __future__ import annotations

import torch

from i2i.config.schema import Config, OptimizerConfig
from i2i.device import require_memory
from i2i.methods.base import Method
from i2i.storage.weights import parameter_count

NUMBER = 4
"""Bytes of a float32."""


def require_memory_for(config: Config, method: Method, device: torch.device, processes: int) -> None:
    """Refuses settings that need more memory than there is, naming the one that needs most.

    Args:
        config: of the run.
        method: built from it; its weights need no memory.
        device: where it trains.
        processes: how many share a batch.

    Raises:
        ConfigError: names the setting, what it needs and what there is.
    """
    parts = _networks(config, method) | _images(config, method, processes)
    largest = max(parts, key=lambda key: parts[key])
    require_memory(sum(parts.values()), device, f"a run with {largest}", f"lower {largest.partition(' ')[0]}")


def _networks(config: Config, method: Method) -> dict[str, float]:
    """Bytes of each network in training, by its setting that decides most."""
    copies = 2 + min(map(_averages, config.optimizers.values()), default=0)
    parts: dict[str, float] = {}
    for name, network in method.named_children():
        role = next((role for role in config.networks if name.startswith(role)), None)
        settings = {} if role is None else config.networks[role]
        sizes = [(settings[key], key) for key in ("width", "depth", "blocks", "hidden", "embedding") if key in settings]
        size, key = max(sizes, default=(0, ""))
        path = f"networks.{role}.{key} {size}" if sizes else f"method.{name}"
        parts[path] = parts.get(path, 0) + NUMBER * copies * parameter_count(network)
    return parts


def _averages(optimizer: OptimizerConfig) -> int:
    """How many numbers an optimiser keeps for each weight."""
    return {"adam": 2, "rmsprop": 1, "sgd": int(optimizer.momentum > 0)}[optimizer.name]


def _images(config: Config, method: Method, processes: int) -> dict[str, float]:
    data, training = config.data, config.training
    channels: int = 1 if data.channels_a == "auto" else data.channels_a
    if method.needs != "one domain":
        channels += data.channels_b
    step = NUMBER * channels * config.image_size**2 * training.batch_size * training.accumulate / processes
    share = "batch_size" if training.batch_size >= training.accumulate else "accumulate"
    return {
        f"training.{share} {getattr(training, share)}": step,
        f"data.load_size {data.load_size}": 3 * data.load_size**2,
    }
