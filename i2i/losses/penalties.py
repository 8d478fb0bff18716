"""Regularisers of adversarial training, as pure functions that return a scalar without its weight.

The gradient penalties differentiate the same score as the loss: the mean of a patch critic's map, not its sum, which
would make the penalty too strong by the number of patches. They compute in float32, outside autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from i2i.compiling import uncompiled
from i2i.world import drawn_for_all, std_over_all

Critic = Callable[[Tensor], Tensor]
"""Maps images (N, C, H, W) to scores (N,) or maps of scores (N, ...)."""


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, target: float = 1.0) -> Tensor:
    """E (|grad D(x)|_2 - target)^2 at random points between real and fake (Gulrajani et al. 2017, equation 3).

    real, fake: (N, C, H, W). One uniform random number per pair; the norm is that of each sample's own gradient.
    """
    points = torch.lerp(fake.float(), real.float(), _one_for_each(real))
    return (_gradient_norms(critic, points) - target).square().mean()


def dragan_penalty(critic: Critic, real: Tensor) -> Tensor:
    """The penalty of DRAGAN at noisy real images (Kodali et al. 2017, section 2.3), with target slope 1.

    As in the authors' training: x + u * 0.5 * std(x) * noise with uniform noise and one uniform u per sample.
    """
    real = real.float()
    noise = drawn_for_all(lambda count: torch.rand(count, *real.shape[1:], device=real.device), len(real))
    points = real + _one_for_each(real) * 0.5 * std_over_all(real) * noise
    return (_gradient_norms(critic, points) - 1).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """E |grad D(x)|^2 at real images; with weight gamma / 2 this is R1 (Mescheder et al. 2018, equation 9)."""
    return _gradient_norms(critic, real.float(), squared=True).mean()


def orthogonal_penalty(modules: Iterable[nn.Module]) -> Tensor:
    """Sum over weight matrices of |W W^T * (1 - I)|_F^2 (Brock et al. 2019, equation 3): orthogonal rows of any norm.

    Uses the weights of convolutions and linear layers, each as a matrix (output channels, rest); under spectral norm,
    those before the division, as in the authors' released code, which leaves out a factor of 2 in the gradient.
    """
    layers = [layer for module in modules for layer in module.modules()]
    weights = [_filters(layer) for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    total = torch.zeros((), device=weights[0].device)
    with torch.autocast(weights[0].device.type, enabled=False):
        for weight in weights:
            rows = weight.flatten(1)  # one row per output channel
            gram = rows @ rows.T
            total = total + (gram - torch.diag(gram.diagonal())).square().sum()
    return total


def _one_for_each(images: Tensor) -> Tensor:
    """A uniform random number in [0, 1) for each of ``images``: (N, 1, 1, 1)."""
    ones = [1] * (images.ndim - 1)
    return drawn_for_all(lambda count: torch.rand(count, *ones, device=images.device), len(images))


def _filters(layer: nn.Module) -> Tensor:
    """The weight before parametrizations, output channels first."""
    name = "parametrizations.weight.original" if is_parametrized(layer, "weight") else "weight"
    weight = layer.get_parameter(name)
    return weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight


@torch.no_grad()
def clip_weights(modules: Iterable[nn.Module], limit: float) -> None:
    """Clips every parameter to [-limit, limit] (Arjovsky et al. 2017, algorithm 1, line 7)."""
    weights: list[Tensor] = [parameter for module in modules for parameter in module.parameters()]
    torch._foreach_clamp_min_(weights, -limit)
    torch._foreach_clamp_max_(weights, limit)


def _gradient_norms(critic: Critic, points: Tensor, *, squared: bool = False) -> Tensor:
    """The norm of each sample's gradient: (N,), differentiable."""
    points = points.detach().requires_grad_()
    with torch.autocast(points.device.type, enabled=False), uncompiled():
        scores = critic(points).float()
        # Each sample's own score is the mean of its map; there is no mean over samples.
        own = scores.flatten(1).mean(1) if scores.ndim > 1 else scores
        (gradient,) = torch.autograd.grad(own.sum(), points, create_graph=True)
    squares = gradient.flatten(1).square().sum(1)
    # The square root has no derivative at zero; the small term keeps it finite and has no other effect.
    return squares if squared else (squares + 1e-12).sqrt()
