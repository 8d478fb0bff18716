"""Layers that depend on a whole map, for a network that sees tiles of it: norms, and what is drawn for the map.

Instance norm (Ulyanov et al. 2016) of a tile alone would change contrast and colour from tile to tile. A norm without
statistics takes those of a tile's inner part and ends the tile's computation there; once it has seen all tiles of the
map, its output is what it is for the whole map. Noise and dropout masks are cut from those of the whole map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from i2i.errors import DataError
from i2i.inference.fast_layers import ChannelsLastNorm, moments
from i2i.networks.at_inference import ImageNorm, SeededLayer

MOST_DRAWN = 1 << 26
"""Random numbers for a whole map that are kept in memory."""


class Box(NamedTuple):
    """A rectangle, in pixels of the image; ``bottom`` and ``right`` are outside."""

    top: int
    bottom: int
    left: int
    right: int

    def over(self, scale: int) -> Box:
        """The same in pixels of a map, each of which is ``scale`` pixels of the image wide."""
        return Box(*(edge // scale for edge in self))

    def grown(self, margin: int, height: int, width: int) -> Box:
        """With ``margin`` more on each side, as far as the image reaches."""
        top, bottom, left, right = self
        return Box(
            max(top - margin, 0), min(bottom + margin, height), max(left - margin, 0), min(right + margin, width)
        )


class Tile(NamedTuple):
    """What a tile makes, ``core``, and what it is computed from, ``window``."""

    core: Box
    window: Box

    def inner(self, x: Tensor) -> Tensor:
        """Of x, a map of the window, what belongs to the core: (N, C, H, W) at any scale."""
        scale = (self.window.bottom - self.window.top) // x.shape[2]
        core, (top, _, left, _) = self.core.over(scale), self.window.over(scale)
        return x[:, :, core.top - top : core.bottom - top, core.left - left : core.right - left]


class Unsettled(Exception):  # not an error: ends a tile's computation
    """A norm has no statistics yet, and has taken those of this tile."""

    def __init__(self, norm: WholeNorm) -> None:
        self.norm = norm


class WholeLayer(nn.Module):
    """A layer that gives for a tile what the layer in whose place it is gives there for the whole map.

    Attributes:
        tile: the tile that is computed; whoever calls the network sets it.
    """

    tile: Tile


class WholeNorm(WholeLayer):
    """Normalises tiles by the statistics of the whole map."""

    def __init__(
        self, eps: float, weight: Tensor | None, bias: Tensor | None, *, over_channels: bool, rectified: bool
    ) -> None:
        super().__init__()
        self.eps, self.weight, self.bias = eps, weight, bias
        self.over_channels, self.rectified = over_channels, rectified
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())
        self._used: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (1, C, H, W) to the same shape.

        Raises:
            Unsettled: there are no statistics yet.
        """
        if self._used is None:
            self._take(self.tile.inner(x))
            raise Unsettled(self)
        mean, scale = (value.to(x.device) for value in self._used)
        y = x.float().sub(mean).mul_(scale)
        if self.weight is not None and self.bias is not None:
            y.mul_(self.weight.float()[:, None, None]).add_(self.bias.float()[:, None, None])
        if self.rectified:
            y.relu_()
        return y.to(x.dtype)

    def _take(self, x: Tensor) -> None:
        """Adds the moments of x about its mean to those of earlier tiles (Chan et al. 1983): nothing cancels."""
        rows = x[0].float().permute(1, 2, 0).reshape(-1, x.shape[1])
        mean, variance = (value.cpu().double() for value in moments(rows))
        count = len(rows)
        apart, both = mean - self._mean, self._count + count
        self._squares = self._squares + variance * count + apart.square() * (self._count * count / both)
        self._mean = self._mean + apart * (count / both)
        self._count = both

    def settle(self) -> None:
        """All tiles were seen: from now on, normalises."""
        mean, variance = self._mean, self._squares / self._count
        if self.over_channels:
            variance = (variance + (mean - mean.mean()).square()).mean().expand_as(mean)
            mean = mean.mean().expand_as(mean)
        scale = (variance + self.eps).rsqrt()
        self._used = mean.float()[:, None, None], scale.float()[:, None, None]


class WholeDraw(WholeLayer):
    """Uses the part of a draw for the whole map that belongs to a tile.

    Args:
        layer: what draws.
        height: of the image.
        width: of the image.
    """

    def __init__(self, layer: SeededLayer, height: int, width: int) -> None:
        super().__init__()
        self.layer, self._size = layer, (height, width)
        self._drawn: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (1, C, H, W), as ``layer`` does.

        Raises:
            DataError: what is drawn for the whole map is large.
        """
        if self.layer.everywhere:
            drawn: Tensor = self.layer(x)
            return drawn
        window = self.tile.window
        scale = (window.bottom - window.top) // x.shape[2]
        if self._drawn is None:
            height, width = (side // scale for side in self._size)
            if x.shape[1] * height * width > MOST_DRAWN:
                raise DataError(
                    "the noise or dropout of this model, which is drawn for the whole image, would take too much "
                    "memory: use a smaller image"
                )
            self._drawn = self.layer.draw((x.shape[1], height, width))
        top, bottom, left, right = window.over(scale)
        return self.layer.use(x, self._drawn[:, top:bottom, left:right].to(x.device, x.dtype))


def over_tiles(network: nn.Module, height: int, width: int) -> list[WholeLayer]:
    """Replaces the layers of ``network`` that depend on a whole map, and returns those in their place.

    Args:
        network: changed in place.
        height: of the image.
        width: of the image.
    """
    found = list[WholeLayer]()
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            whole = WholeDraw(layer, height, width) if isinstance(layer, SeededLayer) else _norm(layer)
            if whole is not None:
                parent.register_module(name, whole)
                found.append(whole)
    return found


def _norm(layer: nn.Module) -> WholeNorm | None:
    match layer:
        case ChannelsLastNorm():
            return WholeNorm(layer.eps, None, None, over_channels=False, rectified=layer.rectified)
        case nn.InstanceNorm2d(track_running_stats=False) | ImageNorm():
            return WholeNorm(layer.eps, layer.weight, layer.bias, over_channels=False, rectified=False)
        case nn.GroupNorm(num_groups=1):
            return WholeNorm(layer.eps, layer.weight, layer.bias, over_channels=True, rectified=False)
        case _:
            return None
