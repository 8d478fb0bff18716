"""Losses of latents that an encoder reads from images, for translators that are told by a latent which answer to give.

Latents are (N, latent). All losses are scalar tensors, means over items.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import l1_loss


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over the latent (Kingma and Welling 2014, appendix B)."""
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()


def latent_regression(read: Tensor, z: Tensor) -> Tensor:
    """|z - E(G(x, z))|, mean over all elements (Zhu et al. 2017, arXiv:1711.11586)."""
    return l1_loss(read.float(), z)
