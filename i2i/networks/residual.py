"""The class-conditional residual networks of SAGAN and BigGAN, with spectral norm and self-attention.

Zhang et al. 2019, arXiv:1805.08318; Brock et al. 2019, arXiv:1809.11096, appendix B. Channels are multiples of
``width``: at 128 pixels those of both papers, at 256 and 512 those of BigGAN. The papers give none for 32 and 64, so
these follow BigGAN-PyTorch, the code of BigGAN's first author. At 32 its generator is SNGAN's for CIFAR-10 (Miyato et
al. 2018, arXiv:1802.05957), and its discriminator is twice as wide as SNGAN's, which is
networks.discriminator.width=32. At 16 pixels the networks are those of 32 with one block fewer, for quick trials.

Differs from BigGAN's released networks: the linear maps from the condition to gains and shifts start at zero and have
no spectral norm, so that every gain starts at 1; there they start orthogonal. The papers' blocks upsample before the
1x1 convolution of the skip and pool after it; here it runs on the smaller maps, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, linear, relu

from i2i.batch import DataSpec
from i2i.config.components import Width
from i2i.errors import ConfigError
from i2i.networks.attention import SelfAttention
from i2i.networks.base import Discriminator, Generator
from i2i.networks.batch_norm import BatchNorm2d
from i2i.networks.layers import Gain, Init, ScoreHead, add_spectral_norm, beside, initialize

Side = Annotated[int, Field(ge=0, le=4096, strict=True)]
Conditioning = Literal["class", "shared"]
"""How a generator's batch norm gets labels: by gains and shifts for each label (SAGAN), or by linear maps of one
embedding that all layers share (BigGAN)."""

GENERATOR_CHANNELS = {
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
"""By image size: channels of the first maps, and after each block."""
DISCRIMINATOR_CHANNELS = {
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
"""By image size: channels after each block."""
FIRST_SIDE = 4


class ConditionalBatchNorm(nn.Module):
    """Batch norm with gains 1 + G c and shifts S c for conditions c: (N, length); G and S start at zero.

    If conditions are one-hot labels, each label has its own gain and shift. With length 0, this is batch norm with one
    trained gain and shift.
    """

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels, affine=not length)
        # Not linear layers: spectral norm is undefined for zeros, and orthogonal regularisation is for filters.
        self.gain = nn.Parameter(torch.zeros(channels, length)) if length else None
        self.shift = nn.Parameter(torch.zeros(channels, length)) if length else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) and condition: (N, length) to (N, C, H, W)."""
        normal: Tensor = self.norm(x)
        if self.gain is None or self.shift is None:
            return normal
        gain, shift = 1 + linear(condition, self.gain), linear(condition, self.shift)
        conditional: Tensor = normal * gain[:, :, None, None] + shift[:, :, None, None]
        return conditional


class UpBlock(nn.Module):
    """A residual block that doubles the side: conditional batch norm and ReLU before each of two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int, condition: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(in_channels, condition)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = ConditionalBatchNorm(out_channels, condition)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) and condition: (N, length) to (N, C', 2H, 2W)."""
        y = self.conv1(_doubled(relu(self.norm1(x, condition))))
        y = self.conv2(relu(self.norm2(y, condition)))
        summed: Tensor = _doubled(self.skip(x)) + y
        return summed


