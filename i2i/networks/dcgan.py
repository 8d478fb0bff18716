"""The convolutional networks of DCGAN (Radford, Metz, Chintala 2016, arXiv:1511.06434).

Strided convolutions and no pooling; batch norm except at the generator's output and the discriminator's input and
output; ReLU in the generator with tanh at its end, LeakyReLU 0.2 in the discriminator; weights from N(0, 0.02). The
paper's own networks have ``width`` 128 (1,024 maps in the generator's first layer at 64 pixels) and ``kernel`` 5; the
defaults are those of the authors' Torch port, which WGAN adopted. Differs from both: the score layer and discriminator
layers without norm have biases. Differs from the paper's code, which normalises each unit of the first maps separately.

Options from other papers: a dense layer between latent and maps in both networks (InfoGAN, appendix C.1), global
average pooling before the score, another slope of LeakyReLU, other norms, spectral norm, and labels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from i2i.batch import DataSpec
from i2i.config.components import Width
from i2i.errors import ConfigError
from i2i.networks.base import Discriminator, Generator
from i2i.networks.batch_norm import BatchNorm1d
from i2i.networks.layers import (
    Gain,
    Init,
    LabelUse,
    Norm,
    ScoreHead,
    add_spectral_norm,
    beside,
    initialize,
    needs_bias,
    normalization,
)

Units = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Kernel = Literal[4, 5]
Slope = Annotated[float, Field(ge=0, lt=1)]
LARGEST_BASE = 8


def halvings(image_size: int) -> tuple[int, int]:
    """How often ``image_size`` can be halved, and the remaining side: 4 for powers of two, 7 for 28 pixels.

    Raises:
        ConfigError: a side that cannot be halved to 8 pixels or fewer.
    """
    base, count = image_size, 0
    while base % 2 == 0 and base > 4:
        base, count = base // 2, count + 1
    if base > LARGEST_BASE or not count:
        raise ConfigError(
            f"image_size {image_size} cannot be halved to a side of at most {LARGEST_BASE} pixels: "
            "use a power of two, or 28, 48, 56, 96 or 112"
        )
    return count, base


class DCGANGenerator(Generator, name="dcgan"):
    """Maps latents (N, latent) to (N, C, S, S) in [-1, 1]; S is a small side doubled one or more times.

    ``width`` is the number of maps before the output; each earlier stage has twice as many. At 64 pixels and width 64:
    512 maps of 4x4, then 256, 128, 64. ``kernel``: side of the upsampling filters. ``hidden``: units of a dense layer
    before the first maps. Stages: ``project``, ``up1`` and so on.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        *,
        width: Width = 64,
        kernel: Kernel = 4,
        hidden: Units = 0,
        norm: Norm = "batch",
        init: Init = "normal",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        self.classes = data.classes
        count, base = halvings(data.image_size)
        channels = width * 2 ** (count - 1)
        bias = needs_bias(norm)
        in_channels = latent + data.classes
        dense: list[nn.Module] = []
        if hidden:
            dense = [nn.Linear(in_channels, hidden, bias=bias), _norm_of_units(norm, hidden), nn.ReLU(inplace=True)]
        self.project = nn.Sequential(
            *dense,
            nn.Unflatten(1, (hidden or in_channels, 1, 1)),
            nn.ConvTranspose2d(hidden or in_channels, channels, base, bias=bias),
            normalization(norm, channels),
            nn.ReLU(inplace=True),
        )
        for i in range(1, count):
            up = _doubling(channels, channels // 2, kernel, bias=bias)
            channels //= 2
            self.add_module(f"up{i}", nn.Sequential(up, normalization(norm, channels), nn.ReLU(inplace=True)))
        self.head = nn.Sequential(_doubling(channels, data.channels_a, kernel, bias=False), nn.Tanh())
        initialize(self, init, init_gain)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x = beside(z, label, self.classes)
        for stage in self.children():
            x = stage(x)
        return x

    def stages(self) -> dict[str, nn.Module]:
        return {name: stage for name, stage in self.named_children() if name != "head"}


class DCGANDiscriminator(Discriminator, name="dcgan"):
    """Maps (N, C, S, S) to scores; ``width`` maps after the first halving, twice as many after each further one.

    ``kernel``: side of the filters. ``slope``: of LeakyReLU for negative inputs. ``pooling="average"`` scores the mean
    of the last maps instead of all their pixels. ``hidden``: units of a dense layer before the score. Stages:
    ``layer1`` (no norm), ``layer2`` and so on.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: Width = 64,
        kernel: Kernel = 4,
        hidden: Units = 0,
        norm: Norm = "batch",
        slope: Slope = 0.2,
        spectral: bool = False,
        pooling: Literal["none", "average"] = "none",
        labels: LabelUse = "concatenate",
        init: Init = "normal",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        count, base = halvings(data.image_size)
        self.classes = data.classes if labels == "concatenate" else 0
        self.count = count
        in_channels = data.channels_a + self.classes
        for i in range(count):
            out_channels = width * 2**i
            layer_norm: Norm = norm if i else "none"
            self.add_module(
                f"layer{i + 1}",
                nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, kernel, 2, (kernel - 1) // 2, bias=needs_bias(layer_norm)),
                    normalization(layer_norm, out_channels),
                    nn.LeakyReLU(slope, inplace=True),
                ),
            )
            in_channels = out_channels
        pool: nn.Module = nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.Identity()
        flat = in_channels if pooling == "average" else in_channels * base**2
        dense: list[nn.Module] = []
        if hidden:
            dense = [nn.Linear(flat, hidden, bias=needs_bias(norm)), _norm_of_units(norm, hidden), nn.LeakyReLU(slope)]
        self.flatten = nn.Sequential(pool, nn.Flatten(), *dense)
        self.feature_count = hidden or flat
        self.head = ScoreHead(self.feature_count, 0 if labels == "concatenate" else data.classes)
        initialize(self, init, init_gain)
        if spectral:
            add_spectral_norm(self)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        x = beside(x, label, self.classes)
        for stage in self.stages().values():
            x = stage(x)
        features: Tensor = self.flatten(x)
        return features

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        scores: Tensor = self.head(features, label)
        return scores

    def stages(self) -> dict[str, nn.Module]:
        return {f"layer{i}": self.get_submodule(f"layer{i}") for i in range(1, self.count + 1)}


def _doubling(in_channels: int, out_channels: int, kernel: Kernel, *, bias: bool) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the side exactly, with an even or an odd kernel."""
    padding = (kernel - 1) // 2
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, padding, output_padding=kernel % 2, bias=bias)


def _norm_of_units(norm: Norm, units: int) -> nn.Module:
    """The norm of a dense layer; none for instance norm, which would set every unit to zero."""
    match norm:
        case "batch":
            return BatchNorm1d(units)
        case "layer":
            return nn.LayerNorm(units)
        case _:
            return nn.Identity()
