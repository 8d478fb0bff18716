"""InfoGAN's lower bound of the mutual information between codes and pictures (Chen et al. 2016, equation 5).

The bound is H(c) + E log Q(c|x); the entropy H(c) of the fixed code distribution is constant and left out, so that
what is minimised is -E log Q(c|x). All return a mean over samples as a scalar.
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
