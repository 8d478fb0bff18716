"""Every recipe for a few steps on the ranks of this launch; rank 0 leaves its weights and losses for test_ranks.py.

Started by ``torch.distributed.run``, or as one process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from i2i.batch import Batch
from i2i.config.resolve import recipe_names
from i2i.config.schema import Config
from i2i.methods.base import Method
from i2i.training.engine import Engine
from i2i.world import world

from .conftest import needs_of, small_config

BATCH, CLASSES = 6, ("a", "b", "c")
SGD_STEPS, OWN_STEPS = 20, 20


def config_of(arch: str, *settings: str) -> Config:
    config = small_config(arch, Path("digits"), f"training.batch_size={BATCH}", *settings)
    if needs_of(arch) != "one domain":
        return config
    labels = () if Method.named(config.method["name"]).uses_labels(config.method) == "ignored" else CLASSES
    return config.model_copy(update={"data": config.data.model_copy(update={"channels_a": 1, "labels": labels})})


def batches(config: Config) -> Iterator[Batch]:
    """This rank's part of batches that are the same for every world size."""
    images, (rank, size) = config.data.images, (world().rank, world().size)
    random = torch.Generator().manual_seed(5)
    while True:
        a, b = (
            torch.rand(BATCH, channels, 16, 16, generator=random).mul(2).sub(1)
            for channels in (images.channels_a, images.channels_b)
        )
        label = torch.randint(len(CLASSES), (BATCH,), generator=random) if images.labels else None
        yield Batch(a[rank::size], b[rank::size], None if label is None else label[rank::size])


def trained(config: Config, steps: int) -> dict[str, Any]:
    engine, stream = Engine(config, torch.device("cpu")), batches(config)
    losses: list[dict[str, Tensor]] = [engine.step(stream, 0.0) for _ in range(steps)]
    tensors = {name: value for name, value in engine.method.state_dict().items() if isinstance(value, Tensor)}
    return {"weights": tensors, "losses": losses}


def plain_gradient_steps(arch: str) -> Config:
    players = config_of(arch).optimizers
    return config_of(arch, *(f"optimizers.{player}={{name: sgd, lr: 0.0005}}" for player in players))


if __name__ == "__main__":
    torch.set_num_threads(1)
    PartialState(cpu=True)
    results = {
        arch: {"sgd": trained(plain_gradient_steps(arch), SGD_STEPS), "own": trained(config_of(arch), OWN_STEPS)}
        for arch in recipe_names()
    }
    if world().rank == 0:
        torch.save(results, sys.argv[1])
