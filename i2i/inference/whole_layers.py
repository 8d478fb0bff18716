"""Layers that depend on a whole map, for a network that sees tiles of it: norms, and what is drawn for the map.

Instance norm (Ulyanov et al. 2016) of a tile alone would change contrast and colour from tile to tile. A norm without
statistics takes those of a tile's inner part and ends the tile's computation there; once it has seen all tiles of the
map, its output is what it is for the whole map. Noise and dropout masks are cut from those of the whole map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2i.inference.fast_layers import ChannelsLastNorm, moments
from i2i.networks.at_inference import ImageNorm, SeededLayer
from i2i.tiling.boxes import Tile
from i2i.tiling.draws import require_drawable
from i2i.tiling.moments import Moments


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
        self._moments = Moments()
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
        """Adds the moments of x to those of earlier tiles."""
        rows = x[0].float().permute(1, 2, 0).reshape(-1, x.shape[1])
        self._moments.add(len(rows), *(value.cpu().numpy() for value in moments(rows)))

    def settle(self) -> None:
        """All tiles were seen: from now on, normalises."""
        mean, scale = self._moments.factors(self.eps, over_channels=self.over_channels)
        self._used = torch.from_numpy(mean), torch.from_numpy(scale)

    def settle_as(self, other: WholeNorm) -> None:
        """Normalises by the statistics of another one from now on."""
        self._used = other._used


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
            require_drawable(x.shape[1] * height * width)
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
            whole = WholeDraw(layer, height, width) if isinstance(layer, SeededLayer) else whole_norm(layer)
            if whole is not None:
                parent.register_module(name, whole)
                found.append(whole)
    return found


def whole_norm(layer: nn.Module) -> WholeNorm | None:
    """What normalises tiles in the place of ``layer``; None for a layer that is no norm over a whole map."""
    match layer:
        case ChannelsLastNorm():
            return WholeNorm(layer.eps, None, None, over_channels=False, rectified=layer.rectified)
        case nn.InstanceNorm2d(track_running_stats=False) | ImageNorm():
            return WholeNorm(layer.eps, layer.weight, layer.bias, over_channels=False, rectified=False)
        case nn.GroupNorm(num_groups=1):
            return WholeNorm(layer.eps, layer.weight, layer.bias, over_channels=True, rectified=False)
        case _:
            return None
