"""Why WGAN uses a distance, not a divergence: two distributions move apart (Arjovsky et al. 2017, section 2).

Paper: arXiv:1701.07875. Parallel lines, the paper's example 1: P_0 is uniform on the segment x = 0, P_theta on x =
theta. For every theta but 0 their supports are disjoint: KL is infinite, Jensen-Shannon log 2 and total variation 1,
however far they are apart; the earth mover's distance is |theta|. Two Gaussians, N(0, 1) and N(mu, 1), whose supports
are the same: KL grows as mu^2 / 2, Jensen-Shannon (an integral without closed form) and total variation flatten towards
log 2 and 1, and the earth mover's distance is mu. Here JS(P, Q) = KL(P, M) / 2 + KL(Q, M) / 2 with M = (P + Q) / 2, as
in Goodfellow et al. 2014; the paper writes it without the halves. KL and JS are in nats; total variation is the largest
difference of the probabilities of any event.

On the lines, the closed forms are compared with trained critics. A discriminator's smallest loss L gives
JS = log 2 - L / 2 (Goodfellow et al. 2014, theorem 1). A critic with the gradient penalty gives the distance times its
slope, which the penalty with weight lambda keeps near 1: its optimum is at slope 1 + |theta| / (2 lambda), so it
overestimates the distance by that factor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from i2i.batch import DataSpec
from i2i.display import tracked
from i2i.lab.critic import train_critic
from i2i.lab.drawing import CRITIC, DATA, GENERATED, THEORY, new_figure
from i2i.lab.findings import Findings
from i2i.losses.adversarial import discriminator_loss
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THETAS = (-1.0, -0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
MUS = tuple(step / 4 for step in range(33))
PENALTY = 10.0
"""Lambda, as in WGAN-GP."""
MEASURED = 20_000
INFINITE = "infinite"
"""An infinite divergence in the JSON file, which has finite numbers only."""


def divergences(seed: int, *, steps: int = 250) -> Findings:
    """Trains both critics at every distance of the lines; the Gaussians need no training.

    Args:
        seed: seed of all random draws.
        steps: length of each training.
    """
    rows = _lines_apart(seed, steps)
    kl = [kullback_leibler(theta) for theta in THETAS]
    distances: list[dict[str, float | str]] = [
        {**row, "kl": INFINITE if math.isinf(value) else value} for row, value in zip(rows, kl, strict=True)
    ]
    gaussians = [
        {"mu": mu, "kl": gaussian_kl(mu), "js": gaussian_js(mu), "tv": gaussian_tv(mu), "em": abs(mu)} for mu in MUS
    ]
    js_off, em_off = (max(abs(row[f"{name}_trained"] - row[name]) for row in rows) for name in ("js", "em"))
    biased_off = max(abs(row["em_trained"] - row["em_under_penalty"]) for row in rows)
    metrics = {
        "distances": distances,
        "largest_difference": {"js": js_off, "em": em_off, "em_under_penalty": biased_off},
        "gaussians": gaussians,
    }
    js, middle, end = [row["js_trained"] for row in rows if row["theta"]], gaussians[16], gaussians[-1]
    lines = [
        "parallel lines, at every distance but 0: KL is infinite, total variation 1, "
        f"JS log 2 = {math.log(2):.4f}; discriminators find a JS of {min(js):.4f} to {max(js):.4f}, "
        f"and {next(row['js_trained'] for row in rows if not row['theta']):.4f} at 0",
        f"earth mover is the distance; critics under a gradient penalty differ from it by {em_off:.4f} at most, "
        f"and from their closed form with the penalty's bias by {biased_off:.4f}",
        f"N(0, 1) and N(mu, 1), from mu = {middle['mu']:g} to {end['mu']:g}: KL {middle['kl']:g} to {end['kl']:g}, "
        f"JS {middle['js']:.4f} to {end['js']:.4f}, total variation {middle['tv']:.4f} to {end['tv']:.4f}, "
        f"earth mover {middle['em']:g} to {end['em']:g}",
    ]
    return Findings(_figure(rows, gaussians), metrics, lines)


def _lines_apart(seed: int, steps: int) -> list[dict[str, float]]:
    """The finite values for the lines at every distance, in closed form and from trained critics."""
    rows = []
    for theta in tracked("divergences", len(THETAS))(THETAS):
        torch.manual_seed(derive_seed(seed, "divergences", str(theta)))
        rows.append(
            {
                "theta": theta,
                "tv": total_variation(theta),
                "js": jensen_shannon(theta),
                "js_trained": trained_jensen_shannon(theta, steps),
                "em": earth_mover(theta),
                "em_trained": trained_earth_mover(theta, steps),
                "em_under_penalty": earth_mover(theta) * (1 + abs(theta) / (2 * PENALTY)),
            }
        )
    return rows


def kullback_leibler(theta: float) -> float:
    """KL(P_0, P_theta) of the lines: infinite where the supports are disjoint, so also KL(P_theta, P_0)."""
    return math.inf if theta else 0.0


def total_variation(theta: float) -> float:
    """TV(P_0, P_theta) of the lines."""
    return 1.0 if theta else 0.0


def jensen_shannon(theta: float) -> float:
    """JS(P_0, P_theta) of the lines."""
    return math.log(2) if theta else 0.0


def earth_mover(theta: float) -> float:
    """W(P_0, P_theta) of the lines."""
    return abs(theta)


def gaussian_kl(mu: float) -> float:
    """KL(N(0, 1), N(mu, 1)), which is symmetric."""
    return mu**2 / 2


def gaussian_tv(mu: float) -> float:
    """TV(N(0, 1), N(mu, 1)): the densities cross at mu / 2, so 2 Phi(|mu| / 2) - 1."""
    return math.erf(abs(mu) / (2 * math.sqrt(2)))


def gaussian_js(mu: float) -> float:
    """JS(N(0, 1), N(mu, 1)), by the trapezoidal rule on a grid that covers all the mass.

    The densities' log ratio is mu (x - mu / 2), so log(p / m) = log 2 - log(1 + q / p) needs no quotient of densities.
    """
    mu = abs(mu)
    x = np.linspace(-10, mu + 10, 4001)
    p = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    ratio = mu * (x - mu / 2)  # log q - log p
    # By symmetry both halves of JS are equal.
    return float(np.trapezoid(p * (math.log(2) - np.logaddexp(0, ratio)), x))


def trained_jensen_shannon(theta: float, steps: int) -> float:
    """JS computed from a trained discriminator's loss on new points."""
    discriminator = _critic()
    train_critic(
        discriminator,
        lambda: (line(0.0, 256), line(theta, 256)),
        "minimax",
        Adam(discriminator.parameters(), lr=1e-2),
        steps=steps,
    )
    with torch.no_grad():
        real, fake = discriminator(line(0.0, MEASURED)), discriminator(line(theta, MEASURED))
    return math.log(2) - discriminator_loss(real, fake, "minimax").item() / 2


