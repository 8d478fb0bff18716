"""What a model costs: parameters, multiply-accumulates, speed and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from i2i.device import peak_memory
from i2i.evaluation.images import ImageSet
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator
from i2i.storage.weights import parameter_count


@dataclass(frozen=True)
class Cost:
    """Of the network that makes the outputs of one direction.

    Attributes:
        parameters: how many numbers it has.
        macs: multiply-accumulates for one image of the model's size, in convolutions and matrix products.
        images_per_second: while the held-out images were made, on this machine as it was.
        process_peak_gib: peak memory of the process, or on an accelerator of its tensors, up to then.
    """

    parameters: int
    macs: int
    images_per_second: float
    process_peak_gib: float


def made(model: Translator | Sampler, direction: str | None, make: Callable[[], ImageSet]) -> tuple[ImageSet, Cost]:
    """The outputs that ``make`` gives, and what they cost; one image is made before, so that nothing warms up."""
    size = model.config.image_size
    with FlopCounterMode(display=False) as counter:
        if isinstance(model, Translator):
            channels = model.channels(model.check_direction(direction))[0]
            model.translate(torch.zeros(1, channels, size, size), direction)
            network: nn.Module = model.method.directions()[model.check_direction(direction)].generator
        else:
            model.generate(model.latents([0]), model.labels_for([0]))
            network = model.method.generator
    start = time.perf_counter()
    outputs = make()
    seconds = time.perf_counter() - start
    cost = Cost(
        parameter_count(network), counter.get_total_flops() // 2, len(outputs) / seconds, peak_memory(model.device)
    )
    return outputs, cost
