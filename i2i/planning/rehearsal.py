"""Steps of a recipe on a device without arithmetic: everything that training does there, and nothing computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.methods.history import ImageHistory
from i2i.planning.fake import FakeDevice
from i2i.planning.memory import Kind, Ledger
from i2i.training.engine import Engine


class Rehearsal:
    """The engine of ``config`` on ``device``; ``config`` names a resolved precision, channels and labels.

    Attributes:
        engine: what takes the steps.
        ledger: the memory of everything so far.
    """

    def __init__(self, config: Config, device: FakeDevice) -> None:
        self._config, self._device = config, device
        self.ledger = device.ledger = Ledger()
        with device.building():
            self.engine = Engine(config, device.device)
        self._mark_state()
        for parameters in self.engine.parameters.values():
            for parameter in parameters:
                parameter.register_post_accumulate_grad_hook(self._mark_gradient)

    def run(self, steps: int) -> None:
        """Takes ``steps`` training steps."""
        with self._device.computing():
            batches = self._batches(self._config.training.batch_size)
            for _ in range(steps):
                self.engine.step(batches, 0.0)
                self._mark_state()

    def preview(self) -> None:
        """Draws a preview."""
        with self._device.computing():
            self.engine.preview(next(self._batches(self._config.training.sample_count)))

    def _batches(self, count: int) -> Iterator[Batch]:
        images, side = self._config.data.images, self._config.image_size
        device = self._device.device
        while True:
            a, b = (
                torch.empty(count, channels, side, side, device=device)
                for channels in (images.channels_a, images.channels_b)
            )
            label = torch.empty(count, dtype=torch.int64, device=device) if images.labels else None
            batch = Batch(a, b, label)
            self.ledger.mark("batch", [tensor for tensor in (a, b, label) if tensor is not None])
            del a, b, label
            yield replace(batch)

    def _mark_state(self) -> None:
        engine, mark = self.engine, self.ledger.mark
        for module in engine.method.modules():
            kind: Kind = "history" if isinstance(module, ImageHistory) else "weights"
            mark(kind, [*module.parameters(recurse=False), *module.buffers(recurse=False)])
        if engine.average is not None:
            mark("moving average", engine.average.state_dict().values())
        for optimizer in engine.optimizers.values():
            for state in optimizer.state.values():
                mark("optimisers", [value for value in state.values() if isinstance(value, torch.Tensor)])

    def _mark_gradient(self, parameter: nn.Parameter) -> None:
        if parameter.grad is not None:
            self.ledger.mark("gradients", [parameter.grad])
