"""Trains a recipe on toy points in memory, with the engine, method and seeds of ``i2i train`` but no run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.batch import Batch
from i2i.config.resolve import changed, resolve_config
from i2i.display import tracked
from i2i.methods.generative import GenerativeMethod
from i2i.seeding import derive_seed, numpy_rng
from i2i.training.engine import Engine

Floats = NDArray[np.float32]
Draw = Callable[[int, np.random.Generator], Floats]
"""Draws points (count, coordinates) from a distribution."""


def train_with_snapshots(
    arch: str,
    options: Mapping[str, Any],
    *,
    draw: Draw,
    steps: int,
    fractions: Sequence[float],
    seed: int,
    label: str,
) -> Iterator[tuple[int, GenerativeMethod]]:
    """Trains on the CPU in float32, and yields step and method after each of ``fractions`` of the run.

    Args:
        arch: the recipe.
        options: settings that differ from it.
        draw: the distribution to learn.
        steps: number of steps.
        fractions: when to yield, from 0 to 1.
        seed: seed of all random draws.
        label: label of the progress bar.
    """
    device, snapshots = torch.device("cpu"), {round(fraction * steps) for fraction in fractions}
    named = {"image_size": 1, "data.path": "ring2d", "training.steps": steps, "training.seed": seed}
    config = resolve_config(
        arch, options=named | {"training.device": "cpu", "training.precision": "fp32"} | dict(options)
    )
    coordinates = draw(1, numpy_rng(seed, "shape")).shape[1]
    engine = Engine(changed(config, {"data.channels_a": coordinates, "data.labels": ()}), device)
    assert isinstance(engine.method, GenerativeMethod)
    if 0 in snapshots:
        yield 0, engine.method
    batches = (
        Batch(as_images(draw(config.training.batch_size, numpy_rng(seed, "points", number)))) for number in count()
    )
    for step in tracked(label, steps)(range(steps)):
        engine.step(batches, step / steps)
        if step + 1 in snapshots:
            yield step + 1, engine.method


@torch.no_grad()
def samples(method: GenerativeMethod, count: int, seed: int) -> Tensor:
    """Generated points (count, coordinates) of fixed latents."""
    random = torch.Generator().manual_seed(derive_seed(seed, "drawn"))
    return method.generate(method.draw_latents(count, random)).flatten(1)


def as_images(points: Floats) -> Tensor:
    """Points (N, C) as images of one pixel: (N, C, 1, 1)."""
    return torch.from_numpy(points)[:, :, None, None]
