"""What weight clipping does to a deep critic (Gulrajani et al. 2017, arXiv:1704.00028, section 3 and figure 1b).

A critic of twelve hidden layers is trained to its optimum against a fixed generator, real points plus unit noise. Under
clipping the gradient of its value shrinks or grows by a factor at every layer, as the limit has it, and the weights
are driven to the limits; under the gradient penalty it stays of one size at every layer, and the weights stay spread.
Differs from the paper: eight Gaussians on a ring for the Swiss roll, and 128 units a layer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from i2i.batch import DataSpec
from i2i.data.points import sample_points
from i2i.lab.critic import train_critic
from i2i.lab.drawing import new_picture
from i2i.lab.findings import Findings
from i2i.losses.penalties import clip_weights
from i2i.networks.mlp import MLPDiscriminator
from i2i.seeding import derive_seed, generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIPS = (0.1, 0.01, 0.001)
PENALTY = 10.0
DEPTH, WIDTH, BATCH, MEASURED = 12, 128, 128, 1000
AT_THE_LIMIT = 0.99
"""A weight counts as driven to the limit from this share of it on."""
SHOWN = 0.6
"""The reach of the histogram where nothing is clipped."""


@dataclass(frozen=True)
class Trained:
    """A critic after its training: the norms of its gradient from the input on, and its hidden weights."""

    name: str
    clip: float
    norms: list[float]
    weights: NDArray[np.float32]
    weights_before: NDArray[np.float32]

    def summary(self) -> dict[str, float | list[float]]:
        """The figures of this critic; ``growth`` is the factor for each layer on the way back to the input."""
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


def gradients(seed: int, *, steps: int = 600) -> Findings:
    """Trains a critic for each limit, and one under the penalty.

    Args:
        seed: decides every draw.
        steps: length of each training.
    """
    critics = [trained(seed, steps, clip) for clip in (*CLIPS, 0.0)]
    found = {critic.name: critic.summary() for critic in critics}
    lines = [
        f"{critic.name}: |dD/dh| {critic.norms[0]:.2g} at the input and {critic.norms[-1]:.2g} at the last layer, "
        f"a factor of {found[critic.name]['growth_per_layer']:.2f} for each layer back"
        + (f"; {found[critic.name]['share_at_the_limit']:.0%} of the weights at the limits" if critic.clip else "")
        for critic in critics
    ]
    return Findings(_picture(critics), {"critics": found}, lines)


def trained(seed: int, steps: int, clip: float) -> Trained:
    """A critic under weight clipping, or under the gradient penalty where ``clip`` is 0."""
    torch.manual_seed(derive_seed(seed, "gradients"))
    random = generator(seed, "gradients")
    critic = MLPDiscriminator(DataSpec(1, 2, 2), width=WIDTH, depth=DEPTH, activation="relu")
    if clip:
        clip_weights([critic], clip)
    before = _weights(critic)

    def draw(count: int = BATCH) -> tuple[Tensor, Tensor]:
        real, other = (torch.from_numpy(sample_points("ring2d", count, random))[:, :, None, None] for _ in range(2))
        return real, other + torch.randn_like(other)

    optimizer: Optimizer  # each as in its paper
    if clip:
        optimizer = RMSprop(critic.parameters(), lr=5e-4)
    else:
        optimizer = Adam(critic.parameters(), lr=5e-4, betas=(0.0, 0.9))
    name = f"clipping at {clip:g}" if clip else "gradient penalty"
    penalty = 0.0 if clip else PENALTY
    train_critic(critic, draw, "wasserstein", optimizer, steps=steps, penalty=penalty, clip=clip, label=name)
    return Trained(name, clip, gradient_norms(critic, torch.cat(draw(MEASURED))), _weights(critic), before)


def gradient_norms(critic: MLPDiscriminator, points: Tensor) -> list[float]:
    """E |dD / dh| for h the input and the output of every hidden layer, input first."""
    critic = copy.deepcopy(critic).double()  # the squares of what vanishes are below the range of float32
    x = points.flatten(1).double().requires_grad_()
    reached = [x]
    for layer in critic.hidden:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            reached.append(x)
    found = torch.autograd.grad(critic.score(x).sum(), reached)
    return [gradient.norm(dim=1).mean().item() for gradient in found]


def _weights(critic: MLPDiscriminator) -> NDArray[np.float32]:
    layers = [layer for layer in critic.hidden if isinstance(layer, nn.Linear)]
    weights: NDArray[np.float32] = torch.cat([layer.weight.detach().flatten() for layer in layers]).numpy()
    return weights


def _picture(critics: list[Trained]) -> Figure:
    picture = new_picture(13, 4.2)
    left, *others = picture.subplots(1, 3)
    for critic in critics:
        left.plot(range(DEPTH + 1), critic.norms, "o-", markersize=3, label=critic.name)
    left.set(
        title="size of the gradient, by layer", xlabel="layer (0 is the input)", ylabel="E |dD / dh|", yscale="log"
    )
    left.legend(fontsize="small")
    for axes, critic in zip(others, (critics[0], critics[-1]), strict=True):
        reach = critic.clip or SHOWN
        axes.hist(critic.weights, 81, range=(-reach, reach), color="tab:blue", label="trained")
        axes.hist(critic.weights_before, 81, range=(-reach, reach), color="black", histtype="step", label="before")
        axes.set(title=f"weights under {critic.name}", xlabel="weight", xticks=(-reach, 0, reach), yscale="log")
        axes.legend(fontsize="small", loc="upper center")
    return picture
