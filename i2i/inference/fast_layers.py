"""Layers of generators as a CPU computes them fastest: the same functions, in another order of operations.

Activations are float32 and lie in memory with their channels last; convolutions may have their products in bf16.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle

from i2i.inference.winograd import WinogradConv2d

PART = 1 << 18
"""How many values are normalised together: few enough for the cache."""
FEW = 4
"""Channels that leave most of a vector register empty."""


def speed_up(network: nn.Module, products: torch.dtype = torch.float32) -> None:
    """Replaces layers of ``network`` by faster ones, and leaves the layers themselves as they are.

    Args:
        network: a generator that is ready for inference.
        products: the precision of the products in convolutions: bfloat16 pays on a CPU with instructions for it.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        chain = [*(layer for _, layer in children), None] if isinstance(parent, nn.Sequential) else []
        for number, (name, layer) in enumerate(children):
            if chain and number and isinstance(chain[number - 1], _CONVOLUTION) and ChannelsLastNorm.fits(layer):
                rectified = isinstance(chain[number + 1], nn.ReLU)
                parent.register_module(name, ChannelsLastNorm(layer.eps, rectified=rectified))
                if rectified:
                    parent.register_module(children[number + 1][0], nn.Identity())
            elif isinstance(layer, _CONVOLUTION):
                parent.register_module(name, _faster(layer, products))


_CONVOLUTION = nn.Conv2d | nn.ConvTranspose2d


def _faster(layer: nn.Conv2d | nn.ConvTranspose2d, products: torch.dtype) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        for kind in (WinogradConv2d, FewOutputsConv2d):
            if kind.fits(layer):
                return kind(layer, products)
    copied = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    return copied if products == torch.float32 else InBfloat16(copied)


class ChannelsLastNorm(nn.Module):
    """Instance norm without parameters, and with ``rectified`` a ReLU after it, over the rows of an image's pixels.

    It changes its input, which must be the output of a convolution that nothing else uses.
    """

    def __init__(self, eps: float, *, rectified: bool) -> None:
        super().__init__()
        self.eps, self.rectified = eps, rectified

    @staticmethod
    def fits(layer: nn.Module) -> TypeGuard[nn.InstanceNorm2d]:
        """Whether ``layer`` is such a norm."""
        return isinstance(layer, nn.InstanceNorm2d) and not layer.affine and not layer.track_running_stats

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W), float32, to the same shape."""
        images = x.permute(0, 2, 3, 1).contiguous()
        for image in images:
            self._normalise(image.view(-1, image.shape[-1]))
        return images.permute(0, 3, 1, 2)

    def _normalise(self, rows: Tensor) -> None:
        """Normalises rows: (pixels, C) in place."""
        mean, variance = moments(rows)
        scale = (variance + self.eps).rsqrt()
        for part in _parts(rows):
            part.sub_(mean).mul_(scale)
            if self.rectified:
                part.relu_()


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the columns of rows: (pixels, C), float32."""
    parts = _parts(rows)
    ones = rows.new_ones(1, len(parts[0]))
    # The moments of each part about its own mean, joined as in Chan et al. 1983: nothing cancels.
    counts = rows.new_tensor([len(part) for part in parts])[:, None]
    means = torch.cat([ones[:, : len(part)] @ part for part in parts]) / counts
    squares = [ones[:, : len(part)] @ (part - mean).square_() for part, mean in zip(parts, means, strict=True)]
    mean = (counts * means).sum(0) / len(rows)
    return mean, (torch.cat(squares) + counts * (means - mean).square()).sum(0) / len(rows)


def _parts(rows: Tensor) -> Sequence[Tensor]:
    return torch.split(rows, max(1, PART // rows.shape[1]))


class FewOutputsConv2d(nn.Module):
    """A convolution to few channels, which computes 2x2 pixels of its output as the channels of one pixel."""

    kernel: Tensor

    def __init__(self, conv: nn.Conv2d, products: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.bias, self.size = conv.bias, conv.kernel_size
        places = [(x, 1 - x, y, 1 - y) for y in (0, 1) for x in (0, 1)]
        kernel = torch.stack([pad(conv.weight.detach(), place) for place in places], 1).flatten(0, 1)
        self.register_buffer("kernel", kernel.to(products), persistent=False)  # (4 C', C, k + 1, k + 1)

    @staticmethod
    def fits(layer: nn.Conv2d) -> bool:
        """Whether ``layer`` is such a convolution, with a kernel so large that one more row and column cost little."""
        return (
            layer.out_channels <= FEW
            and min(layer.kernel_size) >= 5
            and layer.stride == layer.dilation == (1, 1)
            and layer.padding == (0, 0)
            and layer.groups == 1
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W), float32, to (N, C', H', W')."""
        height, width = (side - kernel + 1 for side, kernel in zip(x.shape[2:], self.size, strict=True))
        even = pad(x, (0, width % 2, 0, height % 2)).to(self.kernel.dtype)
        y = pixel_shuffle(conv2d(even, self.kernel, stride=2).float(), 2)[..., :height, :width]
        return y if self.bias is None else y + self.bias[:, None, None]


class InBfloat16(nn.Module):
    """A convolution in bf16 between layers in float32."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W), float32, to float32."""
        output: Tensor = self.layer(x.bfloat16()).float()
        return output
