"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2), after Johnson et al. 2016 (perceptual losses).

c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3 with reflection padding, instance norm and a final tanh.
Differs from the paper only by options: ``upsample="resize"`` replaces the transposed convolutions, and "blurred" down-
and upsampling are the anti-aliased layers of CUT's released networks (Zhang 2019).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from i2i.config.components import Count
from i2i.networks.base import ChainNetwork, Translator
from i2i.networks.layers import (
    BlurDown,
    BlurUp,
    Downsampling,
    Dropout,
    DropoutRate,
    Gain,
    Init,
    Norm,
    ReflectionPad2d,
    ResizeConv2d,
    Upsampling,
    initialize,
    needs_bias,
    normalization,
)


class ResidualBlock(nn.Module):
    """x + F(x) with two reflection-padded 3x3 convolutions; no activation after the sum."""

    def __init__(self, channels: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=needs_bias(norm)),
            normalization(norm, channels),
            nn.ReLU(inplace=True),
            *([Dropout(dropout)] if dropout else []),
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=needs_bias(norm)),
            normalization(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to the same shape."""
        residual: Tensor = self.residual(x)
        return x + residual


class ResNetGenerator(ChainNetwork, Translator, name="resnet"):
    """Maps (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]; H and W are multiples of 4, at least 8.

    Stages: ``stem``, ``down1``, ``down2``, ``block1`` to ``block<blocks>``, ``up1``, ``up2``; ``<stage>_conv`` for
    stages that are a convolution with norm and activation.
    """

    multiple = 4
    minimum = 8

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: Count = 64,
        blocks: Count = 9,
        norm: Norm = "instance",
        upsample: Upsampling = "transposed",
        downsample: Downsampling = "strided",
        dropout: DropoutRate = 0.0,
        init: Init = "normal",
        init_gain: Gain | None = None,
    ) -> None:
        bias = needs_bias(norm)

        def normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, normalization(norm, channels), nn.ReLU(inplace=True)]

        def down(channels: int) -> nn.Sequential:
            blurred = downsample == "blurred"
            conv = nn.Conv2d(channels, 2 * channels, 3, stride=1 if blurred else 2, padding=1, bias=bias)
            return nn.Sequential(*normalised(conv, 2 * channels), *([BlurDown(2 * channels)] if blurred else []))

        def up(channels: int) -> nn.Sequential:
            half = channels // 2
            layer: nn.Module
            if upsample == "blurred":
                conv = nn.Conv2d(channels, half, 3, padding=1, bias=bias)
                return nn.Sequential(BlurUp(channels), *normalised(conv, half))
            if upsample == "resize":
                layer = ResizeConv2d(channels, half, bias=bias)
            else:
                layer = nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1, bias=bias)
            return nn.Sequential(*normalised(layer, half))

        first = nn.Conv2d(in_channels, width, 7, bias=bias)
        modules: dict[str, nn.Module] = {"stem": nn.Sequential(ReflectionPad2d(3), *normalised(first, width))}
        modules |= {"down1": down(width), "down2": down(2 * width)}
        modules |= {f"block{i}": ResidualBlock(4 * width, norm=norm, dropout=dropout) for i in range(1, blocks + 1)}
        modules |= {"up1": up(4 * width), "up2": up(2 * width)}
        modules["head"] = nn.Sequential(ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())
        super().__init__(modules)
        initialize(self, init, init_gain)

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """Six blocks below 256 pixels, nine from there on (section 4 of the paper)."""
        return {"blocks": 6 if image_size < 256 else 9}
