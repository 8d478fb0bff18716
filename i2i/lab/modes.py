"""Which methods cover eight Gaussians on a ring (Metz et al. 2017, arXiv:1611.02163, section 3.1 and figure 2).

What differs between the rows:

- GAN and unrolled GAN are the recipe ``unrolled`` and differ only in ``method.unrolled_steps``, 0 and 5: they have the
  same loss (the minimax value), networks, learning rates, initial weights, batches and latents.
- The non-saturating GAN has the generator loss -log D(G(z)) instead of log(1 - D(G(z))); otherwise it is the GAN.
- WGAN-GP (Gulrajani et al. 2017) has the same networks, with the penalty weight of 0.1, five critic steps and Adam's
  betas (0.5, 0.9) of its released toy code; the paper has weight 10 everywhere. Its learning rate is 2e-3 (1e-4 in that
  code), for 1,000 generator steps (100,000); that code also has 3 x 512 units, batches of 256, and the points divided
  by 1.414.

Differs from Metz et al.: the settings below, and plain unrolled steps (see ``methods/unrolled.py``).
Measured as in VEEGAN (Srivastava et al. 2017, section 4.1), on 2,500 generated points: a point is good within three
standard deviations of its nearest centre. VEEGAN counts a mode as covered from one good point; here it takes
20, about 6 % of a mode's equal part, so that a stray point does not count. Training is chaotic: with other rounding, on
another machine, the same seed gives another result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2i.data.points import RING_MODES, RING_STD, ring_centres, sample_points
from i2i.display import counted
from i2i.lab.drawing import DATA, GENERATED, new_figure
from i2i.lab.findings import Findings
from i2i.lab.play import Floats, samples, train_with_snapshots
from i2i.seeding import numpy_rng

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN, GOOD, COVERED = 2500, 3 * RING_STD, 20
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""When points are generated, as fractions of the run."""

SETTINGS: dict[str, Any] = {
    "networks.generator.init_gain": 1.0,
    "networks.discriminator.init_gain": 1.0,
    "networks.discriminator.depth": 2,
    "networks.discriminator.input_scale": 1.0,
    "optimizers.generator.lr": 1e-3,
    "optimizers.discriminator.lr": 5e-4,
    "training.batch_size": 128,
    "training.schedule": {"constant": 0.3},
}
"""Settings that need 1,500 steps instead of the paper's 25,000; with its latents of 256, that is too few.

The discriminator has one hidden layer more than the recipe's, and no weight or input is scaled.
"""
LATENT, UNROLLED, ADAM = 8, 5, {"name": "adam", "lr": 2e-3, "betas": [0.5, 0.9]}


@dataclass(frozen=True)
class Variant:
    """A method that learns the ring: its differences from the recipe ``unrolled``, and its number of steps."""

    name: str
    steps: int
    options: dict[str, Any]


VARIANTS: tuple[Variant, ...] = (
    Variant("GAN", 1500, SETTINGS | {"method.latent": LATENT, "method.unrolled_steps": 0}),
    Variant("unrolled GAN", 1500, SETTINGS | {"method.latent": LATENT, "method.unrolled_steps": UNROLLED}),
    Variant("non-saturating GAN", 1500, SETTINGS | {"method": {"name": "gan", "latent": LATENT}}),
    Variant(
        "WGAN-GP",
        1000,
        SETTINGS
        | {
            "method": {
                "name": "gan",
                "objective": "wasserstein",
                "latent": LATENT,
                "discriminator_steps": 5,
                "gradient_penalty": 0.1,
            },
            "optimizers.generator": ADAM,
            "optimizers.discriminator": ADAM,
        },
    ),
)


@dataclass(frozen=True)
class Moment:
    """The points generated after ``step`` steps."""

    step: int
    points: Floats

    def summary(self) -> dict[str, Any]:
        """The metrics of this moment."""
        good = good_points_by_mode(self.points)
        return {
            "step": self.step,
            "modes_covered": int((good >= COVERED).sum()),
            "share_of_good_points": float(good.sum() / len(self.points)),
            "good_points_by_mode": good.tolist(),
            "spread": float(self.points.std(0).mean()),
        }


def modes(seed: int, *, shorter: int = 1) -> Findings:
    """Trains every variant.

    Args:
        seed: seed of all random draws.
        shorter: divides the length of every run.
    """
    strips = {variant.name: _train(variant, seed, shorter) for variant in VARIANTS}
    found = {name: [moment.summary() for moment in strip] for name, strip in strips.items()}
    lines = [
        f"{name}: {moments[-1]['modes_covered']} of {RING_MODES} modes after {counted(moments[-1]['step'], 'step')}, "
        f"{moments[-1]['share_of_good_points']:.0%} of the points within 3 standard deviations of a centre"
        for name, moments in found.items()
    ]
    metrics = {
        "end": {name: moments[-1] for name, moments in found.items()},
        "moments": found,
        "measure": {"points": DRAWN, "good_within": GOOD, "covered_from_good_points": COVERED},
    }
    return Findings(_figure(strips, seed), metrics, lines)


def good_points_by_mode(points: Floats) -> NDArray[np.int64]:
    """The number of ``points`` (N, 2) within three standard deviations of each centre: (8,)."""
    distances = np.linalg.norm(points[:, None] - ring_centres(), axis=2)
    nearest = distances.argmin(1)[distances.min(1) <= GOOD]
    return np.bincount(nearest, minlength=RING_MODES)


def _train(variant: Variant, seed: int, shorter: int) -> list[Moment]:
    training = train_with_snapshots(
        "unrolled",
        variant.options,
        draw=partial(sample_points, "ring2d"),
        steps=variant.steps // shorter,
        fractions=FRACTIONS,
        seed=seed,
        label=variant.name,
    )
    return [Moment(step, samples(method, DRAWN, seed).numpy()) for step, method in training]


def _figure(strips: dict[str, list[Moment]], seed: int) -> Figure:
    columns = 1 + max(map(len, strips.values()))
    figure = new_figure(2.1 * columns, 2.25 * len(strips))
    real = sample_points("ring2d", DRAWN, numpy_rng(seed, "modes"))
    for row, (name, strip) in zip(figure.subplots(len(strips), columns), strips.items(), strict=True):
        for axes, moment in zip(row, strip, strict=False):
            found = moment.summary()
            axes.set_title(f"step {moment.step:,}: {found['modes_covered']} of {RING_MODES}", fontsize=9)
            _scatter(axes, moment.points, GENERATED)
        row[0].set_ylabel(name, fontsize=11)
        row[-1].set_title("data", fontsize=9)
        _scatter(row[-1], real, DATA)
    return figure


def _scatter(axes: Axes, points: Floats, colour: str) -> None:
    axes.plot(*ring_centres().T, "o", color="0.6", markersize=9, fillstyle="none", markeredgewidth=0.7)
    axes.plot(*points.T, ".", color=colour, markersize=1.5, alpha=0.4)
    axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
