"""An exponential moving average of the generators' weights (Karras et al. 2018, section 4; Yazici et al. 2019).

Its memory is a half-life in images, as in the training of StyleGAN2's and EDM's authors, so that it does not change
with the batch. BigGAN's authors start it after a number of steps and have a copy of the weights before.

The vectors of spectral norm are not averaged: averaged weights are divided by the norm that the live vectors see in
them, which differs from their own by the square of a small angle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from i2i.config.schema import AverageConfig


class WeightAverage:
    """Follows modules, and the running statistics of batch norm with the weights that they belong to.

    Args:
        modules: what is followed, by names that stay the same.
        config: half-life, start and ramp.
        images: how many images one step counts for.
    """

    def __init__(self, modules: Mapping[str, nn.Module], config: AverageConfig, images: int) -> None:
        self._live: dict[str, Tensor] = {}
        for name, module in modules.items():
            self._live |= {f"{name}.{key}": parameter for key, parameter in module.named_parameters()}
            statistics = {key: b for key, b in module.named_buffers() if key.endswith(("running_mean", "running_var"))}
            self._live |= {f"{name}.{key}": buffer for key, buffer in statistics.items()}
        self._mean = {key: tensor.detach().clone() for key, tensor in self._live.items()}
        self._config, self._images = config, images

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Moves the average towards the live weights, after ``steps_done`` earlier updates."""
        decay = average_decay(self._config, steps_done, self._images)
        torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), 1 - decay)

    def restart(self) -> None:
        """Makes the average a copy of the live weights, as at the start of a run."""
        self.load_state_dict(self._live)

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


def average_decay(config: AverageConfig, steps_done: int, images: int) -> float:
    """What the average keeps of itself in the step after ``steps_done``, each of ``images`` images: in [0, 1)."""
    seen = images * (steps_done + 1)
    if seen <= config.start:
        return 0.0
    half_life = config.half_life if config.ramp is None else min(config.half_life, config.ramp * seen)
    decay: float = 0.5 ** (images / half_life)
    return decay
