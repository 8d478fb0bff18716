"""The value surfaces of critics on three toy sets (Gulrajani et al. 2017, arXiv:1704.00028, figure 1a).

As in section 3.1, critics are trained against a fixed generator, the data plus unit Gaussian noise, with weights
clipped at 0.01 or with a gradient penalty of weight 10. The paper finds that with clipping they ignore higher moments
of the data and learn simple approximations of the optimal functions. The distance that f has found measures this: E
f(data) - E f(generated), divided by the largest slope of f on these points; among all f of slope at most 1, the best
finds the earth mover's distance. Differs from the paper's released toy code: three layers of 128 units (512 there), and
learning rates 20 times its 5e-5 (RMSprop, clipping) and 1e-4 (Adam, penalty), falling to zero, for 600 and 3,000 steps;
with the penalty, this stops short of the optimum on the 25 Gaussians and the Swiss roll. As there, the batch size is
256, and each generated point is a real one of the same batch plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer, RMSprop

from i2i.batch import DataSpec
from i2i.lab.critic import train_critic
from i2i.lab.drawing import DATA, new_figure
from i2i.lab.findings import Findings
from i2i.lab.play import Draw, Floats, as_images
from i2i.lab.toys import TOYS
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed, numpy_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIP, PENALTY, BATCH, MEASURED = 0.01, 10.0, 256, 2000
CLIPPED_STEPS, PENALISED_STEPS = 600, 3000
REACH, GRID = 2.0, 101
"""The surface is plotted on [-2, 2]^2, with this many points per side."""


@dataclass(frozen=True)
class Surface:
    """A critic's values on the grid, (GRID, GRID), and the distance that it has found."""

    values: Floats
    gap: float
    largest_slope: float

    def summary(self) -> dict[str, float]:
        """The metrics of this critic."""
        return {
            "gap": self.gap,
            "largest_slope": self.largest_slope,
            "distance_found": self.gap / max(self.largest_slope, 1e-30),
        }


def surfaces(seed: int, *, shorter: int = 1) -> Findings:
    """Trains a critic of each kind on each set.

    Args:
        seed: seed of all random draws.
        shorter: divides the length of every run.
    """
    found = {
        name: {
            "weight clipping": trained(seed, name, draw, CLIPPED_STEPS // shorter, clip=CLIP),
            "gradient penalty": trained(seed, name, draw, PENALISED_STEPS // shorter, penalty=PENALTY),
        }
        for name, draw in TOYS.items()
    }
    metrics = {name: {kind: surface.summary() for kind, surface in pair.items()} for name, pair in found.items()}
    lines = [
        f"{name}: E f(data) - E f(generated) at slope 1 at most is "
        + " and ".join(f"{summary['distance_found']:.3f} under {kind}" for kind, summary in pair.items())
        for name, pair in metrics.items()
    ]
    return Findings(_figure(found, seed), {"surfaces": metrics}, lines)


def trained(seed: int, name: str, draw: Draw, steps: int, *, clip: float = 0.0, penalty: float = 0.0) -> Surface:
    """A critic of the set ``name``, trained with weight clipping or with the gradient penalty."""
    torch.manual_seed(derive_seed(seed, "surfaces", name))
    random = numpy_rng(seed, "surfaces", name)
    critic = MLPDiscriminator(DataSpec(1, 2, 2), width=128, depth=3, activation="relu")

    def pair(count: int = BATCH) -> tuple[Tensor, Tensor]:
        real = as_images(draw(count, random))
        return real, real + torch.randn_like(real)

    optimizer: Optimizer
    if clip:
        optimizer = RMSprop(critic.parameters(), lr=1e-3)
    else:
        optimizer = Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    label = f"{name}, {'clipping' if clip else 'penalty'}"
    train_critic(critic, pair, "wasserstein", optimizer, steps=steps, clip=clip, penalty=penalty, label=label)
    real, fake = pair(MEASURED)
    points = torch.cat([real, fake]).requires_grad_()
    scores = critic(points)
    (slopes,) = torch.autograd.grad(scores.sum(), points)
    gap = scores[:MEASURED].mean() - scores[MEASURED:].mean()
    return Surface(_on_grid(critic), gap.item(), slopes.flatten(1).norm(dim=1).max().item())


@torch.no_grad()
def _on_grid(critic: MLPDiscriminator) -> Floats:
    side = np.linspace(-REACH, REACH, GRID, dtype=np.float32)
    points = np.stack(np.meshgrid(side, side), 2).reshape(-1, 2)
    values: Floats = critic(as_images(points)).numpy().reshape(GRID, GRID)
    return values


def _figure(found: dict[str, dict[str, Surface]], seed: int) -> Figure:
    figure = new_figure(11, 7)
    side = np.linspace(-REACH, REACH, GRID)
    for column, (name, pair) in zip(figure.subplots(2, len(found)).T, found.items(), strict=True):
        points = TOYS[name](1000, numpy_rng(seed, "surfaces", "shown"))
        for axes, (kind, surface) in zip(column, pair.items(), strict=True):
            contours = axes.contour(side, side, surface.values, 14, cmap="cividis", linewidths=1)
            figure.colorbar(contours, ax=axes, format="%.2g", shrink=0.75)
            axes.plot(*points.T, ".", color=DATA, markersize=1.5, alpha=0.5)
            axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
            axes.set_title(f"{name}, {kind}\ndistance found: {surface.summary()['distance_found']:.3f}", fontsize=10)
    figure.suptitle("values of critics; data in green; generated: data plus unit noise")
    return figure
