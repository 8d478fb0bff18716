"""Adversarial objectives on logits or critic values, as pure functions.

- ``non_saturating``, ``minimax``: Goodfellow et al. 2014, equation 1 and the remark below it
- ``lsgan``: Mao et al. 2017, equation 9 with a = 0, b = c = 1
- ``hinge``: Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17
- ``wasserstein``: Arjovsky et al. 2017, equation 2
- ``relativistic``: the pairing loss of R3GAN (Huang et al. 2024, arXiv:2501.05441, equation 2, after
  Jolicoeur-Martineau 2018): a real and a generated image are compared, patch by patch, in the updates of both players.
  Its authors use it with zero-centred penalties at both (r1 and r2).

Every function takes scores of any shape (patch maps included) and returns a mean loss, a scalar to be minimised.
Constant factors belong to the methods: the 1/2 of LSGAN's equation is left out, and CycleGAN, pix2pix and CUT halve
their discriminators' losses themselves, for every objective.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

Objective = Literal["non_saturating", "minimax", "lsgan", "hinge", "wasserstein", "relativistic"]

SATURATED = 5.0
"""Logits from here on leave 0.7 % to doubt."""
NEAR = 0.1
"""How near to its target a score of least squares is as good as there: a hundredth of the loss at the boundary is left,
and less."""


def discriminator_loss(real: Tensor, fake: Tensor, objective: Objective) -> Tensor:
    """What the discriminator minimises, given its scores of real and of generated images."""
    real, fake = real.float(), fake.float()
    match objective:
        case "non_saturating" | "minimax":  # -log D(x) - log(1 - D(G(z))), with D = sigmoid of the logit
            return softplus(-real).mean() + softplus(fake).mean()
        case "lsgan":  # (D(x) - 1)^2 + D(G(z))^2
            return (real - 1).square().mean() + fake.square().mean()
        case "hinge":
            return relu(1 - real).mean() + relu(1 + fake).mean()
        case "wasserstein":
            return fake.mean() - real.mean()
        case "relativistic":  # -log sigmoid(D(x) - D(G(z)))
            return softplus(fake - real).mean()
        case _:
            assert_never(objective)


def compares(objective: Objective) -> bool:
    """Whether generated images are scored against real ones, so that the generator's loss depends on both."""
    return objective == "relativistic"


def generator_loss(fake: Tensor, objective: Objective, real: Tensor | None = None) -> Tensor:
    """What the generator minimises, given the discriminator's scores of generated images.

    Args:
        fake: these scores.
        objective: the objective.
        real: the scores of as many real images, where the objective ``compares``; not used by others.
    """
    fake = fake.float()
    match objective:
        case "non_saturating":  # -log D(G(z))
            return softplus(-fake).mean()
        case "minimax":  # log(1 - D(G(z)))
            return -softplus(fake).mean()
        case "lsgan":
            return (fake - 1).square().mean()
        case "hinge" | "wasserstein":
            return -fake.mean()
        case "relativistic":
            if real is None:
                raise ValueError("this objective compares generated images with real ones, and there are no scores")
            return softplus(real.float() - fake).mean()
        case _:
            assert_never(objective)


def fooling_loss(critic: Callable[[Tensor], Tensor], fake: Tensor, real: Tensor, objective: Objective) -> Tensor:
    """What the generator minimises, given its images and as many real ones, which ``critic`` scores if need be."""
    score_real = None
    if compares(objective):
        with torch.no_grad():
            score_real = critic(real)
    return generator_loss(critic(fake), objective, score_real)


def boundary(objective: Objective) -> float | None:
    """The score above which a discriminator says "real"; None where scores have no such meaning."""
    match objective:
        case "non_saturating" | "minimax" | "hinge":
            return 0.0
        case "lsgan":
            return 0.5
        case "wasserstein" | "relativistic":
            return None
        case _:
            assert_never(objective)


def sign_of_real(real: Tensor, fake: Tensor, objective: Objective) -> Tensor | None:
    """The mean sign of the scores of real images, a scalar in [-1, 1]; None where scores have no sign.

    It is r_t of ADA (Karras et al. 2020, equation 1); of a relativistic discriminator the sign of the differences.
    """
    margin = fake if compares(objective) else boundary(objective)
    if margin is None:
        return None
    return torch.where(real > margin, 1.0, -1.0).mean()  # finite, whatever the scores are


def saturated(real: Tensor, fake: Tensor, objective: Objective) -> Tensor:
    """The fraction of answers that are right and that the discriminator could hardly improve; a scalar.

    With "minimax", generated images that are answered so give the generator no gradient (Goodfellow et al. 2014,
    section 3). With "wasserstein" there is always more to gain, and it is 0.
    """
    real, fake = real.float(), fake.float()
    match objective:
        case "non_saturating" | "minimax":
            done = real >= SATURATED, fake <= -SATURATED
        case "lsgan":
            done = (real - 1).abs() <= NEAR, fake.abs() <= NEAR
        case "hinge":
            done = real >= 1, fake <= -1
        case "relativistic":
            return (real - fake >= SATURATED).float().mean()
        case "wasserstein":
            return real.new_zeros(())
        case _:
            assert_never(objective)
    return 0.5 * (done[0].float().mean() + done[1].float().mean())
