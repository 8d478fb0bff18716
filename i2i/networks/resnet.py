"""The ResNet generator of CycleGAN (Zhu et al. 2017, appendix 7.2), after Johnson et al. 2016 (perceptual losses).

c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3 with reflection padding, instance norm and a final tanh.
Differs from the paper only by options: ``upsample="resize"`` replaces the transposed convolutions, and "blurred" down-
and upsampling are the anti-aliased layers of CUT's released networks (Zhang 2019); more ``halvings`` put the blocks at
a lower resolution, where they cost less; ``skips`` add each encoder stage to the decoder stage of its size, so that
detail need not pass the blocks; ``output="residual"`` adds the head's output to the input, so that training begins near
a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from i2i.config.components import Repeats, Width
from i2i.errors import ConfigError
from i2i.networks.base import IMAGE, OUTPUT, ChainNetwork, Part, Translator
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

Halvings = Annotated[int, Field(ge=1, le=6, strict=True)]
OuterKernel = Literal[3, 5, 7]
Output = Literal["tanh", "residual"]
TRUNK = "trunk"
"""The name of the map that the blocks change, for tiles."""


class ResidualBlock(nn.Module):
    """x + F(x) with two reflection-padded 3x3 convolutions; no activation after the sum."""

    def __init__(self, channels: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=needs_bias(norm)),
            normalization(norm, channels),
            nn.ReLU(),
            *([Dropout(dropout)] if dropout else []),
            ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=needs_bias(norm)),
            normalization(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to the same shape."""
        residual: Tensor = self.residual(x)
        return x + residual

    def parts(self, name: str, scale: int) -> Iterator[Part]:
        """The block as parts that make the map ``name`` from itself; a convolution in each of the first two.

        ``scale`` is that of the map. What a norm normalises is the output of a part, which need not be computed twice.
        """
        first, second, last = self.residual[:2], self.residual[2:-1], self.residual[-1:]
        yield Part((name,), "first", first, scale, scale)
        yield Part(("first",), "second", second, scale, scale)
        yield Part((name, "second"), name, lambda x, residual: x + last(residual), 0, scale)


