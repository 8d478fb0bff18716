"""Points in the plane or on the line as an image, for previews of the theory experiments."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE, REACH = 128, 3.0


def scatter(real: Tensor, fake: Tensor) -> Tensor:
    """Draws real points in green and generated ones in red on white.

    Args:
        real: (N, 2) or (N, 1) coordinates; on the line, the height of a dot is its index.
        fake: the same, (M, 2) or (M, 1).

    Returns:
        (1, 3, 128, 128) in [-1, 1], of the square [-3, 3] x [-3, 3].
    """
    image = torch.ones(3, SIDE, SIDE)
    for points, colour in ((real, (-0.6, 0.4, -0.6)), (fake, (0.8, -0.8, -0.8))):
        xy = points.detach().float().cpu()
        if xy.shape[1] == 1:
            xy = torch.cat([xy, torch.linspace(-REACH, REACH, len(xy))[:, None]], 1)
        cells = ((xy + REACH) / (2 * REACH) * SIDE).long()
        x, y = cells[((cells >= 0) & (cells < SIDE)).all(1)].T
        image[:, SIDE - 1 - y, x] = torch.tensor(colour)[:, None]
    return image[None]
