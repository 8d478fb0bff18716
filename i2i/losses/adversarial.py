"""Adversarial objectives on logits or critic values, as pure functions.

- ``non_saturating``, ``minimax``: Goodfellow et al. 2014, equation 1 and the remark below it
- ``lsgan``: Mao et al. 2017, equation 9 with a = 0, b = c = 1
- ``hinge``: Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17
- ``wasserstein``: Arjovsky et al. 2017, equation 2

Every function takes scores of any shape (patch maps included) and returns a mean loss, a scalar to be minimised.
Constant factors belong to the methods: the 1/2 of LSGAN's equation is left out, and CycleGAN, pix2pix and CUT halve
their discriminators' losses themselves, for every objective.
"""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor
from torch.nn.functional import relu, softplus

Objective = Literal["non_saturating", "minimax", "lsgan", "hinge", "wasserstein"]

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
        case _:
            assert_never(objective)


def generator_loss(fake: Tensor, objective: Objective) -> Tensor:
    """What the generator minimises, given the discriminator's scores of generated images."""
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
        case _:
            assert_never(objective)


def boundary(objective: Objective) -> float | None:
    """The score above which a discriminator says "real"; None where scores have no such meaning."""
    match objective:
        case "non_saturating" | "minimax" | "hinge":
            return 0.0
        case "lsgan":
            return 0.5
        case "wasserstein":
            return None
        case _:
            assert_never(objective)


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
        case "wasserstein":
            return real.new_zeros(())
        case _:
            assert_never(objective)
    return 0.5 * (done[0].float().mean() + done[1].float().mean())
