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
"""Draws new points of the first (real) and of the second (generated) distribution: each (N, C, 1, 1)."""


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
    """Minimises the discriminator's loss, with the rate falling to zero over the second half.

    Args:
        critic: what is trained, in place.
        draw: where both sides come from.
        objective: what is minimised.
        optimizer: of the critic's parameters.
        steps: how long.
        penalty: weight of the gradient penalty (WGAN-GP).
        clip: every parameter stays in [-clip, clip] (WGAN); 0 is off.
        label: what the progress bar says; None draws none.
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