class ResNetGenerator(ChainNetwork, Translator, name="resnet"):
    """Maps (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]; H and W are multiples of 2**halvings.

    They are at least twice that. Channels double with each halving up to four times ``width``. A residual output may
    leave [-1, 1], and takes equal channels.

    Stages: ``stem``, ``down1`` to ``down<halvings>``, ``block1`` to ``block<blocks>``, ``up1`` to ``up<halvings>``;
    ``<stage>_conv`` for stages that are a convolution with norm and activation.

    Attributes:
        skips: by decoder stage the encoder stage of its size that is added to it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: Width = 64,
        blocks: Repeats = 9,
        halvings: Halvings = 2,
        skips: bool = False,
        outer_kernel: OuterKernel = 7,
        output: Output = "tanh",
        norm: Norm = "instance",
        upsample: Upsampling = "transposed",
        downsample: Downsampling = "strided",
        dropout: DropoutRate = 0.0,
        init: Init = "normal",
        init_gain: Gain | None = None,
    ) -> None:
        """Raises ConfigError for a residual output with other channels than the input."""
        if output == "residual" and in_channels != out_channels:
            raise ConfigError(
                "networks.generator.output residual adds to the input, whose channels, with noise and latent, "
                f"have to be as many as those of the output, and {in_channels} become {out_channels}: set it to tanh"
            )
        bias = needs_bias(norm)

        def normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, normalization(norm, channels), nn.ReLU()]

        def down(entering: int, leaving: int) -> nn.Sequential:
            blurred = downsample == "blurred"
            conv = nn.Conv2d(entering, leaving, 3, stride=1 if blurred else 2, padding=1, bias=bias)
            return nn.Sequential(*normalised(conv, leaving), *([BlurDown(leaving)] if blurred else []))

        def up(entering: int, leaving: int) -> nn.Sequential:
            layer: nn.Module
            if upsample == "blurred":
                conv = nn.Conv2d(entering, leaving, 3, padding=1, bias=bias)
                return nn.Sequential(BlurUp(entering), *normalised(conv, leaving))
            if upsample == "resize":
                layer = ResizeConv2d(entering, leaving, bias=bias)
            else:
                layer = nn.ConvTranspose2d(entering, leaving, 3, stride=2, padding=1, output_padding=1, bias=bias)
            return nn.Sequential(*normalised(layer, leaving))

        channels = [width * min(2**level, 4) for level in range(halvings + 1)]
        levels = range(1, halvings + 1)
        margin = outer_kernel // 2
        first = nn.Conv2d(in_channels, width, outer_kernel, bias=bias)
        last = nn.Conv2d(width, out_channels, outer_kernel)
        modules: dict[str, nn.Module] = {"stem": nn.Sequential(ReflectionPad2d(margin), *normalised(first, width))}
        modules |= {f"down{i}": down(channels[i - 1], channels[i]) for i in levels}
        modules |= {f"block{i}": ResidualBlock(channels[-1], norm=norm, dropout=dropout) for i in range(1, blocks + 1)}
        modules |= {f"up{i}": up(channels[-i], channels[-i - 1]) for i in levels}
        ends = [nn.Tanh()] if output == "tanh" else []
        modules["head"] = nn.Sequential(ReflectionPad2d(margin), last, *ends)
        super().__init__(modules)
        self.multiple, self.minimum = 2**halvings, 2 ** (halvings + 1)
        self.output: Output = output
        self.outer_kernel: OuterKernel = outer_kernel
        names = ["stem", *(f"down{i}" for i in levels)]
        self.skips = {f"up{i}": names[-i - 1] for i in levels} if skips else {}
        initialize(self, init, init_gain)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, in_channels, H, W) to (N, out_channels, H, W)."""
        trunk, encoded = self._encoded(x)
        for block in self._blocks():
            trunk = self.through(block, trunk)
        return self._decoded(x, trunk, encoded)

    def _encoded(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output of the last halving, and the encoder stages that the decoder adds."""
        x = image
        encoded: dict[str, Tensor] = {}  # dict[str, Tensor]() would end a compiled graph
        for name, module in self.named_children():
            if isinstance(module, ResidualBlock) or name == "up1":
                break
            x = self.through(module, x)
            if name in self.skips.values():
                encoded[name] = x
        return x, encoded

    def _blocks(self) -> list[ResidualBlock]:
        return [module for module in self.children() if isinstance(module, ResidualBlock)]

    def _decoded(self, image: Tensor, x: Tensor, encoded: dict[str, Tensor]) -> Tensor:
        """The output, from that of the last block, x, and what ``_encoded`` gives; ``encoded`` is used up."""
        for name, module in self.named_children():
            if name.startswith("up") or name == "head":
                x = self.through(module, x)
                if name in self.skips:
                    x = x + encoded.pop(self.skips[name])
        return image + x if self.output == "residual" else x

    def parts_for_tiles(self) -> list[Part]:
        """Encoder, two convolutions for each block, and decoder: only maps at the lowest resolution are kept.

        What is computed more than once, for the norms of encoder and decoder, is a small part of all.
        """
        scale, outer = self.multiple, (self.outer_kernel - 1) // 2
        # Down: a convolution and perhaps a blur, each one pixel at the size before. Up: an upsampling by one pixel of
        # the size before, and perhaps a convolution by one of the size after.
        down, up = outer + 2 * (scale - 1), 3 * (scale - 1) + outer

        def decode(image: Tensor, trunk: Tensor) -> Tensor:
            return self._decoded(image, trunk, self._encoded(image)[1] if self.skips else {})

        parts = [Part((IMAGE,), TRUNK, lambda image: self._encoded(image)[0], _rounded_up(down, scale), scale)]
        for block in self._blocks():
            parts += block.parts(TRUNK, scale)
        margin = _rounded_up(up + (down if self.skips else 0), scale)
        return [*parts, Part((IMAGE, TRUNK), OUTPUT, decode, margin, scale)]

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """Six blocks below 256 pixels, nine from there on (section 4 of the paper)."""
        return {"blocks": 6 if image_size < 256 else 9}


def _rounded_up(margin: int, grid: int) -> int:
    return -(-margin // grid) * grid
