"""Transforms of what discriminators see, differentiable any number of times, for small sets.

The four kinds of DiffAugment (Zhao et al. 2020, arXiv:2006.10738) in its ranges, mirrored images beside them, each done
to an image with a probability, as in ADA (Karras et al. 2020, arXiv:2006.06676, section 2.2): an image is then mostly
seen as it is, and what is done to others does not leak into what is generated. Real and generated images are treated
alike, in the updates of both players.
Differs from ADA: there is no rotation, scaling, filter or noise; borders are reflected as there, where DiffAugment has
grey. Shifts are products with matrices of zeros and ones: their gradients are products too, which every device repeats
bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.world import drawn_for_all

SHIFT = 0.125
"""The largest shift, of the side."""
HOLE = 0.5
"""The side of what is cut out, of the image's."""
BRIGHTNESS = 0.5
"""The largest change of brightness, where images are in [-1, 1]."""
COINS, NUMBERS = 6, 8
"""How many transforms there are, each done or not, and how many numbers say how."""


def augmented(images: Tensor, strength: Tensor, judged: int | None = None) -> Tensor:
    """Transforms each image with draws of its own from torch's global generator.

    Args:
        images: (N, C, H, W) in [-1, 1]; several of a pair are joined along channels, and get the same geometry.
        strength: the probability of each transform, a scalar on the device of the images.
        judged: how many of the last channels are the image that is real or generated, which alone is recoloured; None:
            all.

    Returns:
        (N, C, H, W) in float32.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = images.float()
        drawn = drawn_for_all(lambda count: torch.rand(count, COINS + NUMBERS, device=x.device), len(x))
        done = drawn[:, :COINS] < strength
        mirror, right, down, across, along, brightness, saturation, contrast = drawn[:, COINS:].unbind(1)
        x = _moved(
            x,
            columns=_sources(x.shape[3], right, done[:, 1], mirrored=done[:, 0] & (mirror < 0.5)),
            rows=_sources(x.shape[2], down, done[:, 1]),
        )
        x = _recoloured(
            x,
            len(x[0]) - (judged or len(x[0])),
            brightness=torch.where(done[:, 2], BRIGHTNESS * (2 * brightness - 1), 0.0),
            saturation=torch.where(done[:, 3], 2 * saturation, 1.0),
            contrast=torch.where(done[:, 4], 0.5 + contrast, 1.0),
        )
        hole = _near(x.shape[2], along)[:, :, None] & _near(x.shape[3], across)[:, None, :] & done[:, 5, None, None]
        return x * (~hole)[:, None]


def _sources(side: int, place: Tensor, shifted: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """Where each of ``side`` pixels comes from: numbers (N, side), reflected at the borders.

    Args:
        side: of the image.
        place: (N,) in [0, 1), the shift from one end to the other.
        shifted: (N,), whether an image is.
        mirrored: (N,), the same.
    """
    at = torch.arange(side, device=place.device)
    reach = round(SHIFT * side)
    shift = torch.where(shifted, (place * (2 * reach + 1)).floor() - reach, 0.0)
    found = (at + shift[:, None]).abs()
    found = (side - 1) - ((side - 1) - found).abs()
    return found if mirrored is None else torch.where(mirrored[:, None], (side - 1) - found, found)


def _moved(x: Tensor, *, columns: Tensor, rows: Tensor) -> Tensor:
    """x: (N, C, H, W) with each pixel taken from its column (N, W) and row (N, H)."""
    across, along = (
        (places[:, None, :] == torch.arange(places.shape[1], device=x.device)[:, None]).to(x.dtype)
        for places in (columns, rows)
    )
    return torch.einsum("nchw,nhi,nwj->ncij", x, along, across)


def _recoloured(x: Tensor, start: int, *, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """x: (N, C, H, W) with the colours of the image that begins at channel ``start`` changed, and not its alpha."""
    end = start + (3 if x.shape[1] - start >= 3 else 1)
    brightness, saturation, contrast = (each[:, None, None, None] for each in (brightness, saturation, contrast))
    colours = x[:, start:end] + brightness
    # Written so that an image that is left alone stays the same to the bit.
    colours = colours + (colours - colours.mean(1, keepdim=True)) * (saturation - 1)
    colours = colours + (colours - colours.mean((1, 2, 3), keepdim=True)) * (contrast - 1)
    return torch.cat([x[:, :start], colours, x[:, end:]], 1)


def _near(side: int, centre: Tensor) -> Tensor:
    """Which of ``side`` pixels lie within half a hole of the ``centre`` (N,) in [0, 1): (N, side)."""
    at = (torch.arange(side, device=centre.device) + 0.5) / side
    return (at - centre[:, None]).abs() < HOLE / 2
