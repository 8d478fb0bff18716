"""Self-attention between all locations of feature maps (Zhang et al. 2019, arXiv:1805.08318, section 3).

As in the authors' released networks, keys and values are max-pooled 2x2, and values have half of the channels; the
paper has maps of full size and an eighth of the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class SelfAttention(nn.Module):
    """Maps x: (N, C, H, W) to x + gamma * o, H and W even; gamma starts at 0, so that training starts locally.

    Equation 2: o_j = v(sum over i of beta_ji h(x_i)), with beta_j the softmax over i of f(x_i)^T g(x_j). ``query`` is
    g, ``key`` f, ``value`` h and ``output`` v, all 1x1 convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        query = self.query(x).flatten(2)
        key = max_pool2d(self.key(x), 2).flatten(2)
        value = max_pool2d(self.value(x), 2).flatten(2)
        share = torch.softmax(query.mT @ key, dim=-1)  # (N, HW, HW / 4): weights of pooled locations
        attended: Tensor = self.output((value @ share.mT).reshape(len(x), -1, *x.shape[2:]))
        return x + self.gamma * attended
