"""Two theorems about the first GAN, on a line (Goodfellow et al. 2014, arXiv:1406.2661).

Proposition 1: for a fixed generator the optimal discriminator is D* = p_r / (p_r + p_g). A discriminator is trained to
its optimum and compared with D*. Theorem 1: the minimax game has its optimum where p_g = p_r; there D = 1/2 and the
value V(G, D) = E log D(x) + E log(1 - D(G(z))) is -log 4. The recipe ``gan`` plays that game for one Gaussian, and V is
estimated on sampled points. V alone proves nothing (D = 1/2 everywhere gives the same V), so the mean and standard
deviation of the generated points are reported too. The upper row of the figure is the paper's figure 1, from training.
Differs from the paper's algorithm 1: Adam instead of momentum, k = 1, and learning rates that fall to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from i2i.batch import DataSpec
from i2i.data.points import LINE_MEAN, LINE_STD, sample_points
from i2i.display import counted
from i2i.lab.critic import train_critic
from i2i.lab.drawing import CRITIC, DATA, GENERATED, THEORY, new_figure
from i2i.lab.findings import Findings
from i2i.lab.play import Floats, as_images, samples, train_with_snapshots
from i2i.losses.adversarial import discriminator_loss
from i2i.methods.generative import GenerativeMethod
from i2i.networks.base import Discriminator
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed, numpy_rng

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIXED_MEAN, FIXED_STD = 1.8, 0.9
"""The fixed generator is this Gaussian, so that its density is known."""
FRACTIONS = tuple(n / 100 for n in range(101))
"""When the value of the game is estimated, as fractions of the run."""
SHOWN = (0, 2, 5, 10, 20, 100)
"""Which of these are plotted in full, as in the paper's figure 1."""
DRAWN = 20_000
LINE = np.linspace(-1, 6, 281, dtype=np.float32)
LATENTS = np.linspace(-2, 2, 17, dtype=np.float32)
MASS = 0.02
"""Points where (p_r + p_g) / 2 is at least this count as having mass."""
OPTIMUM = -math.log(4)

RECIPE: dict[str, Any] = {
    "method.latent": 1,
    "method.objective": "minimax",
    "networks.generator": {"name": "mlp", "width": 32, "depth": 2, "activation": "tanh", "output": "linear"},
    "networks.discriminator": {"name": "mlp", "width": 64, "depth": 2, "activation": "tanh", "dropout": 0.0},
    # The discriminator must stay near its optimum; with momentum, both circle around the equilibrium.
    "optimizers.generator": {"lr": 5e-4, "betas": [0.0, 0.9]},
    "optimizers.discriminator": {"lr": 5e-3, "betas": [0.0, 0.9]},
    "training.batch_size": 512,
    "training.schedule.constant": 0.2,
}


@dataclass(frozen=True)
class Moment:
    """The game after ``step`` steps.

    Attributes:
        step: number of completed steps.
        generated: generated points, (DRAWN,).
        mapped: G at ``LATENTS``.
        discriminator: D along ``LINE``.
        on_data: mean D on data.
        on_generated: mean D on generated points.
        value: V(G, D), in nats.
    """

    step: int
    generated: Floats
    mapped: Floats
    discriminator: Floats
    on_data: float
    on_generated: float
    value: float

    def summary(self) -> dict[str, float]:
        """The metrics of this moment."""
        return {
            "step": self.step,
            "value": self.value,
            "discriminator_on_data": self.on_data,
            "discriminator_on_generated": self.on_generated,
            "generated_mean": float(self.generated.mean()),
            "generated_std": float(self.generated.std()),
        }


def nash(seed: int, *, steps: int = 3000, critic_steps: int = 2000) -> Findings:
    """Plays the game to its end, and trains a discriminator against a fixed generator.

    Args:
        seed: seed of all random draws.
        steps: number of steps of the game.
        critic_steps: number of steps of the discriminator against the fixed generator.
    """
    draw = partial(sample_points, "line1d")
    game = train_with_snapshots("gan", RECIPE, draw=draw, steps=steps, fractions=FRACTIONS, seed=seed, label="the game")
    moments = [observe(method, step, seed) for step, method in game]
    shown = [moments[round(n / 100 * (len(moments) - 1))] for n in SHOWN]
    learnt = best_discriminator(seed, critic_steps)
    difference = np.abs(learnt - closed_form(LINE))[where_mass_is(LINE)]
    end, largest, mean = moments[-1].summary(), float(difference.max()), float(difference.mean())
    metrics = {
        "data": {"mean": LINE_MEAN, "std": LINE_STD},
        "end": end | {"value_minus_optimum": end["value"] - OPTIMUM},
        "moments": [moment.summary() for moment in shown],
        "value_by_step": [[moment.step, moment.value] for moment in moments],
        "fixed_generator": {"largest_difference": largest, "mean_difference": mean},
    }
    lines = [
        f"the minimax game, {counted(steps, 'step')}: V(G, D) = {end['value']:.4f} (theorem 1: -log 4 = {OPTIMUM:.4f})",
        f"mean D {end['discriminator_on_data']:.3f} on data and {end['discriminator_on_generated']:.3f} on generated "
        "points (theorem 1: 0.5)",
        f"generated mean {end['generated_mean']:.3f} and std {end['generated_std']:.3f} "
        f"(data: {LINE_MEAN:g} and {LINE_STD:g})",
        f"a fixed generator: D differs from p_r / (p_r + p_g) by {mean:.4f} in the mean and {largest:.4f} at most",
    ]
    return Findings(_figure(moments, shown, learnt), metrics, lines)


