"""The U-Net generator of pix2pix (Isola et al. 2017, appendix 6.1.1): an encoder-decoder with skip connections.

Encoder C64-C128-C256-C512-C512..., decoder mirrored; no norm in the first and the innermost encoder layer.
The depth follows the image size (8 at 256 pixels), so that the bottleneck is 1x1 at the training size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.config.components import Width
from i2i.networks.base import IMAGE, OUTPUT, Part, Translator
from i2i.networks.layers import (
    Dropout,
    DropoutRate,
    Gain,
    Init,
    Norm,
    ResizeConv2d,
    initialize,
    needs_bias,
    normalization,
)

Depth = Annotated[int, Field(ge=2, le=12, strict=True)]


class UNetGenerator(Translator, name="unet"):
    """Maps (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]; H and W are multiples of 2**depth.

    Stages: ``down1`` to ``down<depth>``, then ``up<depth>`` to ``up2``. ``dropout`` follows the norm of the first three
    decoder layers (``dropout_in="first"``, the paper's CD512-CD1024-CD1024), or, as in the reference PyTorch code, of
    those between the innermost and the first four levels (``"inner"``). Without ``skips`` it is the encoder-decoder of
    section 4.3: the same layers, where all information passes the bottleneck.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: Width = 64,
        depth: Depth = 8,
        skips: bool = True,
        norm: Norm = "batch",
        upsample: Literal["transposed", "resize"] = "transposed",
        dropout: DropoutRate = 0.0,
        dropout_in: Literal["first", "inner"] = "first",
        init: Init = "normal",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        self.depth, self.skips = depth, skips
        self.multiple = self.minimum = 2**depth
        channels = [in_channels, *(width * min(2**i, 8) for i in range(depth))]

        for level in range(1, depth + 1):
            outermost, innermost = level == 1, level == depth
            outer, inner = channels[level - 1], channels[level]
            bias = needs_bias(norm)
            down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2)]
            down.append(nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=bias))
            if not (outermost or innermost):
                down.append(normalization(norm, inner))
            self.add_module(f"down{level}", nn.Sequential(*down))

            up: list[nn.Module] = [nn.ReLU()]
            in_channels = inner if innermost or not skips else 2 * inner
            out_channels = out_channels if outermost else outer
            if upsample == "resize":
                up.append(ResizeConv2d(in_channels, out_channels, bias=bias or outermost))
            else:
                up.append(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=bias or outermost))
            if outermost:
                up.append(nn.Tanh())
            else:
                up.append(normalization(norm, out_channels))
                drops = level > depth - 3 if dropout_in == "first" else 4 < level < depth
                if dropout and drops:
                    up.append(Dropout(dropout))
            self.add_module(f"up{level}", nn.Sequential(*up))
        initialize(self, init, init_gain)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, in_channels, H, W) to (N, out_channels, H, W)."""
        encoded: dict[int, Tensor] = {}
        for level in range(1, self.depth + 1):
            x = encoded[level] = self.through(self.get_submodule(f"down{level}"), x)
        for level in range(self.depth, 0, -1):
            x = self.through(self.get_submodule(f"up{level}"), x)
            if self.skips and level > 1:
                x = torch.cat([encoded[level - 1], x], dim=1)
        return x

    def parts_for_tiles(self) -> list[Part]:
        """A part for each layer, whose convolution reaches one pixel of its coarser map."""

        def joined(level: int) -> Callable[..., Tensor]:
            return lambda *maps: self.get_submodule(f"up{level}")(torch.cat(maps, dim=1))

        names = [IMAGE, *(f"down{level}" for level in range(1, self.depth + 1))]
        parts = [
            Part((before,), name, self.get_submodule(name), 2**level, 2**level)
            for level, (before, name) in enumerate(pairwise(names), 1)
        ]
        for level in range(self.depth, 0, -1):
            inputs = [f"down{level}"] if self.skips or level == self.depth else []
            inputs += [f"up{level + 1}"] if level < self.depth else []
            parts.append(Part(tuple(inputs), f"up{level}" if level > 1 else OUTPUT, joined(level), 2**level, 2**level))
        return parts

    def stages(self) -> dict[str, nn.Module]:
        down = [f"down{level}" for level in range(1, self.depth + 1)]
        up = [f"up{level}" for level in range(self.depth, 1, -1)]
        return {name: self.get_submodule(name) for name in down + up}

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        return {} if settings["dropout"] else {"dropout_in": "set dropout above 0"}

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """As many halvings as fit into the training size, eight at the most (the paper's U-Net at 256 pixels)."""
        return {"depth": max(2, min(8, image_size.bit_length() - 1))}
