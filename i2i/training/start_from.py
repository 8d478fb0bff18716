"""Starting a run from weights that exist (``--from``): every network that fits is taken over, the others start afresh.

Networks are matched by their role: generators by the direction that they translate, discriminators by the domains that
they judge, all others by name, as are discriminators of which several judge the same. So a generator of pix2pix, or one
that other code trained, starts a CycleGAN. Optimisers, histories and averages start afresh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from i2i.build import build_method, without_memory
from i2i.config.schema import Config, ModelConfig
from i2i.display import say, warn
from i2i.errors import WeightsError
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.storage.runs import RunFolder, say_if_best, weight_file
from i2i.storage.weights import load_newest, load_weights
from i2i.training.engine import Engine

NO_EFFECT = ("init", "init_gain", "dropout")
"""Settings of networks that change nothing of what given weights compute."""


@dataclass(frozen=True)
class Source:
    """What a run or a weight file has to start from.

    Attributes:
        config: what its model is.
        weights: of its networks, by the role of the network and by their own names in it.
    """

    config: ModelConfig
    weights: dict[str, dict[str, Tensor]]


def take_weights(engine: Engine) -> None:
    """Gives a run that has done no step what it starts from, if anything; errors as ``start_from``."""
    training = engine.config.training
    if training.start_from is not None:
        start_from(engine, Path(training.start_from), averaged=training.start_weights == "average")


def start_from(engine: Engine, source: Path, *, averaged: bool) -> None:
    """Gives the networks of ``engine`` the weights of ``source``, and says which.

    Args:
        engine: a run that has done no step.
        source: a run folder, whose discriminators are in its newest checkpoint, or a weight file.
        averaged: whether generators take the weights that inference uses (the moving average, where a run has one), or
            those of the last step.

    Raises:
        WeightsError: it cannot be read, none of its networks fits, or it has no weights of the last step.
    """
    known = read_source(source, averaged=averaged)
    taken, afresh = list[str](), list[str]()
    for name, role in roles(engine.method).items():
        reason = _take(engine.method.get_submodule(name), known.weights.get(role))
        if reason is None:
            taken.append(name)
        else:
            afresh.append(f"{name} ({reason})")
    if not taken:
        raise WeightsError(f"{source}: no network of it fits this recipe: {'; '.join(afresh)}")
    if engine.average is not None:
        engine.average.restart()
    say(f"from {source}: {', '.join(taken)}" + (f"; starting afresh: {', '.join(afresh)}" if afresh else ""))
    judges = engine.method.judges()
    parts = {part for part in known.config.networks for name in taken if name.startswith(part)}
    parts |= {"discriminator"} if any(name in judges for name in taken) else set()  # whatever a method calls it
    others = list(_other_settings(engine.config.model, known.config, parts))
    if others:
        warn(f"{source} was trained with other settings, so that its weights have to adapt: {', '.join(others)}")


def read_source(source: Path, *, averaged: bool) -> Source:
    """The networks of a run folder or a weight file; arguments and errors as ``start_from``."""
    checkpoint = load_newest(RunFolder(source).checkpoints(), kind="checkpoint") if source.is_dir() else None
    if checkpoint is None and not averaged:
        raise WeightsError(
            f"{source} has no checkpoint, and so no weights of the last step beside those that inference uses: "
            "leave out training.start_weights, or give a run folder that has one"
        )
    found: Source | None = None
    if checkpoint is not None:
        _, state, header = checkpoint
        config = Config.model_validate(header["config"]).model
        found = Source(config, _by_role(config, state["engine"]["method"]))
    if found is None or averaged:
        path = weight_file(source)
        say_if_best(source, path)
        content = load_weights(path)
        others = {} if found is None else found.weights
        found = Source(content.config, others | _by_role(content.config, content.tensors))
    return found


def roles(method: Method) -> dict[str, str]:
    """The role of each network of a method, by its attribute."""
    modules: dict[int, str] = {}
    if isinstance(method, TranslationMethod):
        modules = {id(offered.generator): f"translates {name}" for name, offered in method.directions().items()}
    judges = {id(judge.network): f"judges {' with '.join(judge.domains)}" for judge in method.judges().values()}
    alike = Counter(judges.values())
    modules |= {network: role for network, role in judges.items() if alike[role] == 1}
    return {
        name: modules.get(id(module), name)
        for name, module in method.named_children()
        if next(module.parameters(), None) is not None
    }


def _other_settings(ours: ModelConfig, theirs: ModelConfig, parts: Set[str]) -> Iterator[str]:
    """The settings of these ``parts`` that say what weights of the same shapes compute, where they differ."""
    for part in sorted(parts & ours.networks.keys() & theirs.networks.keys()):
        yield from _differences(f"networks.{part}", ours.networks[part], theirs.networks[part])
    mine, others = (model.images.model_dump(include={"depth_a", "depth_b"}) for model in (ours, theirs))
    yield from _differences("data", mine, others)


def _differences(section: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in ours:
        if key in theirs and key not in NO_EFFECT and ours[key] != theirs[key]:
            yield f"{section}.{key}={theirs[key]} (here {ours[key]})"


def _by_role(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    with without_memory():
        method = build_method(config)
    found: dict[str, dict[str, Tensor]] = {}
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
