"""An exponential moving average of the generators' weights (Karras et al. 2018, section 4; Yazici et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows modules with decay ``decay``, less in the first steps: min(decay, (1 + n) / (10 + n)) after n steps.

    Without that start the average of a short run would still remember the initial weights. The running statistics of
    batch norm are followed with the weights that they belong to.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self._live: dict[str, Tensor] = {}
        for name, module in modules.items():
            self._live |= {f"{name}.{key}": parameter for key, parameter in module.named_parameters()}
            statistics = {key: b for key, b in module.named_buffers() if key.endswith(("running_mean", "running_var"))}
            self._live |= {f"{name}.{key}": buffer for key, buffer in statistics.items()}
        self._mean = {key: tensor.detach().clone() for key, tensor in self._live.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Moves the average towards the live weights, after ``steps_done`` earlier updates."""
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average into the modules for the time of the context."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(self._mean)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the averaged weights of ``state_dict``."""
        for key, mean in self._mean.items():
            mean.copy_(state[key])

    @torch.no_grad()
    def _exchange(self) -> None:
        for key, tensor in self._live.items():
            live = tensor.detach().clone()
            tensor.copy_(self._mean[key])
            self._mean[key].copy_(live)
