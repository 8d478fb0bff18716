"""Steps of a recipe on a device without arithmetic: everything that training does there, and nothing computed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.methods.history import ImageHistory
from i2i.planning.memory import Kind, Peak
from i2i.planning.stage import Stage
from i2i.planning.work import Work
from i2i.training.engine import Engine


class Rehearsal:
    """The engine of ``config`` on ``stage``, with the gradients and states of optimisers that a step leaves.

    ``config`` names a resolved precision, channels and labels. ``images``: the bytes of those that lie on the device.

    Attributes:
        engine: what takes the steps.
        before: the bytes that there are before the first step.
    """

    def __init__(self, config: Config, stage: Stage, images: int = 0) -> None:
        self._config, self._stage = config, stage
        with stage.building():
            self.engine = Engine(config, stage.device)
        self._mark_state()
        self.before = stage.ledger.now()
        with stage.computing():
            self._images = torch.empty(images, dtype=torch.uint8, device=stage.device)
            stage.ledger.mark("images", [self._images])
            for player, optimizer in self.engine.optimizers.items():
                for parameter in self.engine.parameters[player]:
                    parameter.grad = torch.zeros_like(parameter)
                    parameter.register_post_accumulate_grad_hook(self._mark_gradient)  # type: ignore[no-untyped-call]
                    self._mark_gradient(parameter)
                optimizer.step()
        self._mark_state()

    def step(self, batch_size: int | None = None) -> tuple[Peak, Work]:
        """The memory of a step, of the configured batch or another, and what there is to compute in it."""
        stage = self._stage
        stage.ledger.restart()
        stage.work = Work()
        with stage.computing():
            self.engine.step(self._batches(batch_size or self._config.training.batch_size), 0.0)
        return stage.ledger.peak(), stage.work

    def peak(self, batch_size: int | None = None) -> Peak:
        """The memory of a step."""
        return self.step(batch_size)[0]

    def _batches(self, count: int) -> Iterator[Batch]:
        while True:
            yield self._batch(count)

    def _batch(self, count: int) -> Batch:
        images, side, device = self._config.data.images, self._config.image_size, self._stage.device
        a, b = (
            torch.empty(count, channels, side, side, device=device)
            for channels in (images.channels_a, images.channels_b)
        )
        label = torch.empty(count, dtype=torch.int64, device=device) if images.labels else None
        self._stage.ledger.mark("batch", [tensor for tensor in (a, b, label) if tensor is not None])
        return Batch(a, b, label)

    def _mark_state(self) -> None:
        engine, mark = self.engine, self._stage.ledger.mark
        for module in engine.method.modules():
            kind: Kind = "history" if isinstance(module, ImageHistory) else "weights"
            mark(kind, [*module.parameters(recurse=False), *module.buffers(recurse=False)])
        if engine.average is not None:
            mark("moving average", engine.average.state_dict().values())
        for optimizer in engine.optimizers.values():
            for state in optimizer.state.values():
                mark("optimisers", [value for value in state.values() if isinstance(value, Tensor)])

    def _mark_gradient(self, parameter: nn.Parameter) -> None:
        if parameter.grad is not None:
            self._stage.ledger.mark("gradients", [parameter.grad])
