"""Why a distance and not a divergence: two parallel lines (Arjovsky et al. 2017, arXiv:1701.07875, example 1).

P_0 is uniform on the segment x = 0, P_theta on x = theta. Their Jensen-Shannon divergence is log 2 for every theta but
0, so it says nothing of how far they are apart; their earth-mover distance is |theta|. Both are drawn in closed form
and as critics see them. A discriminator's smallest loss L gives JS = log 2 - L / 2 (Goodfellow et al. 2014, theorem 1).
A critic under the gradient penalty gives the distance times its slope, which the penalty of weight lambda holds near 1:
its optimum is at slope 1 + |theta| / (2 lambda), so it overrates the distance by that factor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Adam

from i2i.batch import DataSpec
from i2i.display import tracked
from i2i.lab.critic import train_critic
from i2i.lab.drawing import CRITIC, THEORY, new_picture
from i2i.lab.findings import Findings
from i2i.losses.adversarial import discriminator_loss
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THETAS = (-1.0, -0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
PENALTY = 10.0
"""Lambda, as in WGAN-GP."""
MEASURED = 20_000


def divergences(seed: int, *, steps: int = 250) -> Findings:
    """Trains both critics at every distance.

    Args:
        seed: decides every draw.
        steps: length of each training.
    """
    rows = []
    for theta in tracked("divergences", len(THETAS))(THETAS):
        torch.manual_seed(derive_seed(seed, "divergences", str(theta)))
        rows.append(
            {
                "theta": theta,
                "js": jensen_shannon(theta),
                "js_trained": trained_jensen_shannon(theta, steps),
                "em": earth_mover(theta),
                "em_trained": trained_earth_mover(theta, steps),
                "em_under_penalty": earth_mover(theta) * (1 + abs(theta) / (2 * PENALTY)),
            }
        )
    apart = [row for row in rows if row["theta"]]
    js_off, em_off = (max(abs(row[f"{name}_trained"] - row[name]) for row in rows) for name in ("js", "em"))
    biased_off = max(abs(row["em_trained"] - row["em_under_penalty"]) for row in rows)
    js = [row["js_trained"] for row in apart]
    figures = {"distances": rows, "largest_difference": {"js": js_off, "em": em_off, "em_under_penalty": biased_off}}
    lines = [
        f"JS is log 2 = {math.log(2):.4f} at every distance but 0; discriminators find {min(js):.4f} to {max(js):.4f}, "
        f"and {abs(next(row['js_trained'] for row in rows if not row['theta'])):.4f} at 0",
        f"earth mover is the distance; critics under a gradient penalty differ from it by {em_off:.4f} at most, "
        f"and from their closed form with the penalty's bias by {biased_off:.4f}",
    ]
    return Findings(_picture(rows), figures, lines)


def jensen_shannon(theta: float) -> float:
    """JS(P_0, P_theta), with the natural logarithm."""
    return math.log(2) if theta else 0.0


def earth_mover(theta: float) -> float:
    """W(P_0, P_theta)."""
    return abs(theta)


def trained_jensen_shannon(theta: float, steps: int) -> float:
    """JS as a discriminator's loss says it, on new points."""
    discriminator = _critic()
    train_critic(
        discriminator,
        lambda: (line(0.0, 256), line(theta, 256)),
        "non_saturating",
        Adam(discriminator.parameters(), lr=1e-2),
        steps=steps,
    )
    with torch.no_grad():
        real, fake = discriminator(line(0.0, MEASURED)), discriminator(line(theta, MEASURED))
    return math.log(2) - discriminator_loss(real, fake, "non_saturating").item() / 2


def trained_earth_mover(theta: float, steps: int) -> float:
    """W as a critic under the gradient penalty says it, on new points."""
    critic = _critic()
    train_critic(
        critic,
        lambda: (line(0.0, 256), line(theta, 256)),
        "wasserstein",
        Adam(critic.parameters(), lr=5e-3, betas=(0.0, 0.9)),
        steps=steps,
        penalty=PENALTY,
    )
    with torch.no_grad():
        real, fake = critic(line(0.0, MEASURED)), critic(line(theta, MEASURED))
    return -discriminator_loss(real, fake, "wasserstein").item()


def line(theta: float, count: int) -> Tensor:
    """Points (theta, u) with u uniform in [0, 1]: (count, 2, 1, 1)."""
    return torch.stack([torch.full((count,), theta), torch.rand(count)], 1)[:, :, None, None]


def _critic() -> MLPDiscriminator:
    return MLPDiscriminator(DataSpec(1, 2, 2), width=64, depth=2)


def _picture(rows: list[dict[str, float]]) -> Figure:
    picture = new_picture(10, 4.2)
    thetas = [row["theta"] for row in rows]
    left, right = picture.subplots(1, 2)
    fine = [step / 100 for step in range(-100, 101)]
    left.plot(fine, [abs(theta) for theta in fine], THEORY, label="earth mover: |theta|")
    left.plot(thetas, [row["em_under_penalty"] for row in rows], ":", color=CRITIC, label="with the penalty's bias")
    left.plot(thetas, [row["em_trained"] for row in rows], "o", color=CRITIC, label="WGAN-GP critic")
    left.set(title="earth-mover distance", xlabel="theta", ylim=(-0.05, 1.15))
    apart = [theta for theta in fine if theta]
    for side in ([theta for theta in apart if theta < 0], [theta for theta in apart if theta > 0]):
        right.plot(side, [math.log(2)] * len(side), THEORY, label="JS: log 2, and 0 at 0" if side[0] < 0 else None)
    right.plot([0], [0], "s", color=THEORY, markersize=9, fillstyle="none")
    right.plot(thetas, [row["js_trained"] for row in rows], "o", color=CRITIC, label="discriminator: log 2 - loss / 2")
    right.set(title="Jensen-Shannon divergence", xlabel="theta", ylim=(-0.05, 0.8))
    left.legend(loc="upper center")
    right.legend(loc="center")
    return picture