def trained_earth_mover(theta: float, steps: int) -> float:
    """W estimated by a critic with the gradient penalty, on new points."""
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


def _figure(rows: list[dict[str, float]], gaussians: list[dict[str, float]]) -> Figure:
    figure = new_figure(13, 8)
    (em, js), (flat, growing) = figure.subplots(2, 2)
    thetas, fine = [row["theta"] for row in rows], [step / 100 for step in range(-100, 101)]
    em.plot(fine, [earth_mover(theta) for theta in fine], color=THEORY, label="earth mover: |theta|")
    em.plot(thetas, [row["em_under_penalty"] for row in rows], ":", color=CRITIC, label="with the penalty's bias")
    em.plot(thetas, [row["em_trained"] for row in rows], "o", color=CRITIC, label="WGAN-GP critic")
    em.set(title="parallel lines: earth mover", xlabel="theta", ylim=(-0.05, 1.15))
    _step_at_zero(js, 1.0, DATA, "total variation: 1")
    _step_at_zero(js, math.log(2), THEORY, "JS: log 2")
    js.plot(0, 0, "s", color=THEORY, markersize=9, fillstyle="none", label="at 0, all are 0")
    js.plot(thetas, [row["js_trained"] for row in rows], "o", color=CRITIC, label="discriminator: log 2 - loss / 2")
    js.annotate("KL: infinite at every theta but 0", (0.5, 0.95), xycoords="axes fraction", ha="center", va="top")
    js.set(title="parallel lines: divergences", xlabel="theta", ylim=(-0.05, 1.25))
    mus = [row["mu"] for row in gaussians]
    for axes, top in ((flat, 1.6), (growing, 33)):
        axes.plot(mus, [row["kl"] for row in gaussians], color=GENERATED, label="KL: mu^2 / 2")
        axes.plot(mus, [row["em"] for row in gaussians], color=CRITIC, label="earth mover: mu")
        axes.plot(mus, [row["tv"] for row in gaussians], color=DATA, label="total variation, to 1")
        axes.plot(mus, [row["js"] for row in gaussians], color=THEORY, label="JS, to log 2")
        axes.set(xlabel="mu", ylim=(-0.03 * top, top), xlim=(0, mus[-1]))
    growing.set(title="N(0, 1) and N(mu, 1), the whole range")
    flat.set(title="N(0, 1) and N(mu, 1), what flattens")
    for axes, place in ((em, "upper center"), (js, (0.6, 0.12)), (flat, (0.7, 0.12)), (growing, "upper left")):
        axes.legend(loc=place, fontsize="small")
    return figure


def _step_at_zero(axes: Axes, height: float, colour: str, label: str) -> None:
    axes.plot([-1, -0.01], [height, height], color=colour, label=label)
    axes.plot([0.01, 1], [height, height], color=colour)
