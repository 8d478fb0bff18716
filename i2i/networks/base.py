"""The base of every network: a name for configurations, named stages, and what sizes it takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor, nn

from i2i.components import Component


class Network(Component, nn.Module, family="network"):
    """A network whose keyword-only constructor parameters are its configuration.

    Attributes:
        role: what a recipe may configure it as.
        multiple: input height and width must be multiples of this.
        minimum: the smallest input height and width.
    """

    role: ClassVar[str] = "generator"
    multiple: int = 1
    minimum: int = 1

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """The settings that the paper (or good practice) ties to the training size, in pixels."""
        return {}


class StagedNetwork(Network):
    """A network that is one chain of named stages, so that losses on features name a stage and never count layers."""

    stages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stages: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) through every stage."""
        for stage in self.children():
            x = stage(x)
        return x

    def features(self, x: Tensor, stages: Collection[str]) -> dict[str, Tensor]:
        """The outputs of the named ``stages`` for x: (N, C, H, W); runs no further than the last of them.

        Raises:
            KeyError: a stage that this network does not have.
        """
        missing = set(stages) - {name for name, _ in self.named_children()}
        if missing:
            raise KeyError(f"no stage {', '.join(sorted(missing))} in {type(self).__name__}")
        found: dict[str, Tensor] = {}
        for name, stage in self.named_children():
            x = stage(x)
            if name in stages:
                found[name] = x
            if len(found) == len(stages):
                break
        return found
