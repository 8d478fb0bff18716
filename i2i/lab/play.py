"""A recipe learns points in this process: the same engine, method and batches as ``i2i train``, and no run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from i2i.config import resolve_config
from i2i.data.batches import batches_from
from i2i.data.points import Points
from i2i.display import tracked
from i2i.methods.generative import GenerativeMethod
from i2i.seeding import derive_seed
from i2i.training.engine import Engine


def watched(
    arch: str, options: Mapping[str, Any], *, points: str, steps: int, shares: Sequence[float], seed: int, label: str
) -> Iterator[tuple[int, GenerativeMethod]]:
    """Trains on a CPU in float32 and yields the number of steps and the method after each of ``shares`` of the run.

    Args:
        arch: the recipe.
        options: what differs from it.
        points: what is learnt.
        steps: length of the run.
        shares: when to look, from 0 to 1.
        seed: decides every draw.
        label: what the progress bar says.
    """
    device, moments = torch.device("cpu"), {round(share * steps) for share in shares}
    named = {"image_size": 1, "data.path": points, "training.steps": steps, "training.seed": seed}
    config = resolve_config(
        arch, options=named | {"training.device": "cpu", "training.precision": "fp32"} | dict(options)
    )
    data = Points.named(config)
    engine = Engine(data.settled(config), device)
    assert isinstance(engine.method, GenerativeMethod)
    if 0 in moments:
        yield 0, engine.method
    batches = batches_from(data.dataset(config, (0, 1)), 0, workers=0, device=device)
    for step in tracked(label, steps)(range(steps)):
        engine.step(batches, step / steps)
        if step + 1 in moments:
            yield step + 1, engine.method


@torch.no_grad()
def drawn(method: GenerativeMethod, count: int, seed: int) -> Tensor:
    """Generated points: (count, coordinates), always of the same latents."""
    random = torch.Generator().manual_seed(derive_seed(seed, "drawn"))
    return method.generate(method.draw_latents(count, random)).flatten(1)
