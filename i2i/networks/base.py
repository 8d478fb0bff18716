"""The base classes of all networks: names for configurations, named stages, accepted sizes, and five families.

A family is a calling convention: ``Translator`` and ``PatchDiscriminator`` map images, ``Generator`` makes images
from latents, ``Encoder`` reads latents from images, ``Discriminator`` gives one score for each image.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from i2i.config.components import Component
from i2i.networks.recompute import recomputed


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
        """The settings that depend on the training size in pixels, by the paper or by good practice."""
        return {}

    def stages(self) -> dict[str, nn.Module]:
        """The modules whose outputs are feature maps (N, C, H, W), by name, in the order in which they run.

        The module that makes the network's own output is not included. See ``networks/stages.py``.
        """
        return {}


class ChainNetwork(Network):
    """A network whose modules run in sequence; the last makes its output, the others are its stages."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) through every module."""
        for module in self.children():
            x = module(x)
        return x

    def stages(self) -> dict[str, nn.Module]:
        """All modules but the last; ``<stage>_conv`` is a stage's convolution, before norm, activation and blur."""
        found: dict[str, nn.Module] = {}
        for name, stage in list(self.named_children())[:-1]:
            if isinstance(stage, nn.Sequential):
                found |= {f"{name}_conv": layer for layer in stage if isinstance(layer, nn.Conv2d)}
            found[name] = stage
        return found


IMAGE, OUTPUT = "image", "output"
"""The maps that the first part of a network reads, and that its last part makes."""


@dataclass(frozen=True)
class Part:
    """A part of a network that can be computed tile by tile: from some maps another one.

    Attributes:
        inputs: the names of the maps that it reads: ``IMAGE``, or what earlier parts make.
        output: the name of the map that it makes; it may replace one of that name.
        compute: maps a tile of each input to that of the output, all of one place. It pads at the borders of the tile.
        margin: how far from a place, in pixels of the image, inputs have an effect on the output there, but for norms
            over the whole map. A multiple of ``grid``.
        grid: tiles begin and end at multiples of this, in pixels of the image: the coarsest scale in this part.
    """

    inputs: tuple[str, ...]
    output: str
    compute: Callable[..., Tensor]
    margin: int
    grid: int


class Translator(Network, family="translator"):
    """Maps images to images of the same size; built from the input and output channels.

    Attributes:
        recomputes: whether the backward pass computes again what is between stages, instead of it being kept.
    """

    recomputes: bool = False

    def through(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x)``, of one of the modules that ``forward`` calls in turn."""
        y: Tensor = recomputed(module, module, x) if self.recomputes and torch.is_grad_enabled() else module(x)
        return y

    def parts_for_tiles(self) -> Sequence[Part]:
        """The network as parts for tiles, in the order in which they run; none if only whole images will do.

        Norms over a whole map cost a pass over the tiles of their part each, and the parts before a cut are not
        computed again: a cut where maps are small saves time, and needs room for the map.
        """
        return ()


class PatchDiscriminator(Network, family="patch discriminator"):
    """Maps images to a map of scores; built from the images' channels."""


class Generator(Network, family="generator"):
    """Maps latents z: (N, latent) and labels (N,) to images (N, C, H, W); built from a ``DataSpec`` and ``latent``.

    Labels are ignored if the ``DataSpec`` has no classes.
    """

    @abstractmethod
    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Generates the images of ``z``."""


class Encoder(Network, family="encoder"):
    """Maps images (N, C, H, W) to latents; built from the images' channels and ``latent``."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log variance of the latents of x: (N, C, H, W), each (N, latent)."""


class Discriminator(Network, family="discriminator"):
    """Gives each image (N, C, H, W) one score (N,), higher for real; built from a ``DataSpec``.

    The score is ``score(trunk(x))``, so that other heads can share the trunk.

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
        return {"labels": "use a method with labels: method.name=gan and method.labels=required"}