def closed_form(x: Floats) -> Floats:
    """D* = p_r / (p_r + p_g) of the data and the fixed generator (proposition 1)."""
    real, fake = density(x, LINE_MEAN, LINE_STD), density(x, FIXED_MEAN, FIXED_STD)
    return real / (real + fake)


def density(x: Floats, mean: float, std: float) -> Floats:
    """The density of N(mean, std^2)."""
    values: Floats = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return values


def where_mass_is(x: Floats) -> NDArray[np.bool_]:
    """Where there are enough points to learn D*."""
    mixture = (density(x, LINE_MEAN, LINE_STD) + density(x, FIXED_MEAN, FIXED_STD)) / 2
    found: NDArray[np.bool_] = mixture >= MASS
    return found


def best_discriminator(seed: int, steps: int, batch_size: int = 2048) -> Floats:
    """D along ``LINE``, trained against the fixed generator."""
    torch.manual_seed(derive_seed(seed, "fixed generator"))
    discriminator = MLPDiscriminator(DataSpec(1, 1, 1), width=64, depth=2, activation="tanh")
    shape = (batch_size, 1, 1, 1)

    def draw() -> tuple[Tensor, Tensor]:
        return LINE_MEAN + LINE_STD * torch.randn(shape), FIXED_MEAN + FIXED_STD * torch.randn(shape)

    optimizer = Adam(discriminator.parameters(), lr=1e-2)
    train_critic(discriminator, draw, "minimax", optimizer, steps=steps, label="a fixed generator")
    return _scores(discriminator, LINE).sigmoid().numpy()


def value_of_the_game(real: Tensor, fake: Tensor) -> float:
    """V(G, D) in nats, from D's logits on data and on generated points (equation 1): minus D's own loss."""
    return -discriminator_loss(real, fake, "minimax").item()


@torch.no_grad()
def observe(method: GenerativeMethod, step: int, seed: int) -> Moment:
    """Evaluates the game on ``DRAWN`` points of each kind, with the same data and latents every time."""
    generated: Floats = samples(method, DRAWN, seed)[:, 0].numpy()
    data = sample_points("line1d", DRAWN, numpy_rng(seed, "nash"))[:, 0]
    real, fake = (_scores(method.discriminator, x) for x in (data, generated))
    return Moment(
        step,
        generated,
        method.generate(torch.from_numpy(LATENTS)[:, None]).flatten().numpy(),
        _scores(method.discriminator, LINE).sigmoid().numpy(),
        real.sigmoid().mean().item(),
        fake.sigmoid().mean().item(),
        value_of_the_game(real, fake),
    )


@torch.no_grad()
def _scores(discriminator: Discriminator, x: Floats) -> Tensor:
    scores: Tensor = discriminator(as_images(x[:, None]))
    return scores


def _figure(moments: list[Moment], shown: list[Moment], learnt: Floats) -> Figure:
    figure = new_figure(13, 7)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1))
    above, below = halves
    for axes, moment in zip(above.subplots(1, len(shown), sharey=True), shown, strict=True):
        _draw_moment(axes, moment)
    above.suptitle("the minimax game: D falls to 1/2 where p_g = p_r (below each: latents z, and x = G(z))")
    left, right = below.subplots(1, 2)
    left.axhline(OPTIMUM, color=THEORY, linestyle=":", label="-log 4 (theorem 1)")
    left.plot([moment.step for moment in moments], [moment.value for moment in moments], CRITIC, label="V(G, D)")
    left.set(title="the value of the game", xlabel="step", ylabel="nats", ylim=(-1.8, -0.6))
    left.legend(loc="upper right")
    right.fill_between(LINE, 0, 1, where=where_mass_is(LINE).tolist(), color="0.93", label="where there is mass")
    right.plot(LINE, density(LINE, LINE_MEAN, LINE_STD), DATA, label="data p_r")
    right.plot(LINE, density(LINE, FIXED_MEAN, FIXED_STD), GENERATED, label="fixed generator p_g")
    right.plot(LINE, closed_form(LINE), THEORY, linewidth=3, label="p_r / (p_r + p_g)")
    right.plot(LINE, learnt, CRITIC, linestyle="--", label="D, trained")
    right.set(title="best discriminator of a fixed generator", xlabel="x", xlim=(-1, 6), ylim=(0, 1.05))
    right.legend(loc="upper left", fontsize="small")
    return figure


def _draw_moment(axes: Axes, moment: Moment) -> None:
    axes.plot(LINE, density(LINE, LINE_MEAN, LINE_STD), DATA, label="data")
    edges = np.linspace(LINE[0], LINE[-1], 71)
    axes.hist(moment.generated, edges.tolist(), density=True, color=GENERATED, alpha=0.5, label="generated")
    axes.plot(LINE, moment.discriminator, CRITIC, linestyle="--", label="D")
    axes.axhline(0.5, color="0.6", linewidth=0.8)
    top, bottom = -0.08, -0.5
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.axhline(bottom, color="0.3", linewidth=0.8)
    for z, x in zip(LATENTS, moment.mapped, strict=True):
        axes.plot([2.5 + 1.5 * z, x], [bottom, top], "0.6", linewidth=0.7)
    axes.set(title=f"step {moment.step:,}: V = {moment.value:.3f}", xlim=(LINE[0], LINE[-1]), ylim=(-0.55, 1.5))
    axes.set_yticks([0, 0.5, 1, 1.5])
    if moment.step == 0:
        axes.legend(loc="upper right", fontsize="small")
