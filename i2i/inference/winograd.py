"""3x3 convolutions with a quarter of the products: minimal filtering F(4x4, 3x3) of Lavin and Gray 2016 (section 4.2).

A tile of 6x6 inputs gives 4x4 outputs. The transforms of inputs and outputs are products with constant matrices, and
the sums over channels are 36 matrix products, all over whole images with the channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

OUT, IN = 4, 6
"""Sides of a tile of outputs and of inputs."""
TILES, CACHED = 256, 64
"""Tiles whose products are summed together, and tiles that are transformed together: more do not fit the caches."""
FEWEST = 64
"""With fewer tiles or channels the transforms cost more than they save."""
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
"""Where the polynomials are evaluated: with these, rounding errors are 0.4 times those of the usual 0, +-1, +-2."""


def _powers(count: int) -> Tensor:
    """(IN, count): the powers of each point, and of infinity."""
    points = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(count)
    return torch.cat([points, torch.eye(count, dtype=torch.float64)[-1:]])


def _both_ways(matrix: Tensor) -> Tensor:
    """Of a transform of columns that of columns and rows."""
    return torch.kron(matrix, matrix).float()


class WinogradConv2d(nn.Module):
    """The convolution ``conv``, which ``fits``, computed in this way; ``products``: the precision of the sums."""

    filters: Tensor
    into: Tensor
    back: Tensor

    def __init__(self, conv: nn.Conv2d, products: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().to(products), requires_grad=False)
        self.bias, self.padding = conv.bias, int(conv.padding[0])
        filters = _both_ways(_powers(3)) @ conv.weight.detach().permute(2, 3, 1, 0).reshape(9, -1)
        filters = filters.to(products).view(IN * IN, conv.in_channels, conv.out_channels)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("into", _both_ways(torch.linalg.inv(_powers(IN)).T), persistent=False)
        self.register_buffer("back", _both_ways(_powers(OUT).T), persistent=False)

    @staticmethod
    def fits(layer: nn.Conv2d) -> bool:
        """Whether ``layer`` is a convolution that is worth it."""
        return (
            layer.kernel_size == (3, 3)
            and layer.stride == layer.dilation == (1, 1)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
            and layer.padding in ((0, 0), (1, 1))
            and min(layer.in_channels, layer.out_channels) >= FEWEST
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W), float32, to (N, C', H', W'), with the channels last in memory."""
        height, width = (side + 2 * self.padding - 2 for side in x.shape[2:])
        down, across = -(-height // OUT), -(-width // OUT)
        if down * across < FEWEST:
            bias = None if self.bias is None else self.bias.to(self.weight.dtype)
            return conv2d(x.to(self.weight.dtype), self.weight, bias, padding=self.padding).float()
        right, bottom = across * OUT - width, down * OUT - height
        if self.padding or right or bottom:
            x = pad(x, (self.padding, self.padding + right, self.padding, self.padding + bottom))
        outputs = x.new_empty(len(x), down, OUT, across, OUT, self.filters.shape[2])
        rows = max(1, TILES // across)
        for image, output in zip(x.permute(0, 2, 3, 1).contiguous(), outputs, strict=True):
            for first in range(0, down, rows):
                some = output[first : first + rows]
                self._fill(some, image[first * OUT : (first + len(some)) * OUT + 2])
        if self.bias is not None:
            outputs += self.bias
        return outputs.view(len(x), down * OUT, across * OUT, -1)[:, :height, :width].permute(0, 3, 1, 2)

    def _fill(self, output: Tensor, image: Tensor) -> None:
        """Computes output: (tiles down, 4, tiles across, 4, C') from image: (H, W, C)."""
        tiles = image.unfold(0, IN, OUT).unfold(1, IN, OUT).permute(3, 4, 0, 1, 2)  # (6, 6, down, across, C)
        down, across, channels = tiles.shape[2:]
        spread = image.new_empty(IN * IN, down * across, channels, dtype=self.filters.dtype)
        rows = max(1, CACHED // across)
        parts = [slice(first, min(first + rows, down)) for first in range(0, down, rows)]
        for part in parts:
            values = self.into @ tiles[:, :, part].reshape(IN * IN, -1)
            spread[:, part.start * across : part.stop * across] = values.view(IN * IN, -1, channels)
        summed = torch.bmm(spread, self.filters)
        for part in parts:
            values = summed[:, part.start * across : part.stop * across].reshape(IN * IN, -1).float()
            output[part] = (self.back @ values).view(OUT, OUT, -1, across, output.shape[-1]).permute(2, 0, 3, 1, 4)
