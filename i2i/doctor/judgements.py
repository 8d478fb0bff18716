"""Signs in what a discriminator says: figures of its scores of training images, held-out images and generated ones.

Scores are of any shape with the images first: (N,) or (N, 1, H, W).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from i2i.losses.adversarial import Objective, boundary, saturated


def answers(real: Tensor, fake: Tensor, objective: Objective) -> dict[str, float]:
    """The fraction of right answers, the mean sign of real images, and the fraction of answers that are saturated.

    The mean sign is r_t of Karras et al. 2020 (arXiv:2006.06676, equation 1). Nothing is said of an objective whose
    scores have no boundary.
    """
    middle = boundary(objective)
    if middle is None:
        return {}
    right = 0.5 * float((real > middle).float().mean() + (fake < middle).float().mean())
    sign = float((real - middle).sign().mean())
    return {"right_answers": right, "sign_of_real": sign, "saturated_scores": float(saturated(real, fake, objective))}


def held_out_gap(real: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """Where held-out images lie between training images (0) and generated ones (1), less what chance would do.

    r_v of Karras et al. 2020 (equation 1), which needs no boundary.
    """
    known, unknown, generated = (scores.reshape(len(scores), -1).mean(1).double() for scores in (real, held_out, fake))
    apart = float(known.mean() - generated.mean())
    gap = float(known.mean() - unknown.mean()) - _chance(known, unknown)
    if apart <= _chance(known, generated):
        return 0.0  # the discriminator does not tell real from generated either
    return min(max(gap / apart, 0.0), 2.0)


def _chance(one: Tensor, other: Tensor) -> float:
    """The standard error of the difference of two means; with one image it is anything."""
    if min(len(one), len(other)) < 2:
        return math.inf
    return math.sqrt(float(torch.var(one) / len(one) + torch.var(other) / len(other)))
