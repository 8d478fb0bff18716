"""Layers that all networks share: normalisation, upsampling, labels and weight initialisation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout, one_hot, pad
from torch.nn.utils.parametrizations import spectral_norm

from i2i.networks.batch_norm import BatchNorm2d
from i2i.networks.reflection import reflect
from i2i.world import drawn_for_all, world

Norm = Literal["instance", "batch", "layer", "none"]
Upsampling = Literal["transposed", "resize", "blurred"]
Downsampling = Literal["strided", "blurred"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
LabelUse = Literal["concatenate", "project"]
"""How a discriminator gets labels: beside its input (Mirza and Osindero 2014), or by an inner product with its features
(Miyato and Koyama 2018)."""
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Gain = Annotated[float, Field(gt=0, le=100)]
"""The standard deviation of normal weights, or the factor of other initial weights; see ``initialize``."""


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer: instance norm without parameters or running statistics, affine batch or layer norm.

    Layer norm is over channels and space together, as in the critics of WGAN-GP.
    """
    match norm:
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "batch":
            return BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution before this normalisation has a bias: batch norm has its own shift.

    Under instance norm the bias has no effect, but the reference networks of pix2pix and CycleGAN have it, and so do
    these, so that weights can be exchanged.
    """
    return norm != "batch"


def initialize(module: nn.Module, init: Init, gain: float | None = None) -> None:
    """Draws the weights of convolutions and linear layers in ``module``, in place; biases and norm shifts become zero.

    Args:
        module: changed in place.
        init: ``normal`` is N(0, gain) as in DCGAN, pix2pix and CycleGAN, where norm scales are drawn from N(1, gain)
            too. ``xavier``, ``kaiming`` (for LeakyReLU 0.2) and ``orthogonal`` are those of Glorot and Bengio 2010, He
            et al. 2015 and Saxe et al. 2014, times ``gain``; norm scales are then 1.
        gain: 0.02 for ``normal`` and 1 for the others by default.
    """
    scale = gain if gain is not None else 0.02 if init == "normal" else 1.0
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(layer.weight, init, scale)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            if init == "normal":
                nn.init.normal_(layer.weight, 1.0, scale)
            else:
                nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def _draw(weight: Tensor, init: Init, scale: float) -> None:
    match init:
        case "normal":
            weight.normal_(0.0, scale)
        case "xavier":
            nn.init.xavier_normal_(weight, gain=scale)
        case "kaiming":
            nn.init.kaiming_normal_(weight, a=0.2).mul_(scale)
        case "orthogonal":
            nn.init.orthogonal_(weight, gain=scale)


def add_spectral_norm(module: nn.Module) -> None:
    """Divides every convolution's and linear layer's weight in ``module`` by its largest singular value.

    Miyato et al. 2018. One power iteration whenever the weight is computed in training mode: at every call of the
    network, or once for all calls inside ``torch.nn.utils.parametrize.cached``.
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            spectral_norm(layer)


def beside(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Appends the one-hot label to x: (N, F), or as constant planes to x: (N, C, H, W); x if there are none.

    The next layer's weights for these inputs act as the label's embedding.

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
    """Appends new noise from N(0, 1) as extra channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C + channels, H, W)."""
        shape = (self.channels, *x.shape[2:])
        noise = drawn_for_all(lambda count: torch.randn(count, *shape, device=x.device, dtype=x.dtype), len(x))
        return torch.cat([x, noise], dim=1)


class LatentInput(nn.Module):
    """Appends a new latent from N(0, 1) for each image, each of its numbers as a constant channel."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C + length, H, W)."""
        return with_latent(x, normal_latents(len(x), self.length, x))


def normal_latents(count: int, length: int, like: Tensor) -> Tensor:
    """This rank's latents from N(0, 1): (count, length), on the device and in the precision of ``like``."""
    return drawn_for_all(lambda n: torch.randn(n, length, device=like.device, dtype=like.dtype), count)


def with_latent(x: Tensor, z: Tensor) -> Tensor:
    """Appends z: (N, length), or (length, 1, 1) for all images, to x: (N, C, H, W) as constant channels."""
    planes = z[:, :, None, None] if z.ndim == 2 else z
    return torch.cat([x, planes.to(x.dtype).expand(x.shape[0], -1, *x.shape[2:])], dim=1)


class Dropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, ...) to the same shape."""
        if not self.training or world().size == 1:
            return super().forward(x)
        return x * drawn_for_all(lambda count: dropout(x.new_ones(count, *x.shape[1:]), self.p), len(x))


class ReflectionPad2d(nn.Module):
    """Reflection padding by ``reflect``, in the precision of its input."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, H + 2p, W + 2p)."""
        return reflect(x, self.padding)


class ResizeConv2d(nn.Module):
    """Nearest-neighbour upsampling by two and a 3x3 convolution, against checkerboard artefacts (Odena et al. 2016)."""

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
    """Halves the side with a fixed binomial filter 1-2-1, against aliasing (Zhang 2019, arXiv:1904.11486)."""

    filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filter", _binomial([1.0, 2.0, 1.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C, H / 2, W / 2)."""
        weight = self.filter.to(x).expand(self.channels, 1, -1, -1)
        return nn.functional.conv2d(reflect(x, 1), weight, stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Doubles the side with a fixed binomial filter 1-3-3-1, the counterpart of ``BlurDown``."""

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
    """The two-dimensional filter with these taps in both directions, with sum 1."""
    row = torch.tensor(taps, device="cpu")  # on the CPU: a network built on the meta device needs its values too
    square = torch.outer(row, row)
    return square / square.sum()
