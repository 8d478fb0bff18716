"""Multilayer perceptrons, the networks of the first GAN (Goodfellow et al. 2014) and of the theory experiments.

Differs from the first GAN, whose discriminator has maxout layers and dropout on its input too, and whose generator ends
in a sigmoid: these have ReLU, LeakyReLU or tanh, dropout on hidden layers only, and tanh or no activation at the end.
Points in the plane are images of one pixel with two channels; their generator has a linear output. ``init_gain`` scales
initial weights, and ``input_scale`` the discriminator's input, as in Metz et al. 2017, appendix A.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from i2i.batch import DataSpec
from i2i.config.components import Repeats, Width
from i2i.networks.base import Discriminator, Generator
from i2i.networks.layers import Dropout, DropoutRate, Gain, Init, LabelUse, ScoreHead, beside, initialize

Activation = Literal["relu", "leaky_relu", "tanh"]
Factor = Annotated[float, Field(gt=0, le=1e3)]


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
        width: Width = 256,
        depth: Repeats = 3,
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
            for in_channels, out_channels in pairwise(sizes)
            for layer in (nn.Linear(in_channels, out_channels), activation_layer(activation))
        ]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, data.channels_a * data.image_size**2)
        self.output = nn.Tanh() if output == "tanh" else nn.Identity()
        initialize(self, init, init_gain)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        flat: Tensor = self.output(self.head(self.hidden(beside(z, label, self.classes))))
        return flat.view(-1, *self.shape)


class MLPDiscriminator(Discriminator, name="mlp"):
    """Maps images (N, C, H, W), times ``input_scale``, to scores by ``depth`` hidden layers of ``width`` units."""

    def __init__(
        self,
        data: DataSpec,
        *,
        width: Width = 256,
        depth: Repeats = 3,
        activation: Activation = "leaky_relu",
        dropout: DropoutRate = 0.0,
        labels: LabelUse = "concatenate",
        input_scale: Factor = 1.0,
        init: Init = "kaiming",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        self.classes = data.classes if labels == "concatenate" else 0
        self.feature_count, self.input_scale = width, input_scale
        sizes = [data.channels_a * data.image_size**2 + self.classes] + [width] * depth
        layers = [
            layer
            for in_channels, out_channels in pairwise(sizes)
            for layer in (
                nn.Linear(in_channels, out_channels),
                activation_layer(activation),
                *([Dropout(dropout)] if dropout else []),
            )
        ]
        self.hidden = nn.Sequential(*layers)
        self.head = ScoreHead(width, 0 if labels == "concatenate" else data.classes)
        initialize(self, init, init_gain)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        features: Tensor = self.hidden(beside(self.input_scale * x.flatten(1), label, self.classes))
        return features

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        scores: Tensor = self.head(features, label)
        return scores
