"""The bases of all networks: a name for configurations, named stages, what sizes they take, and four families.

A family is a calling convention: ``Translator`` and ``PatchDiscriminator`` map pictures, ``Generator`` makes pictures
from latents, ``Discriminator`` gives one score for each picture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from i2i.config.components import Component


class Network(Component, nn.Module):
    """A network whose keyword-only constructor parameters are its configuration.

    Attributes:
        multiple: input height and width must be multiples of this.
        minimum: the smallest input height and width.
    """

    multiple: int = 1
    minimum: int = 1

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """The settings that the paper (or good practice) ties to the training size, in pixels."""
        return {}


class StagedNetwork(Network):
    """A network that is one chain of named stages, so that losses on features name a stage and never count layers."""

    def __init__(self, stages: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) through every stage."""
        for stage in self.children():
            x = stage(x)
        return x

    def stage_names(self) -> list[str]:
        """What ``features`` knows, in order.

        ``<stage>_conv`` is the output of the stage's convolution, before norm, activation and anti-aliasing.
        """
        names: list[str] = []
        for name, stage in self.named_children():
            if isinstance(stage, nn.Sequential) and any(isinstance(layer, nn.Conv2d) for layer in stage):
                names.append(f"{name}_conv")
            names.append(name)
        return names

    def features(self, x: Tensor, stages: Collection[str]) -> dict[str, Tensor]:
        """The outputs of the named ``stages`` for x: (N, C, H, W); runs no further than the stage of the last of them.

        Raises:
            KeyError: a stage that this network does not have.
        """
        missing = set(stages) - set(self.stage_names())
        if missing:
            raise KeyError(f"no stage {', '.join(sorted(missing))} in {type(self).__name__}")
        found: dict[str, Tensor] = {}
        for name, stage in self.named_children():
            for layer in stage.children() if f"{name}_conv" in stages else [stage]:
                x = layer(x)
                if isinstance(layer, nn.Conv2d) and layer is not stage:
                    found[f"{name}_conv"] = x.clone()  # an activation behind it may work in place
            if name in stages:
                found[name] = x
            if len(found) == len(stages):
                break
        return found


class Translator(Network, family="translator"):
    """Maps pictures to pictures of the same size; called with the channels of both."""


class StagedTranslator(Translator, StagedNetwork):
    """A translator whose stages losses on features may name."""


class PatchDiscriminator(Network, family="patch discriminator"):
    """Maps pictures to a map of scores; called with the pictures' channels."""


class Generator(Network, family="generator"):
    """Maps latents z: (N, latent) and labels (N,) to pictures (N, C, H, W); built from a ``DataSpec`` and ``latent``.

    Labels are ignored where the ``DataSpec`` has no classes.
    """

    @abstractmethod
    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Draws the pictures of ``z``."""

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The named stages whose outputs are feature maps (N, C, H, W), in order."""
        return []


class Discriminator(Network, family="discriminator"):
    """Gives each picture (N, C, H, W) one score (N,), higher for real; built from a ``DataSpec``.

    The score is ``score`` of ``trunk``, so that other heads can share the trunk.

    Attributes:
        feature_count: the length of the trunk's features.
    """

    feature_count: int

    @abstractmethod
    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Maps x: (N, C, H, W) to features (N, feature_count)."""

    @abstractmethod
    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Maps the trunk's features to scores (N,): logits or critic values."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Scores x: (N, C, H, W)."""
        return self.score(self.trunk(x, label), label)

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        if "labels" not in settings or method.get("labels", "ignored") != "ignored":
            return {}
        return {"labels": "take a method with labels: method.name=gan and method.labels=required"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The named stages whose outputs are feature maps (N, C, H, W), in order."""
        return []
