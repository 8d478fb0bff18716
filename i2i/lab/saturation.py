"""A discriminator and two critics between two Gaussians (Arjovsky et al. 2017, arXiv:1701.07875, figure 2).

The data is N(-3, 1), and the fixed generator's points are N(3, 1). A discriminator trained to its optimum is
D*(x) = p_r / (p_r + p_g) = sigmoid(-6 x), in closed form. At generated points D is almost 0, and so is the gradient of
the minimax loss log(1 - D(x)), which would move a generator: D*(x) times the slope 6 of the logit. A critic's gradient
is its slope, of about the same size everywhere. The non-saturating loss -log D also has a gradient, (1 - D(x)) times 6;
the figure shows it too.
Differs from the paper's figure: the paper gives no numbers, so the Gaussians, networks and learning rates are ours, and
a critic with the gradient penalty (Gulrajani et al. 2017) is added to the clipped one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from i2i.batch import DataSpec
from i2i.lab.critic import train_critic
from i2i.lab.drawing import CRITIC, DATA, GENERATED, THEORY, new_figure
from i2i.lab.findings import Findings
from i2i.lab.nash import density
from i2i.lab.play import Floats, as_images
from i2i.losses.adversarial import Objective
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL_MEAN, FAKE_MEAN, STD = -3.0, 3.0, 1.0
SLOPE = (REAL_MEAN - FAKE_MEAN) / STD**2
"""The slope of the optimal discriminator's logit."""
LINE = np.linspace(-6, 6, 241, dtype=np.float32)
CLIP, PENALTY = 0.1, 10.0
"""With the paper's limit of 0.01 these small networks have slopes of about 0.001, with the same shape."""
MEASURED = 20_000
CLIPPED = "tab:orange"


@dataclass(frozen=True)
class Judge:
    """A trained discriminator's logit or critic's value along ``LINE``, its slope there, and at generated points.

    Attributes:
        values: values along ``LINE``.
        slopes: their derivatives.
        at_generated: values and slopes at ``MEASURED`` generated points.
    """

    values: Floats
    slopes: Floats
    at_generated: tuple[Floats, Floats]


def saturation(seed: int, *, steps: int = 1500) -> Findings:
    """Trains the discriminator and both critics to their optimum.

    Args:
        seed: seed of all random draws.
        steps: length of each training.
    """
    discriminator = trained(seed, "minimax", steps)
    clipped = trained(seed, "wasserstein", steps, clip=CLIP)
    penalised = trained(seed, "wasserstein", steps, penalty=PENALTY)
    sizes = {
        "minimax": _mean(minimax_gradient(*discriminator.at_generated)),
        "non_saturating": _mean(non_saturating_gradient(*discriminator.at_generated)),
        "clipped_critic": _mean(clipped.at_generated[1]),
        "penalised_critic": _mean(penalised.at_generated[1]),
    }
    medians = {
        "trained": float(np.median(np.abs(minimax_gradient(*discriminator.at_generated)))),
        "best_discriminator": abs(float(best_gradient(np.array([FAKE_MEAN], np.float32))[0])),
    }
    slopes = {
        name: {"smallest": float(between.min()), "largest": float(between.max())}
        for name, judge in (("clipped_critic", clipped), ("penalised_critic", penalised))
        for between in [np.abs(judge.slopes[np.abs(LINE) <= FAKE_MEAN])]
    }
    metrics = {
        "mean_gradient_at_generated_points": sizes,
        "median_gradient_of_minimax": medians,
        "mean_d_at_generated_points": float(sigmoid(discriminator.at_generated[0]).mean()),
        "slope_between": slopes,
    }
    lines = [
        f"minimax loss: the median generated point sees a gradient of {medians['trained']:.1e} from the trained "
        f"discriminator (the optimal one: {medians['best_discriminator']:.1e}); non-saturating loss: "
        f"{sizes['non_saturating']:.2f} in the mean",
        *(
            f"{name}: a slope of {slopes[key]['smallest']:.2f} to {slopes[key]['largest']:.2f} from one mean to the "
            f"other, {sizes[key]:.2f} in the mean at generated points"
            for name, key in (
                (f"critic clipped at {CLIP:g}", "clipped_critic"),
                ("critic under the gradient penalty", "penalised_critic"),
            )
        ),
    ]
    return Findings(_figure(discriminator, clipped, penalised), metrics, lines)


