"""The choices that all networks share: normalisation, upsampling, labels and weight initialisation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["instance", "batch", "layer", "none"]
Upsampling = Literal["transposed", "resize", "blurred"]
Downsampling = Literal["strided", "blurred"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
LabelUse = Literal["concatenate", "project"]
"""How a discriminator sees labels: beside its input (Mirza and Osindero 2014), or in an inner product with its features
(Miyato and Koyama 2018)."""
Dropout = Annotated[float, Field(ge=0, lt=1)]


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer: instance norm without parameters or running statistics, affine batch or layer norm.

    Layer norm is over channels and space together, as the critics of WGAN-GP take it.
    """
    match norm:
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution before this normalisation has a bias: batch norm brings its own shift.

    Under instance norm the bias has no effect; the reference networks of pix2pix and CycleGAN carry it, and so do
    these, so that weights can be exchanged.
    """
    return norm != "batch"


def initialize(module: nn.Module, init: Init, std: float = 0.02) -> None:
    """Draws the weights of ``module`` in place: convolutions and linear layers by ``init``, norm scales from N(1, std).

    ``normal`` with std 0.02 is the choice of DCGAN, pix2pix and CycleGAN; ``xavier`` with that gain is the one of CUT's
    released networks. Biases and norm shifts become zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            match init:
                case "normal":
                    nn.init.normal_(layer.weight, 0.0, std)
                case "xavier":
                    nn.init.xavier_normal_(layer.weight, gain=std)
                case "kaiming":
                    nn.init.kaiming_normal_(layer.weight, a=0.2)
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std)
            nn.init.zeros_(layer.bias)


def add_spectral_norm(module: nn.Module) -> None:
    """Divides every convolution's and linear layer's weight in ``module`` by its largest singular value.

    Miyato et al. 2018, one power iteration at each training step.
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            spectral_norm(layer)


def beside(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Appends the one-hot label to x: (N, F), or as constant planes to x: (N, C, H, W); x itself where no classes are.

    The next layer's weights for these inputs are the label's embedding.

    Raises:
        ValueError: the labels are missing.
    """
    if not classes:
        return x
    if label is None:
        raise ValueError("this network needs labels")
    code = one_hot(label, classes).to(x.dtype)
    if x.ndim == 4:
        code = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, code], dim=1)


class ScoreHead(nn.Module):
    """A linear score of features; with ``classes``, plus the features' inner product with the label's embedding.

    The second term is the projection of Miyato and Koyama 2018, equation 3.
    """

    def __init__(self, features: int, classes: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Linear(classes, features, bias=False) if classes else None

    def forward(self, features: Tensor, label: Tensor | None) -> Tensor:
        """Maps features: (N, F) to (N,).

        Raises:
            ValueError: the labels are missing.
        """
        score: Tensor = self.linear(features)[:, 0]
        if self.embedding is None:
            return score
        if label is None:
            raise ValueError("this network needs labels")
        embedded: Tensor = self.embedding(one_hot(label, self.embedding.in_features).to(features.dtype))
        return score + (embedded * features).sum(1)


class NoiseInput(nn.Module):
    """Appends fresh noise from N(0, 1) as further channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C + channels, H, W)."""
        noise = torch.randn(len(x), self.channels, *x.shape[2:], device=x.device, dtype=x.dtype)
        return torch.cat([x, noise], dim=1)


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding in the precision of its input: autocast would copy to float32 and back for no gain."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Maps (N, C, H, W) to (N, C, H + 2p, W + 2p)."""
        if input.is_meta:  # a device without autocast, on which only shapes are asked for
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            padded: Tensor = super().forward(input)
            return padded


class ResizeConv2d(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution: no checkerboard (Odena et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.pad = ReflectionPad2d(1)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C', 2H, 2W)."""
        doubled = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        convolved: Tensor = self.conv(self.pad(doubled))
        return convolved


class BlurDown(nn.Module):
    """Halves the side by a fixed binomial filter 1-2-1, against aliasing (Zhang 2019, arXiv:1904.11486)."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", _binomial([1.0, 2.0, 1.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C, H / 2, W / 2)."""
        weight = self.filter.to(x).expand(self.channels, 1, -1, -1)
        return nn.functional.conv2d(pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Doubles the side by a fixed binomial filter 1-3-3-1, the counterpart of ``BlurDown``."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", 4 * _binomial([1.0, 3.0, 3.0, 1.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C, 2H, 2W)."""
        weight = self.filter.to(x).expand(self.channels, 1, -1, -1)
        padded = pad(x, (1, 1, 1, 1), mode="replicate")
        return nn.functional.conv_transpose2d(padded, weight, stride=2, padding=3, groups=self.channels)


def _binomial(taps: list[float]) -> Tensor:
    """The filter (len, len) of these taps in both directions, with sum 1."""
    row = torch.tensor(taps, device="cpu")  # a constant: a network that is built without memory still has it
    square = torch.outer(row, row)
    return square / square.sum()
