"""Starting a run from weights that exist (``--from``): every network that fits is taken over, the others start afresh.

Networks are matched by their role: generators by the direction that they translate, discriminators by the domains that
they judge, all others by name. So a generator of pix2pix, or one that other code trained, starts a CycleGAN.
Optimisers, histories and averages start afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from i2i.build import build_method, without_memory
from i2i.config.schema import Config, ModelConfig
from i2i.display import say
from i2i.errors import WeightsError
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.storage.runs import RunFolder, say_if_best, weight_file
from i2i.storage.weights import load_newest, load_weights
from i2i.training.engine import Engine

Networks = dict[str, dict[str, Tensor]]
"""The weights of networks, by the role of the network and by their own names in it."""


def start_from(engine: Engine, source: Path, *, averaged: bool) -> None:
    """Gives the networks of ``engine`` the weights of ``source``, and says which.

    Args:
        engine: a run that has done no step.
        source: a run folder, whose discriminators are in its newest checkpoint, or a weight file.
        averaged: whether generators take the weights that inference uses (the moving average, where a run has one), or
            those of the last step.

    Raises:
        WeightsError: it cannot be read, or none of its networks fits.
    """
    known = networks_of(source, averaged=averaged)
    taken, afresh = list[str](), list[str]()
    for name, role in roles(engine.method).items():
        reason = _take(engine.method.get_submodule(name), known.get(role))
        if reason is None:
            taken.append(name)
        else:
            afresh.append(f"{name} ({reason})")
    if not taken:
        raise WeightsError(f"{source}: no network of it fits this recipe: {'; '.join(afresh)}")
    if engine.average is not None:
        engine.average.restart()
    say(f"from {source}: {', '.join(taken)}" + (f"; starting afresh: {', '.join(afresh)}" if afresh else ""))


def networks_of(source: Path, *, averaged: bool) -> Networks:
    """The networks of a run folder or a weight file; arguments and errors as ``start_from``."""
    found: Networks = {}
    run = RunFolder(source)
    checkpoint = load_newest(run.checkpoints(), kind="checkpoint") if source.is_dir() else None
    if checkpoint is not None:
        _, state, header = checkpoint
        found = _by_role(Config.model_validate(header["config"]).model, state["engine"]["method"])
    if averaged or checkpoint is None:
        path = weight_file(source)
        say_if_best(source, path)
        content = load_weights(path)
        found |= _by_role(content.config, content.tensors)
    return found


def roles(method: Method) -> dict[str, str]:
    """The role of each network of a method, by its attribute."""
    modules: dict[int, str] = {}
    if isinstance(method, TranslationMethod):
        modules = {id(offered.generator): f"translates {name}" for name, offered in method.directions().items()}
    modules |= {id(judge.network): f"judges {' with '.join(judge.domains)}" for judge in method.judges().values()}
    return {
        name: modules.get(id(module), name)
        for name, module in method.named_children()
        if next(module.parameters(), None) is not None
    }


def _by_role(config: ModelConfig, weights: Mapping[str, Tensor]) -> Networks:
    with without_memory():
        method = build_method(config)
    found: Networks = {}
    for name, role in roles(method).items():
        own = {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}
        if own:
            found[role] = own
    return found


def _take(network: nn.Module, weights: Mapping[str, Tensor] | None) -> str | None:
    """Loads ``weights`` where they fit; else says why they do not."""
    if weights is None:
        return "not in it"
    own = network.state_dict()
    if own.keys() != weights.keys():
        return "it has other layers"
    for key, weight in own.items():
        if weight.shape != weights[key].shape:
            return f"{key} is {_size(weight)}, and {_size(weights[key])} in it"
    network.load_state_dict(weights)
    return None


def _size(weight: Tensor) -> str:
    return " x ".join(map(str, weight.shape)) or "a number"
