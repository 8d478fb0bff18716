"""Times training steps on random images, and compares the losses of the first one with those in fp32."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.bench.rows import Row, Table, Way
from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.device import capabilities, read
from i2i.display import say
from i2i.timing import in_turns
from i2i.training.engine import Engine

LOSSES = 0.05
"""How far the losses of the first step may be from those in fp32, as a part of them."""
TURNS = 8


def time_training(config: Config, device: torch.device, limit: float, *, compiled: bool) -> Table:
    """Takes steps of ``config``, whose channels and labels are known, within ``limit`` seconds after compiling."""
    low = capabilities(device).fast_precision
    precisions = dict.fromkeys(("fp32", low))
    ways = [Way(each, layers) for layers in ("torch", "channels last") for each in precisions]
    ways += [Way(each, "torch", True) for each in precisions if compiled]
    losses: dict[Way, dict[str, float]] = {}
    batch = random_batch(config).to(device)
    timed = in_turns({way: _stepping(config, device, way, batch, losses) for way in ways}, TURNS, limit, "timing steps")
    plain = ways[0]
    rows = []
    for way, seconds in timed.items():
        apart = _apart(losses[way], losses[plain])
        rows.append(
            Row(
                way=way,
                seconds=min(seconds),
                first=seconds[0],
                turns=len(seconds),
                times=min(timed[plain]) / min(seconds),
                apart="" if way == plain else f"losses {apart:.2%}",
                allowed=way == plain or apart <= LOSSES,
            )
        )
    title = f"a training step, batch {config.training.batch_size} of {config.image_size} px"
    return Table(title, torch.get_num_threads(), rows)


def random_batch(config: Config, seed: int = 0) -> Batch:
    """A batch of noise of the shapes that ``config`` trains on."""
    images, count, side = config.data.images, config.training.batch_size, config.image_size
    random = torch.Generator().manual_seed(seed)
    a, b = (
        torch.rand(count, channels, side, side, generator=random) * 2 - 1
        for channels in (images.channels_a, images.channels_b)
    )
    label = torch.randint(len(images.labels), (count,), generator=random) if images.labels else None
    return Batch(a, b, label)


def _stepping(
    config: Config, device: torch.device, way: Way, batch: Batch, losses: dict[Way, dict[str, float]]
) -> Callable[[int], None]:
    engine = Engine(changed(config, {"training.precision": way.precision}), device)
    if way.layers == "channels last":
        engine.method.to(memory_format=torch.channels_last)

    def step(turn: int) -> None:
        values = read({tag: value for tag, value in engine.step(repeat(batch), 0.0).items() if _is_loss(tag, value)})
        losses.setdefault(way, values)

    if way.compiled:
        say(f"training: compiling, {way.precision}")
        for networks in engine.method.players().values():
            for network in networks:
                network.compile()
        step(0)
    return step


def _is_loss(tag: str, value: Tensor) -> bool:
    return tag.startswith("loss/") and value.ndim == 0


def _apart(losses: dict[str, float], plain: dict[str, float]) -> float:
    """The largest difference of a loss, as a part of it."""
    return max((abs(losses[tag] - value) / max(abs(value), 1e-3) for tag, value in plain.items()), default=0.0)