class DownBlock(nn.Module):
    """A residual block of two 3x3 convolutions, ReLU before each; ``down`` halves the side by average pooling.

    The first block of a network has no ReLU at its start: its input is an image.
    """

    def __init__(self, in_channels: int, out_channels: int, *, down: bool, first: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if down or in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C', H / 2, W / 2), or to (N, C', H, W)."""
        y = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        if self.down:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        summed: Tensor = self.skip(x) + y
        return summed


class ResidualGenerator(Generator, name="residual"):
    """Maps latents (N, latent) to (N, C, S, S) in [-1, 1]; S is a power of two from 16 to 512.

    A linear layer makes the first 4x4 maps, and every block doubles their side. ``attention``: the side of the maps
    that get self-attention, after the block that makes them; 0 for none. ``embedding``: length of the shared embedding.
    ``skip_z``: the latent is split into equal pieces: one for the linear layer, and one for each block, as condition
    beside the label's embedding. Without labels, that piece is the whole condition; without both, batch norm has one
    gain and shift. Stages: ``project``, ``up1`` and so on, ``attention``.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        *,
        width: Width = 64,
        attention: Side = 32,
        conditioning: Conditioning = "class",
        embedding: Width = 128,
        skip_z: bool = False,
        spectral: bool = True,
        init: Init = "orthogonal",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        channels = _channels(GENERATOR_CHANNELS, data.image_size, width)
        self.classes, self.blocks = data.classes, len(channels) - 1
        self.pieces = self.blocks + 1 if skip_z else 1
        if latent % self.pieces:
            raise ConfigError(
                f"method.latent {latent} cannot be split into {self.pieces} equal pieces, for the first layer and "
                f"{self.blocks} blocks: use a multiple of {self.pieces}, or networks.generator.skip_z=false"
            )
        piece = latent // self.pieces
        self.embedding = nn.Embedding(data.classes, embedding) if data.classes and conditioning == "shared" else None
        code = data.classes if self.embedding is None else embedding
        condition = code + piece if skip_z else code

        self.project = nn.Sequential(
            nn.Linear(piece, channels[0] * FIRST_SIDE**2), nn.Unflatten(1, (channels[0], FIRST_SIDE, FIRST_SIDE))
        )
        sides = [FIRST_SIDE * 2**i for i in range(1, self.blocks + 1)]
        _require_side("generator", attention, sides)
        for i, (side, (in_channels, out_channels)) in enumerate(zip(sides, pairwise(channels), strict=True), 1):
            self.add_module(f"up{i}", UpBlock(in_channels, out_channels, condition))
            if side == attention:
                self.attention = SelfAttention(out_channels)
        self.head = nn.Sequential(
            BatchNorm2d(channels[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[-1], data.channels_a, 3, padding=1),
            nn.Tanh(),
        )
        initialize(self, init, init_gain)
        if self.embedding is not None:
            nn.init.orthogonal_(self.embedding.weight)
        if spectral:
            add_spectral_norm(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        code = beside(z[:, :0], label, self.classes)
        if self.embedding is not None:
            code = self.embedding(label)
        x, *pieces = z.chunk(self.pieces, dim=1)
        conditions = iter([torch.cat([code, piece], dim=1) for piece in pieces] or [code] * self.blocks)
        for stage in self.stages().values():
            x = stage(x, next(conditions)) if isinstance(stage, UpBlock) else stage(x)
        images: Tensor = self.head(x)
        return images

    def stages(self) -> dict[str, nn.Module]:
        return {name: stage for name, stage in self.named_children() if name not in ("embedding", "head")}

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        if settings["conditioning"] == "shared":
            return {}
        return {"embedding": "set conditioning=shared"}

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """Self-attention at 32x32, SAGAN's best; for smaller images at half their side, which both networks have."""
        return {"attention": min(32, image_size // 2)}


class ResidualDiscriminator(Discriminator, name="residual"):
    """Maps (N, C, S, S) to scores; S is a power of two from 16 to 512. Labels enter by projection only.

    Blocks halve the side down to 4 (to 8 for images of 32 pixels or fewer, as in SNGAN); later blocks keep it. The
    features are the sum over the last maps after ReLU. ``attention``: as in the generator. Stages: ``block1`` and so
    on, ``attention``.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: Width = 64,
        attention: Side = 32,
        spectral: bool = True,
        init: Init = "orthogonal",
        init_gain: Gain | None = None,
    ) -> None:
        super().__init__()
        channels = [data.channels_a, *_channels(DISCRIMINATOR_CHANNELS, data.image_size, width)]
        side, last_side = data.image_size, 8 if data.image_size <= 32 else 4
        sides: list[int] = []
        for i, (in_channels, out_channels) in enumerate(pairwise(channels), 1):
            down = side > last_side
            self.add_module(f"block{i}", DownBlock(in_channels, out_channels, down=down, first=i == 1))
            if down:
                side //= 2
                sides.append(side)
                if side == attention:
                    self.attention = SelfAttention(out_channels)
        _require_side("discriminator", attention, sides)
        self.feature_count = channels[-1]
        self.head = ScoreHead(self.feature_count, data.classes)
        initialize(self, init, init_gain)
        if spectral:
            add_spectral_norm(self)

    def trunk(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for stage in self.stages().values():
            x = stage(x)
        return relu(x).sum((2, 3))

    def score(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        scores: Tensor = self.head(features, label)
        return scores

    def stages(self) -> dict[str, nn.Module]:
        return {name: stage for name, stage in self.named_children() if name != "head"}

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """As the generator's."""
        return ResidualGenerator.settings_for(image_size)


def _channels(table: Mapping[int, Sequence[int]], image_size: int, width: int) -> list[int]:
    """The row of ``table`` for this size, times ``width``.

    Raises:
        ConfigError: a size without a row.
    """
    if image_size not in table:
        sizes = ", ".join(map(str, table))
        raise ConfigError(f"image_size {image_size}: residual networks accept {sizes}")
    return [width * multiple for multiple in table[image_size]]


def _require_side(player: str, attention: int, sides: Sequence[int]) -> None:
    """Refuses attention at a side that no map has.

    Raises:
        ConfigError: no map of this network has that side.
    """
    if attention and attention not in sides:
        raise ConfigError(
            f"networks.{player}.attention {attention}: the maps of this network have the sides "
            f"{', '.join(map(str, sides))}; give one of them, or 0 for no attention"
        )


def _doubled(x: Tensor) -> Tensor:
    """Maps (N, C, H, W) to (N, C, 2H, 2W), each value twice in both directions."""
    return interpolate(x, scale_factor=2.0, mode="nearest")
