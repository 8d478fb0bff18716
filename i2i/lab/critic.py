"""A critic trained to its optimum between two fixed distributions of points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR

from i2i.display import tracked
from i2i.losses.adversarial import Objective, discriminator_loss
from i2i.losses.penalties import clip_weights, gradient_penalty
from i2i.networks.base import Discriminator

Pair = Callable[[], tuple[Tensor, Tensor]]
"""Draws new points of the first (real) and the second (generated) distribution: (N, C, 1, 1) each."""


def train_critic(
    critic: Discriminator,
    draw: Pair,
    objective: Objective,
    optimizer: Optimizer,
    *,
    steps: int,
    penalty: float = 0.0,
    clip: float = 0.0,
    label: str | None = None,
) -> None:
    """Minimises the discriminator's loss; the learning rate falls to zero over the second half.

    Args:
        critic: the critic, trained in place.
        draw: draws points of both distributions.
        objective: the adversarial objective.
        optimizer: the optimiser of the critic's parameters.
        steps: number of steps.
        penalty: weight of the gradient penalty (WGAN-GP).
        clip: every parameter is clipped to [-clip, clip] (WGAN); 0 is off.
        label: label of the progress bar; None for no bar.
    """
    falling = LinearLR(optimizer, 1.0, 1 / steps, steps // 2)
    for step in range(steps) if label is None else tracked(label, steps)(range(steps)):
        real, fake = draw()
        loss = discriminator_loss(critic(real), critic(fake), objective)
        if penalty:
            loss = loss + penalty * gradient_penalty(critic, real, fake)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if clip:
            clip_weights([critic], clip)
        if step >= steps // 2:
            falling.step()
