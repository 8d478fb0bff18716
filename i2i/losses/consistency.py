"""Consistency losses of translators: L1 between an image and what should equal it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss


def cycle_consistency(cycled: Tensor, real: Tensor) -> Tensor:
    """|F(G(x)) - x|, mean over all elements (Zhu et al. 2017, equation 2). Both: (N, C, H, W)."""
    return l1_loss(cycled.float(), real)


def identity(mapped: Tensor, real: Tensor) -> Tensor:
    """|G(y) - y|, mean over all elements, for y that is already in G's output domain (Zhu et al. 2017, section 5.2)."""
    return l1_loss(mapped.float(), real)


def reconstruction(output: Tensor, target: Tensor, pooling: int = 1, mask: Tensor | None = None) -> Tensor:
    """|y - G(x)|, mean over all elements (Isola et al. 2017, equation 3). Both: (N, C, H, W).

    With a mask m, |m y - m G(x)|, and still the mean over all elements, not over m: a pixel of weight 1 weighs what it
    does without a mask, whatever others weigh, an item that is masked out weighs nothing, and the mean over a batch
    stays that of its parts.

    Args:
        output: G(x).
        target: y.
        pooling: both are compared as means of squares of so many pixels a side, for pairs that are not quite aligned;
            1 is the paper's.
        mask: the weight of each pixel, (N, 1, H, W) in [0, 1], or of each item, (N, 1, 1, 1).
    """
    if mask is not None:
        output, target = output.float() * mask, target * mask
    if pooling > 1:
        output, target = (avg_pool2d(x.float(), pooling, ceil_mode=True) for x in (output, target))
    return l1_loss(output.float(), target)
