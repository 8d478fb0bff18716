"""Multilayer perceptrons, the players of the first GAN (Goodfellow et al. 2014) and of the theory experiments.

Differs from the paper: ReLU or LeakyReLU where it has maxout and sigmoid layers, and tanh at the end of the generator.
Points in the plane are pictures of one pixel with two channels; their generator ends linearly.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from i2i.batch import DataSpec
from i2i.components import Count
from i2i.networks.base import Discriminator, Generator
from i2i.networks.layers import Dropout, Gain, Init, LabelUse, ScoreHead, beside, initialize

Activation = Literal["relu", "leaky_relu", "tanh"]


def activation_layer(activation: Activation) -> nn.Module:
    """The layer of this name; LeakyReLU has slope 0.2."""
    match activation:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(0.2)
        case "tanh":
            return nn.Tanh()


class MLPGenerator(Generator, name="mlp"):
    """Maps latents (N, latent) to (N, C, H, W) through ``depth`` hidden layers of ``width`` units."""

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        *,
        width: Count = 256,
        depth: Count = 3,
        activation: Activation = "relu",
        output: Literal["tanh", "linear"] = "tanh",
        init: Init = "kaiming",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.shape = data.classes, (data.channels_a, data.image_size, data.image_size)
        sizes = [latent + data.classes] + [width] * depth
        layers = [
            layer
            for entering, leaving in pairwise(sizes)
            for layer in (nn.Linear(entering, leaving), activation_layer(activation))
        ]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, data.channels_a * data.image_size**2)
        self.output = nn.Tanh() if output == "tanh" else nn.Identity()
        initialize(self, init, init_gain)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        flat: Tensor = self.output(self.head(self.hidden(beside(z, label, self.classes))))
        return flat.view(-1, *self.shape)


class MLPDiscriminator(Discriminator, name="mlp"):
    """Maps pictures (N, C, H, W) to scores through ``depth`` hidden layers of ``width`` units."""

    def __init__(
        self,
        data: DataSpec,
        *,
        width: Count = 256,
        depth: Count = 3,
        activation: Activation = "leaky_relu",
        dropout: Dropout = 0.0,
        labels: LabelUse = "concatenate",
        init: Init = "kaiming",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        self.classes = data.classes if labels == "concatenate" else 0
        self.feature_count = width
        sizes = [data.channels_a * data.image_size**2 + self.classes] + [width] * depth
        layers = [
            layer
            for entering, leaving in pairwise(sizes)
            for layer in (
                nn.Linear(entering, leaving),
                activation_layer(activation),
                *([nn.Dropout(dropout)] if dropout else []),
            )
        ]
        self.hidden = nn.Sequential(*layers)
        self.head = ScoreHead(width, 0 if labels == "concatenate" else data.classes)
        initialize(self, init, init_gain)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        features: Tensor = self.hidden(beside(x.flatten(1), label, self.classes))
        return features

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        scores: Tensor = self.head(features, label)
        return scores
