"""The choices that all networks share: normalisation, upsampling and weight initialisation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

Norm = Literal["instance", "batch", "none"]
Upsampling = Literal["transposed", "resize"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
Dropout = Annotated[float, Field(ge=0, lt=1)]


def normalization(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer: instance norm without parameters or running statistics, or affine batch norm."""
    match norm:
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "batch":
            return nn.BatchNorm2d(channels)
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

    ``normal`` with std 0.02 is the choice of DCGAN, pix2pix and CycleGAN. Biases and norm shifts become zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            match init:
                case "normal":
                    nn.init.normal_(layer.weight, 0.0, std)
                case "xavier":
                    nn.init.xavier_normal_(layer.weight)
                case "kaiming":
                    nn.init.kaiming_normal_(layer.weight, a=0.2)
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, std)
            nn.init.zeros_(layer.bias)


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding in the precision of its input: autocast would copy to float32 and back for no gain."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Maps (N, C, H, W) to (N, C, H + 2p, W + 2p)."""
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
