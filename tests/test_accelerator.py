"""Every recipe on an accelerator, played by a device without arithmetic (``accelerator.py``) in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from i2i.batch import Batch
from i2i.config.resolve import read_recipe, recipe_names
from i2i.training.engine import Engine

from .accelerator import NAME, Event, Log, device, is_fake, register
from .toys import prepare, stream_of

DataFor = Callable[[str], Path]
Result = TypeVar("Result")
every_recipe = pytest.mark.parametrize("arch", recipe_names())

ASKING_RMSPROP = ("dualgan", "wgan")
"""torch has no fused RMSprop, which would leave out an overflowed step on the device: GradScaler asks the host once for
each of its steps, and its count of steps stays on the host."""
DRAWS_ON_HOST = ("cyclegan", "cyclegan-fast", "fastcut")
"""Which image of the history is shown, and whether the input is mirrored, is drawn on the host from the step's seed."""
CHANGES_FROM_STEP_TO_STEP = {
    "cyclegan": "an image is exchanged with one of the history or not",
    "cyclegan-fast": "an image is exchanged with one of the history or not",
    "fastcut": "the input is mirrored or not",
}
"""Recipes whose operators differ between steps, and why: a CUDA graph would need one for each case."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process that has the accelerator: registering it is for good, and changes what "auto" means."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=register) as pool:
        yield pool


@pytest.fixture
def on_the_device(elsewhere: ProcessPoolExecutor) -> Callable[..., Any]:
    """Calls a function in the process that has the accelerator."""
    return lambda function, *args: elsewhere.submit(function, *args).result()


def engine_on_the_device(arch: str, data: Path, *settings: str) -> tuple[Engine, Iterator[Batch]]:
    """A recipe that is built on the device, and its batches; a history of two images is soon full."""
    history = ["method.history=2"] if "history" in read_recipe(arch)["method"] else []
    config, training_data = prepare(arch, data, *history, *settings)
    return Engine(config, torch.device(NAME, 0)), batches_on_the_device(stream_of(config, training_data))


def batches_on_the_device(stream: Iterator[Batch]) -> Iterator[Batch]:
    """What loading and moving a batch does is not written down."""

    while True:
        with device().paused():
            batch = next(stream)
            moved = batch.to(torch.device(NAME))
        yield moved


def steps_of(arch: str, data: Path, count: int, *settings: str) -> list[Log]:
    """What ``count`` steps do on the device."""
    engine, batches = engine_on_the_device(arch, data, *settings)
    engine.method.augmentation = lambda images: images * (0.9 + 0.2 * torch.rand_like(images[:, :1, :1, :1]))
    logs = []
    for step in range(count):
        with device().recorded() as log:
            values = engine.step(batches, step / count)
        assert all(map(is_fake, values.values()))
        logs.append(log)
    assert all(is_fake(tensor) for tensor in (*engine.method.parameters(), *engine.method.buffers()))
    return logs


SETTINGS = {
    "fp32": [],
    "bf16": ["training.accumulate=2"],
    "fp16": ["training.clip_norm=1", "training.ema.half_life=10", "training.ema.start=0"],
}


@every_recipe
@pytest.mark.parametrize("precision", SETTINGS)
def test_a_step_stays_on_the_device(
    arch: str, precision: str, data_for: DataFor, on_the_device: Callable[..., list[Log]]
) -> None:
    settings = [f"training.precision={precision}", *SETTINGS[precision]]
    logs = on_the_device(steps_of, arch, data_for(arch), 4, *settings)
    for log in logs:
        assert_stays(arch, log, precision)
    if arch not in CHANGES_FROM_STEP_TO_STEP:
        assert logs[2].operators == logs[3].operators
    elif precision == "fp32":
        assert len({tuple(log.operators) for log in on_the_device(steps_of, arch, data_for(arch), 12)[2:]}) > 1
    low = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
    products = [line for line in logs[0].operators if re.match(r"aten\.(convolution|addmm|mm|bmm)\.", line)]
    assert any(f"-> {low}[" in line for line in products)


def assert_stays(arch: str, log: Log, precision: str) -> None:
    assert log.operators
    asked = log.of("read")
    if arch in ASKING_RMSPROP and precision == "fp16":
        assert {event.functions[-1].rpartition(":")[0] for event in asked} == {"engine._apply"}
        assert len(asked) == optimizer_steps(arch)
        asked = []
    assert not asked, "\n".join(map(str, asked))
    crossed = [event for event in log.of("copy", "mixed", "host") if not is_expected(arch, event)]
    assert not crossed, "\n".join(map(str, crossed))


def optimizer_steps(arch: str) -> int:
    """Of a small step of a recipe with several for the critic."""
    method = read_recipe(arch)["method"]
    return int(method.get("critic_steps", method.get("discriminator_steps", 1))) + 1


def is_expected(arch: str, event: Event) -> bool:
    """What may stay on the host: draws of a single number, and RMSprop's count of steps."""
    if event.kind != "host" or not event.functions:
        return False
    where = event.functions[-1].rpartition(":")[0]
    drawing = arch in DRAWS_ON_HOST and where in ("history.exchange", "cut.updates")
    return drawing or (arch in ASKING_RMSPROP and where == "engine._apply")
