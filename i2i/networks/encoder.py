"""The encoder of BicycleGAN (Zhu et al. 2017, arXiv:1711.11586): an image's latent, as a Gaussian.

A convolution and residual blocks, each of which halves the side by average pooling; then the mean over the last maps,
and a linear layer each for the mean and the log variance. Differs from the released code where sides are others than
there: it takes the mean over maps of 8x8, and this one over maps of any size, so that one encoder takes all images.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu

from i2i.config.components import Repeats, Width
from i2i.networks.base import Encoder
from i2i.networks.layers import Gain, Init, Norm, initialize, normalization

SLOPE = 0.2
LAST_SIDE = 8
"""Of the last maps, at the training size."""


class DownBlock(nn.Module):
    """A residual block that halves the side: norm and LeakyReLU before each of two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalization(norm, in_channels), normalization(norm, in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C', H / 2, W / 2), rounded down."""
        y = self.conv1(leaky_relu(self.norm1(x), SLOPE))
        y = self.conv2(leaky_relu(self.norm2(y), SLOPE))
        summed: Tensor = avg_pool2d(y, 2) + self.skip(avg_pool2d(x, 2))
        return summed


class ResNetEncoder(Encoder, name="resnet"):
    """Maps (N, in_channels, H, W) to the mean and the log variance of latents, each (N, latent).

    Channels grow by ``width`` with each of the ``blocks``, to four times ``width``. Stages: ``layer``, then ``block1``
    and so on.
    """

    def __init__(
        self,
        in_channels: int,
        latent: int,
        *,
        width: Width = 64,
        blocks: Repeats = 4,
        norm: Norm = "instance",
        init: Init = "xavier",
        init_gain: Gain | None = 0.02,
    ) -> None:
        super().__init__()
        self.minimum = 2 ** (blocks + 1)
        channels = [width * min(4, i + 1) for i in range(blocks + 1)]
        self.layer = nn.Conv2d(in_channels, width, 4, stride=2, padding=1)
        for i, (entering, leaving) in enumerate(pairwise(channels), 1):
            self.add_module(f"block{i}", DownBlock(entering, leaving, norm))
        self.mean, self.log_variance = nn.Linear(channels[-1], latent), nn.Linear(channels[-1], latent)
        initialize(self, init, init_gain)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for stage in self.stages().values():
            x = stage(x)
        features = leaky_relu(x, SLOPE).mean((2, 3))
        return self.mean(features), self.log_variance(features)

    def stages(self) -> dict[str, nn.Module]:
        return {name: stage for name, stage in self.named_children() if name not in ("mean", "log_variance")}

    @classmethod
    def settings_for(cls, image_size: int) -> dict[str, Any]:
        """As many blocks as leave maps of 8x8 at the training size: 4 at 256 pixels, as in the released code."""
        return {"blocks": max(1, (image_size // (2 * LAST_SIDE)).bit_length() - 1)}
