"""Zero-centred gradient penalties of a discriminator, as options of methods with any objective.

At real images it is R1 (Mescheder et al. 2018, arXiv:1801.04406), at generated ones R2, and there is one between both.
R3GAN (Huang et al. 2024, arXiv:2501.05441) has the first two with equal weights, UVCGAN v2 (Torbunov et al. 2023,
arXiv:2303.16280) the third. Lazily, they are computed in some steps only (StyleGAN2, Karras et al. 2020,
arXiv:1912.04958).
Differs from the lazy regularisation of StyleGAN2: the optimiser stays the same, and its step is shared with the loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from i2i.losses.penalties import Critic, gradient_penalty, r1_penalty
from i2i.methods.checks import refuse_batch_norm


@dataclass(frozen=True)
class ZeroCentred:
    """Which penalties there are; weight 0 is off.

    Attributes:
        r1: weight at real images, gamma / 2 of the papers.
        r2: weight at generated images, the same.
        mixed: weight at random points between a real and a generated image.
        every: they are computed in every so many steps, with so many times the weight.
    """

    r1: float = 0.0
    r2: float = 0.0
    mixed: float = 0.0
    every: int = 1

    def require_fit(self, critics: Iterable[nn.Module]) -> None:
        """Refuses critics with batch norm, as ``refuse_batch_norm`` does."""
        for name, weight in (("r1", self.r1), ("r2", self.r2), ("mixed_penalty", self.mixed)):
            for critic in critics if weight else ():
                refuse_batch_norm(critic, name)

    def due(self, step: int) -> bool:
        """Whether they are computed in this step."""
        return bool(self.r1 or self.r2 or self.mixed) and step % self.every == 0

    def losses(self, critic: Critic, real: Tensor, fake: Tensor, step: int, domain: str = "") -> dict[str, Tensor]:
        """The weighted penalties of this step by name, for images (N, C, H, W)."""
        found: dict[str, Tensor] = {}
        if not self.due(step):
            return found
        if self.r1:
            found[f"r1{domain}"] = self.every * self.r1 * r1_penalty(critic, real)
        if self.r2:
            found[f"r2{domain}"] = self.every * self.r2 * r1_penalty(critic, fake)
        if self.mixed:
            found[f"mixed_penalty{domain}"] = self.every * self.mixed * gradient_penalty(critic, real, fake, target=0.0)
        return found


def idle_penalties(r1: float, r2: float, mixed: float = 0.0) -> dict[str, str]:
    """As ``Component.idle``."""
    return {} if r1 or r2 or mixed else {"penalty_every": "set r1 or r2 above 0"}
