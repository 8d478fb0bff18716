"""InfoGAN's lower bound of the mutual information between codes and images (Chen et al. 2016, equation 5).

The bound is L_I = H(c) + E log Q(c|x), in nats. The entropy H(c) of the fixed code distribution is constant, so the
loss is -E log Q(c|x). Losses are scalar tensors, means over samples; entropies are floats.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cross_entropy


def categorical_information(logits: Tensor, code: Tensor) -> Tensor:
    """-log Q(c|x) of a categorical code. logits: (N, values); code: (N,) int64."""
    return cross_entropy(logits.float(), code)


def gaussian_information(mean: Tensor, log_variance: Tensor, code: Tensor) -> Tensor:
    """-log Q(c|x) of continuous codes under a diagonal Gaussian, summed over codes. All: (N, codes)."""
    mean, log_variance = mean.float(), log_variance.float()
    squares = (code - mean).square() / log_variance.exp()
    return 0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(1).mean()


def categorical_entropy(values: int) -> float:
    """H(c) of a categorical code whose values are equally likely: the value of L_I if Q is always right."""
    return math.log(values)


def uniform_entropy(codes: int) -> float:
    """The differential entropy H(c) of codes that are uniform in [-1, 1].

    L_I of continuous codes has no upper limit, because the variance of a Gaussian Q can become arbitrarily small; with
    a deviation of 1 it stays below -0.22 for each code, even if Q is always right.
    """
    return codes * math.log(2)
