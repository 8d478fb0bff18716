"""The one abstraction: a method owns networks and writes its paper's algorithm as a generator of updates.

The trainer owns everything else: optimisers, backward, precision, schedules, averaging, logging and checkpoints.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from i2i.batch import Batch
from i2i.components import Component
from i2i.networks.base import Network

NetworkFactory = Callable[..., Network]
"""A network's class with its settings applied; called with the channels."""


class Update(NamedTuple):
    """One optimiser step of one player.

    Attributes:
        player: whose optimiser steps.
        losses: weighted scalars by name; their sum is minimised, each is plotted.
        scores: detached scalars that are only plotted.
    """

    player: str
    losses: dict[str, Tensor]
    scores: Mapping[str, Tensor] = MappingProxyType({})


class Method(Component, nn.Module, family="method"):
    """What is optimised. The constructor takes a ``DataSpec`` and keyword-only settings.

    Keyword-only parameters annotated ``NetworkFactory`` are the networks that a recipe must configure.

    Attributes:
        paired: whether ``a`` and ``b`` of a batch must be two sides of the same item.
        directions: what ``translate`` understands.
    """

    paired: ClassVar[bool] = False
    directions: ClassVar[tuple[str, ...]] = ("AtoB",)

    @classmethod
    def roles(cls) -> list[str]:
        """The networks that a recipe of this method configures."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return [p.name for p in parameters if p.annotation in ("NetworkFactory", NetworkFactory)]

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """The modules that each player trains; every trained parameter is in exactly one player."""

    @abstractmethod
    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """One training step: takes the batches it needs and yields one update after the other.

        After each ``yield`` the player's parameters have been stepped.
        """

    @abstractmethod
    def generator_for(self, direction: str) -> Network:
        """The network that translates in ``direction``, one of ``directions``."""

    @abstractmethod
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Named pictures (N, 3, H, W') in [-1, 1] for TensorBoard: one row for each item of ``batch``."""

    def translate(self, images: Tensor, direction: str) -> Tensor:
        """Translates images: (N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1]."""
        translated: Tensor = self.generator_for(direction)(images)
        return translated.float()

    def inference_state(self) -> dict[str, Any]:
        """The part of the state dict that ``translate`` needs."""
        kept = {id(self.generator_for(direction)) for direction in self.directions}
        names = [name for name, module in self.named_children() if id(module) in kept]
        return {key: value for key, value in self.state_dict().items() if key.partition(".")[0] in names}


def side_by_side(*columns: Tensor) -> Tensor:
    """Joins batches of pictures (N, C, H, W) into rows (N, 3, H, sum of W); grey becomes RGB, alpha is dropped."""
    return torch.cat([c.expand(-1, 3, -1, -1) if c.shape[1] == 1 else c[:, :3] for c in columns], dim=3).float()
