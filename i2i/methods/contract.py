"""What training relies on in a method, checked when one is built.

A method that breaks these rules would train, and leave weights that are incomplete or that never moved.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from i2i.errors import ConfigError
from i2i.methods.base import Method, Update, ending


def require_contract(method: Method) -> None:
    """Refuses a method that could not be trained, whose networks could not be saved, or not be told apart.

    Raises:
        ConfigError: names the method, and what to change in it.
    """
    for reason in _reasons(method):
        raise ConfigError(f"method {method.name} ({type(method).__module__}.{type(method).__qualname__}): {reason}")


def require_seeded(method: Method) -> None:
    """Refuses dropout at inference whose masks would not depend on the seed alone.

    Raises:
        ConfigError: names the layer.
    """
    for module in method.kept_for_inference():
        for name, layer in module.named_modules():
            if isinstance(layer, _DropoutNd) and not isinstance(layer, nn.Dropout):
                kind = type(layer).__name__
                raise ConfigError(f"{name} is a {kind}: use nn.Dropout, or set inference.dropout to false")


def _reasons(method: Method) -> Iterator[str]:
    attributes = {id(module): name for name, module in method.named_children()}
    for module in method.kept_for_inference():
        if id(module) not in attributes:
            yield f"kept_for_inference has a {type(module).__name__} that is no attribute of the method: make it one"
    endings: dict[str, str] = {}
    for name, judge in method.judges().items():
        if attributes.get(id(judge.network)) != name:
            yield f"judges names {name}, which is not the attribute that holds its network"
        if (other := endings.setdefault(ending(name), name)) != name:
            yield f"judges {other} and {name} have one ending: name them as discriminator_A and discriminator_B"
    yield from _of_parameters(method, method.players())


def _of_parameters(method: Method, players: Mapping[str, list[nn.Module]]) -> Iterator[str]:
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    owners: dict[int, str] = {}
    for player, modules in players.items():
        trained = [each for module in modules for each in module.parameters() if each.requires_grad]
        if not trained:
            yield f"player {player} has no parameters to train"
        for parameter in trained:
            if id(parameter) not in names:
                yield f"a parameter of player {player} is in no attribute of the method"
            if (owner := owners.setdefault(id(parameter), player)) != player:
                yield f"{names[id(parameter)]} belongs to player {owner} and to {player}"
    for name, parameter in method.named_parameters():
        if players and parameter.requires_grad and id(parameter) not in owners:
            yield f"{name} would never be trained: add its module to a player, or set requires_grad=False"


def trained_parameters(players: Mapping[str, list[nn.Module]]) -> dict[str, list[nn.Parameter]]:
    """Each player's parameters, once each, without frozen ones."""
    found = {
        player: {id(each): each for module in modules for each in module.parameters() if each.requires_grad}
        for player, modules in players.items()
    }
    return {player: list(parameters.values()) for player, parameters in found.items()}


def require_update(update: Any, method: Method, players: Container[str]) -> None:
    """Refuses what a method yields and is no update of one of its ``players``.

    Raises:
        ConfigError: names the method, and what it has to yield.
    """
    reason = ""
    if not isinstance(update, Update):
        reason = f"updates yields a {type(update).__name__}, and not an Update"
    elif update.player not in players:
        reason = f"updates yields an update of {update.player!r}, which players does not name"
    elif not update.losses:
        reason = f"an update of {update.player} has no loss"
    for kind, values in (("loss", update.losses), ("score", update.scores)) if not reason else ():
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.ndim:
                reason = f"{kind} {name} of {update.player} has to be a scalar tensor: take its mean"
    if not reason and not any(loss.requires_grad for loss in update.losses.values()):
        reason = f"no loss of {update.player} depends on a weight: were the images detached?"
    if reason:
        raise ConfigError(f"method {method.name}: {reason}")
