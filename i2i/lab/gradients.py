"""What weight clipping does to a deep critic (Gulrajani et al. 2017, arXiv:1704.00028, section 3.2 and figure 1b).

WGANs learn the Swiss roll; generator and critic are perceptrons with twelve hidden ReLU layers, without batch norm.
With weight clipping at c, the gradient of the critic's value shrinks or grows by a factor at every layer that depends
on c; with the gradient penalty its size stays constant. The paper's histograms show weights at -c and c with clipping,
and spread out with the penalty. Here the first clipping alone puts 42 % (0.1) to 99 % (0.001) of the weights there,
because c is within the spread of the initial weights; the histograms are drawn both before training (clipped once) and
after. At 0.01 and 0.001 the gradients are so small that the critic hardly trains. The learning rates, moments, five
critic steps and the penalty weight of 10 are the papers' (the recipes ``wgan`` and ``wgan-gp``); batch size 256 and
latent size 2 are those of the released toy code. Differs from that code: 128 units per layer (512 there; the paper does
not give the number for its deep networks), and 150 generator steps (100,000), to save time. The paper plots the
gradient of the critic's loss at each layer's activations during training; here it is the norm of each sample's own
gradient, |df / dh|, averaged over real and generated points at the end of training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2i.lab.drawing import CRITIC, THEORY, new_figure
from i2i.lab.findings import Findings
from i2i.lab.play import Floats, as_images, samples, train_with_snapshots
from i2i.lab.toys import swiss_roll
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import numpy_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIPS = (0.1, 0.01, 0.001)
DEPTH, WIDTH, MEASURED = 12, 128, 1000
AT_THE_LIMIT = 0.99
"""A weight of at least this fraction of the limit counts as at the limit."""
SHOWN = 0.5
"""The range of the histogram without clipping, as in the paper."""

SETTINGS: dict[str, Any] = {
    "method.latent": 2,
    "networks.generator": {"name": "mlp", "width": WIDTH, "depth": DEPTH, "activation": "relu", "output": "linear"},
    "networks.discriminator": {"name": "mlp", "width": WIDTH, "depth": DEPTH, "activation": "relu"},
    "training.batch_size": 256,
}


@dataclass(frozen=True)
class Trained:
    """A critic after training: the norms of its gradient, input first, and its hidden weights."""

    name: str
    clip: float
    norms: list[float]
    weights: Floats
    weights_before: Floats

    def summary(self) -> dict[str, float | list[float]]:
        """The metrics of this critic; ``growth`` is the factor per layer towards the input."""
        found: dict[str, float | list[float]] = {
            "gradient_norms": self.norms,
            "growth_per_layer": (self.norms[0] / self.norms[-1]) ** (1 / DEPTH),
            "weight_std": float(self.weights.std()),
        }
        if self.clip:
            limit = AT_THE_LIMIT * self.clip
            found["share_at_the_limit"] = float((np.abs(self.weights) >= limit).mean())
            found["share_at_the_limit_before"] = float((np.abs(self.weights_before) >= limit).mean())
        return found


def gradients(seed: int, *, steps: int = 150) -> Findings:
    """Trains a WGAN for each clipping limit, and one with the gradient penalty.

    Args:
        seed: seed of all random draws.
        steps: length of each training, in generator steps.
    """
    critics = [trained(seed, steps, clip) for clip in (*CLIPS, 0.0)]
    found = {critic.name: critic.summary() for critic in critics}
    lines = [
        f"{critic.name}: |df/dh| {critic.norms[0]:.2g} at the input and {critic.norms[-1]:.2g} at the last layer, "
        f"a factor of {found[critic.name]['growth_per_layer']:.2f} for each layer back"
        + (
            f"; {found[critic.name]['share_at_the_limit']:.0%} of the weights at the limits "
            f"({found[critic.name]['share_at_the_limit_before']:.0%} before training)"
            if critic.clip
            else ""
        )
        for critic in critics
    ]
    return Findings(_figure(critics), {"critics": found}, lines)


def trained(seed: int, steps: int, clip: float) -> Trained:
    """The critic of a WGAN with weight clipping, or with the gradient penalty if ``clip`` is 0."""
    arch, options = ("wgan", SETTINGS | {"method.clip": clip}) if clip else ("wgan-gp", SETTINGS)
    name = f"clipping at {clip:g}" if clip else "gradient penalty"
    training = train_with_snapshots(
        arch, options, draw=swiss_roll, steps=steps, fractions=(0.0, 1.0), seed=seed, label=name
    )
    _, method = next(training)
    assert isinstance(method.discriminator, MLPDiscriminator)
    before = _weights(method.discriminator)
    for _ in training:
        pass
    points = np.concatenate(
        [swiss_roll(MEASURED, numpy_rng(seed, "gradients")), samples(method, MEASURED, seed).numpy()]
    )
    # The initial weights are clipped in the first step.
    before = before.clip(-clip, clip) if clip else before
    return Trained(name, clip, gradient_norms(method.discriminator, points), _weights(method.discriminator), before)


def gradient_norms(critic: MLPDiscriminator, points: Floats) -> list[float]:
    """E |df / dh| for h the input and the output of every hidden layer, input first; points: (N, C)."""
    critic = copy.deepcopy(critic).double()  # squares of vanishing gradients are below the range of float32
    x = as_images(points).flatten(1).double().requires_grad_()
    reached = [x]
    for layer in critic.hidden:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            reached.append(x)
    found = torch.autograd.grad(critic.score(x).sum(), reached)
    return [gradient.norm(dim=1).mean().item() for gradient in found]


def _weights(critic: MLPDiscriminator) -> Floats:
    layers = [layer for layer in critic.hidden if isinstance(layer, nn.Linear)]
    weights: NDArray[np.float32] = torch.cat([layer.weight.detach().flatten() for layer in layers]).numpy()
    return weights


def _figure(critics: list[Trained]) -> Figure:
    figure = new_figure(12, 8)
    (left, *first), others = figure.subplots(2, 2)
    for critic in critics:
        left.plot(range(DEPTH + 1), critic.norms, "o-", markersize=3, label=critic.name)
    left.set(
        title="size of the gradient, by layer", xlabel="layer (0 is the input)", ylabel="E |df / dh|", yscale="log"
    )
    left.legend(fontsize="small")
    for axes, critic in zip((*first, *others), (critics[0], critics[1], critics[-1]), strict=True):
        reach = critic.clip or SHOWN
        axes.hist(critic.weights, 81, range=(-reach, reach), color=CRITIC, label="trained")
        axes.hist(critic.weights_before, 81, range=(-reach, reach), color=THEORY, histtype="step", label="before")
        axes.set(title=f"weights under {critic.name}", xlabel="weight", xticks=(-reach, 0, reach), yscale="log")
        axes.legend(fontsize="small", loc="upper center" if critic.clip else "upper right")
    return figure
