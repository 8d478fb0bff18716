"""Two theorems about the first GAN, on a line (Goodfellow et al. 2014, arXiv:1406.2661).

Proposition 1: for a fixed generator the best discriminator is D* = p_r / (p_r + p_g). A discriminator is trained to its
optimum and compared with this. Theorem 1: the game ends where p_g = p_r, and there D = 1/2. The recipe ``gan`` learns
one Gaussian; the picture is the paper's figure 1, drawn from training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from i2i.batch import DataSpec
from i2i.data.points import LINE_MEAN, LINE_STD, sample_points
from i2i.lab.critic import train_critic
from i2i.lab.drawing import CRITIC, DATA, GENERATED, THEORY, new_picture
from i2i.lab.findings import Findings
from i2i.lab.play import drawn, watched
from i2i.methods.generative import GenerativeMethod
from i2i.networks.base import Discriminator
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed, generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]

FIXED_MEAN, FIXED_STD = 1.8, 0.9
"""The generator that does not learn is this Gaussian, so that its density is known."""
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 1.0)
"""When the picture is taken, as shares of the game."""
DRAWN = 20_000
LINE = np.linspace(-1, 6, 281, dtype=np.float32)
MASS = 0.02
"""There is mass where (p_r + p_g) / 2 is at least this."""

RECIPE: dict[str, Any] = {
    "method.latent": 1,
    "networks.generator": {"name": "mlp", "width": 32, "depth": 2, "activation": "tanh", "output": "linear"},
    "networks.discriminator": {"name": "mlp", "width": 64, "depth": 2, "activation": "tanh", "dropout": 0.0},
    # The discriminator has to stay near its optimum. At a constant rate both circle their equilibrium.
    "optimizers.generator.lr": 1e-3,
    "optimizers.discriminator.lr": 2e-2,
    "training.batch_size": 512,
    "training.schedule.constant": 0.5,
}


@dataclass(frozen=True)
class Moment:
    """The game after ``step`` steps: generated points, and D along ``LINE`` and in the mean over both kinds."""

    step: int
    generated: Floats
    discriminator: Floats
    on_data: float
    on_generated: float

    def summary(self) -> dict[str, float]:
        """The figures of this moment."""
        return {
            "step": self.step,
            "discriminator_on_data": self.on_data,
            "discriminator_on_generated": self.on_generated,
            "generated_mean": float(self.generated.mean()),
            "generated_std": float(self.generated.std()),
        }


def nash(seed: int, *, steps: int = 3000, critic_steps: int = 2000) -> Findings:
    """Plays the game to its end, and trains a discriminator against a generator that does not learn.

    Args:
        seed: decides every draw.
        steps: length of the game.
        critic_steps: length of the other training.
    """
    game = watched("gan", RECIPE, points="line1d", steps=steps, shares=SHARES, seed=seed, label="the game")
    strip = [_observe(method, step, seed) for step, method in game]
    learnt = best_discriminator(seed, critic_steps)
    difference = np.abs(learnt - closed_form(LINE))[where_mass_is(LINE)]
    end, largest, mean = strip[-1].summary(), float(difference.max()), float(difference.mean())
    figures = {
        "data": {"mean": LINE_MEAN, "std": LINE_STD},
        "end": end,
        "moments": [moment.summary() for moment in strip],
        "fixed_generator": {"largest_difference": largest, "mean_difference": mean},
    }
    lines = [
        f"the game, {steps:,} steps: mean D {end['discriminator_on_data']:.3f} on data and "
        f"{end['discriminator_on_generated']:.3f} on generated points (theorem 1: 0.5)",
        f"generated mean {end['generated_mean']:.3f} and std {end['generated_std']:.3f} "
        f"(data: {LINE_MEAN:g} and {LINE_STD:g})",
        f"a fixed generator: D differs from p_r / (p_r + p_g) by {mean:.4f} in the mean and {largest:.4f} at most",
    ]
    return Findings(_picture(strip, learnt), figures, lines)


def closed_form(x: Floats) -> Floats:
    """D* = p_r / (p_r + p_g) of the data and the generator that does not learn (proposition 1)."""
    real, fake = density(x, LINE_MEAN, LINE_STD), density(x, FIXED_MEAN, FIXED_STD)
    return real / (real + fake)


def density(x: Floats, mean: float, std: float) -> Floats:
    """Of N(mean, std)."""
    values: Floats = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return values


def where_mass_is(x: Floats) -> NDArray[np.bool_]:
    """Where there are enough points to learn D* from."""
    mixture = (density(x, LINE_MEAN, LINE_STD) + density(x, FIXED_MEAN, FIXED_STD)) / 2
    found: NDArray[np.bool_] = mixture >= MASS
    return found


def best_discriminator(seed: int, steps: int, batch_size: int = 2048) -> Floats:
    """D along ``LINE``, trained against the generator that does not learn."""
    torch.manual_seed(derive_seed(seed, "fixed generator"))
    discriminator = MLPDiscriminator(DataSpec(1, 1, 1), width=64, depth=2, activation="tanh")
    shape = (batch_size, 1, 1, 1)

    def draw() -> tuple[Tensor, Tensor]:
        return LINE_MEAN + LINE_STD * torch.randn(shape), FIXED_MEAN + FIXED_STD * torch.randn(shape)

    optimizer = Adam(discriminator.parameters(), lr=1e-2)
    train_critic(discriminator, draw, "non_saturating", optimizer, steps=steps, label="a fixed generator")
    return _probability(discriminator, LINE)


def _observe(method: GenerativeMethod, step: int, seed: int) -> Moment:
    generated: Floats = drawn(method, DRAWN, seed)[:, 0].numpy()
    data = sample_points("line1d", DRAWN, generator(seed, "nash"))[:, 0]
    on_data, on_generated = (float(_probability(method.discriminator, x).mean()) for x in (data, generated))
    return Moment(step, generated, _probability(method.discriminator, LINE), on_data, on_generated)


@torch.no_grad()
def _probability(discriminator: Discriminator, x: Floats) -> Floats:
    values: Floats = discriminator(torch.from_numpy(x)[:, None, None, None]).sigmoid().numpy()
    return values


def _picture(strip: list[Moment], learnt: Floats) -> Figure:
    picture = new_picture(13, 6.4)
    halves: Any = picture.subfigures(2, 1, height_ratios=(1, 1))
    above, below = halves
    for axes, moment in zip(above.subplots(1, len(strip), sharey=True), strip, strict=True):
        _draw_moment(axes, moment)
    above.suptitle("the game of algorithm 1: D falls to 1/2 where p_g = p_r")
    axes = below.subplots()
    axes.fill_between(LINE, 0, 1, where=where_mass_is(LINE).tolist(), color="0.93", label="where there is mass")
    axes.plot(LINE, density(LINE, LINE_MEAN, LINE_STD), DATA, label="data p_r")
    axes.plot(LINE, density(LINE, FIXED_MEAN, FIXED_STD), GENERATED, label="fixed generator p_g")
    axes.plot(LINE, closed_form(LINE), THEORY, linewidth=3, label="p_r / (p_r + p_g)")
    axes.plot(LINE, learnt, CRITIC, linestyle="--", label="D, trained")
    axes.legend(loc="upper right")
    axes.set(title="a generator that does not learn: the best discriminator", xlim=(LINE[0], LINE[-1]), ylim=(0, 1.05))
    return picture


def _draw_moment(axes: Axes, moment: Moment) -> None:
    axes.plot(LINE, density(LINE, LINE_MEAN, LINE_STD), DATA, label="data")
    edges = np.linspace(LINE[0], LINE[-1], 71)
    axes.hist(moment.generated, edges.tolist(), density=True, color=GENERATED, alpha=0.5, label="generated")
    axes.plot(LINE, moment.discriminator, CRITIC, linestyle="--", label="D")
    axes.axhline(0.5, color="0.6", linewidth=0.8)
    axes.set(title=f"step {moment.step:,}", xlim=(LINE[0], LINE[-1]), ylim=(0, 1.5))
    if moment.step == 0:
        axes.legend(loc="upper left", fontsize="small")
