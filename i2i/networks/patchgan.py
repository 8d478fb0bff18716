"""The PatchGAN discriminator of pix2pix (Isola et al. 2017, appendix 6.1.2) and CycleGAN: one score for each patch.

C64-C128-C256-C512 with LeakyReLU 0.2, no norm in the first layer. Three layers see 70x70 pixels; zero layers give the
"PixelGAN", which sees 1x1. The output is a map of logits, without a sigmoid: the objective applies it if needed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from i2i.config.components import Width
from i2i.networks.base import ChainNetwork, PatchDiscriminator
from i2i.networks.layers import (
    BlurDown,
    Downsampling,
    Gain,
    Init,
    Norm,
    add_spectral_norm,
    initialize,
    needs_bias,
    normalization,
)

Layers = Annotated[int, Field(ge=0, le=8, strict=True)]


class PatchGAN(ChainNetwork, PatchDiscriminator, name="patchgan"):
    """Maps (N, in_channels, H, W) to a map of logits (N, 1, H', W'), one for each overlapping patch.

    1, 2, 3 or 4 strided ``layers`` see patches of 16, 34, 70 or 142 pixels; 0 layers see single pixels.
    Stages: ``layer1`` (no norm), ``layer2`` and so on, each also as ``<stage>_conv``. With ``downsample="blurred"``, as
    in CUT's released networks, these convolutions have stride 1 and are blurred and halved after their activation;
    three layers then see 84 pixels. ``spectral``: spectral norm of every layer, as in UVCGAN v2 (Torbunov et al. 2023,
    arXiv:2303.16280).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: Width = 64,
        layers: Layers = 3,
        norm: Norm = "instance",
        downsample: Downsampling = "strided",
        init: Init = "normal",
        init_gain: Gain | None = None,
        spectral: bool = False,
    ) -> None:
        kernel, padding = (1, 0) if layers == 0 else (4, 1)
        blurred = downsample == "blurred"

        def layer(channels: int, out_channels: int, *, halved: bool, normed: bool = True) -> nn.Sequential:
            stride = 2 if halved and not blurred else 1
            bias = needs_bias(norm) or not normed
            return nn.Sequential(
                nn.Conv2d(channels, out_channels, kernel, stride, padding, bias=bias),
                *([normalization(norm, out_channels)] if normed else []),
                nn.LeakyReLU(0.2, inplace=True),
                *([BlurDown(out_channels)] if halved and blurred else []),
            )

        modules: dict[str, nn.Module] = {"layer1": layer(in_channels, width, halved=layers > 0, normed=False)}
        channels = width
        for i in range(1, max(layers, 1) + 1):
            wider = width * min(2**i, 8)
            modules[f"layer{i + 1}"] = layer(channels, wider, halved=i < layers)
            channels = wider
        # The 1x1 version follows the reference: no bias in its head under batch norm.
        head = nn.Conv2d(channels, 1, kernel, 1, padding, bias=layers > 0 or needs_bias(norm))
        super().__init__(modules | {"head": head})
        # Two 4x4 layers with stride 1 and padding 1 each remove one pixel.
        self.minimum = 2 if layers == 0 else 3 * 2**layers
        initialize(self, init, init_gain)
        if spectral:
            add_spectral_norm(self)