def trained(seed: int, objective: Objective, steps: int, *, clip: float = 0.0, penalty: float = 0.0) -> Judge:
    """A perceptron trained to distinguish the Gaussians."""
    torch.manual_seed(derive_seed(seed, "saturation"))
    network = MLPDiscriminator(DataSpec(1, 1, 1), width=64, depth=2, activation="relu")

    def draw(count: int = 512) -> tuple[Tensor, Tensor]:
        shape = (count, 1, 1, 1)
        return REAL_MEAN + STD * torch.randn(shape), FAKE_MEAN + STD * torch.randn(shape)

    label = "clipped critic" if clip else "critic under the penalty" if penalty else "discriminator"
    optimizer = Adam(network.parameters(), lr=5e-3, betas=(0.5, 0.9))
    train_critic(network, draw, objective, optimizer, steps=steps, clip=clip, penalty=penalty, label=label)
    return Judge(*_values_and_slopes(network, as_images(LINE[:, None])), _values_and_slopes(network, draw(MEASURED)[1]))


def sigmoid(logit: Floats) -> Floats:
    """D, from its logit."""
    values: Floats = torch.from_numpy(logit).sigmoid().numpy()
    return values


def minimax_gradient(logit: Floats, slope: Floats) -> Floats:
    """d/dx log(1 - D(x)) for a logit with this slope."""
    return -sigmoid(logit) * slope


def non_saturating_gradient(logit: Floats, slope: Floats) -> Floats:
    """d/dx -log D(x) for a logit with this slope."""
    return -sigmoid(-logit) * slope


def best_gradient(x: Floats) -> Floats:
    """d/dx log(1 - D*(x)) of the optimal discriminator."""
    return minimax_gradient(SLOPE * x, np.full_like(x, SLOPE))


def _values_and_slopes(network: MLPDiscriminator, x: Tensor) -> tuple[Floats, Floats]:
    x = x.requires_grad_()
    values = network(x)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    return values.detach().flatten().numpy(), slopes.flatten().numpy()


def _mean(gradients: Floats) -> float:
    return float(np.abs(gradients).mean())


def _figure(discriminator: Judge, clipped: Judge, penalised: Judge) -> Figure:
    figure = new_figure(13, 8)
    axes = figure.subplot_mosaic([["d", "f"], ["gradients", "gradients"]])
    left, right, below = axes["d"], axes["f"], axes["gradients"]
    left.plot(LINE, sigmoid(SLOPE * LINE), THEORY, linewidth=3, label="D* = p_r / (p_r + p_g)")
    left.plot(LINE, sigmoid(discriminator.values), CRITIC, linestyle="--", label="D, trained")
    left.set(title="discriminator", xlabel="x", ylim=(-0.05, 1.1))
    right.plot(LINE, penalised.values - penalised.values.mean(), CRITIC, label="f, gradient penalty")
    right.plot(LINE, clipped.values - clipped.values.mean(), CLIPPED, label=f"f, clipped at {CLIP:g}")
    right.set(title="critics, less their mean", xlabel="x")
    _draw_densities(left, 1.0)
    _draw_densities(right, 4.0)
    _draw_gradients(below, discriminator, clipped, penalised)
    left.legend(loc="upper right")
    right.legend(loc="lower left")
    return figure


def _draw_gradients(axes: Axes, discriminator: Judge, clipped: Judge, penalised: Judge) -> None:
    minimax = minimax_gradient(discriminator.values, discriminator.slopes)
    non_saturating = non_saturating_gradient(discriminator.values, discriminator.slopes)
    curves = (
        (np.abs(best_gradient(LINE)), THEORY, "-", "minimax, D*: |d/dx log(1 - D)|"),
        (np.abs(minimax), CRITIC, "--", "minimax, D trained"),
        (np.abs(non_saturating), "tab:purple", "--", "non-saturating, D trained: |d/dx log D|"),
        (np.abs(penalised.slopes), CRITIC, "-", "critic, gradient penalty: |df/dx|"),
        (np.abs(clipped.slopes), CLIPPED, "-", f"critic, clipped at {CLIP:g}: |df/dx|"),
    )
    for values, colour, style, label in curves:
        axes.plot(LINE, values, color=colour, linestyle=style, label=label)
    axes.axvspan(FAKE_MEAN - 2 * STD, FAKE_MEAN + 2 * STD, color=GENERATED, alpha=0.1, label="generated points, 2 std")
    axes.set(title="what a generator is told at x: the size of the gradient", xlabel="x", yscale="log")
    axes.set(ylim=(1e-12, 1e5))
    axes.legend(loc="upper left", ncols=3)


def _draw_densities(axes: Axes, scale: float) -> None:
    for mean, colour, label in ((REAL_MEAN, DATA, "data p_r"), (FAKE_MEAN, GENERATED, "generated p_g")):
        axes.fill_between(LINE, 0, scale * density(LINE, mean, STD), color=colour, alpha=0.3, label=label)
