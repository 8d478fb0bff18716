"""Combinations of objective, penalty, norm and data that cannot work, refused when a method is built."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from i2i.batch import DataSpec
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective


def require_lipschitz(objective: Objective, critics: Iterable[nn.Module], *, controlled: bool = False) -> None:
    """Refuses ``wasserstein`` if nothing bounds the critics' slope: their values would grow without limit.

    Args:
        objective: the adversarial objective.
        critics: their slope counts as bounded if all of their layers with weights have spectral norm.
        controlled: whether weight clipping or a gradient penalty is part of the recipe.

    Raises:
        ConfigError: an unbounded critic.
    """
    if objective != "wasserstein" or controlled:
        return
    layers = [layer for critic in critics for layer in critic.modules()]
    weighted = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not all(is_parametrized(layer, "weight") for layer in weighted):
        raise ConfigError(
            "method.objective wasserstein needs a critic of bounded slope, and nothing bounds this one: use a recipe "
            "with method.gradient_penalty, method.clip or spectral norm, or another objective"
        )


def refuse_batch_norm(critic: nn.Module, penalty: str) -> None:
    """Refuses batch norm with a penalty on each sample's own gradient, which batch norm makes undefined.

    Raises:
        ConfigError: ``critic`` has batch norm.
    """
    if any(isinstance(layer, _BatchNorm) for layer in critic.modules()):
        raise ConfigError(
            f"method.{penalty} penalises each sample's own gradient, and batch norm makes a score depend on the whole "
            "batch: set networks.discriminator.norm to none, layer or instance"
        )


def require_equal_channels(data: DataSpec, identity_weight: float) -> None:
    """Refuses an identity loss, which translates images of the target domain too, where channels differ.

    Raises:
        ConfigError: a weight above 0 for domains of other channels.
    """
    if identity_weight and data.channels_a != data.channels_b:
        raise ConfigError(
            f"method.identity_weight {identity_weight} needs equal channels in A and B, and they are "
            f"{data.channels_a} and {data.channels_b}: set method.identity_weight=0"
        )
