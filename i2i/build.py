"""Builds a method with its networks from a configuration; the same for training and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from i2i.batch import DataSpec
from i2i.config.components import without
from i2i.config.resolve import changed
from i2i.config.schema import Config, ModelConfig
from i2i.device import raise_if_out_of_memory
from i2i.errors import ConfigError
from i2i.methods.base import Method
from i2i.methods.contract import require_contract, require_seeded
from i2i.methods.generative import GenerativeMethod
from i2i.networks.base import Network, Translator


def build_method(config: ModelConfig) -> Method:
    """Builds the method that ``config`` describes, with weights drawn from torch's global generator.

    Raises:
        ConfigError: incompatible settings; names them.
    """
    images, settings = config.images, config.method
    method_class = Method.named(settings["name"])
    families = method_class.parts()
    networks = {
        role: partial(families[role].named(section["name"]), **without(section, "name"))
        for role, section in config.networks.items()
    }
    spec = DataSpec(config.image_size, images.channels_a, images.channels_b, len(images.labels))
    method = method_class(spec, **networks, **without(settings, "name"))
    if config.inference.dropout:
        require_seeded(method)
    for name, network in method.named_children():
        if isinstance(network, Network) and (
            config.image_size % network.multiple or config.image_size < network.minimum
        ):
            multiple = f"a multiple of {network.multiple} of " if network.multiple > 1 else ""
            raise ConfigError(
                f"image_size {config.image_size} does not fit {name}: it needs {multiple}at least {network.minimum}; "
                "change image_size or the network's depth or layers"
            )
    if config.inference.statistics == "standing" and not _draws_with_batch_norm(method):
        raise ConfigError(
            "inference.statistics standing needs a noise-to-image generator with batch norm: set it to running"
        )
    return method


def check_buildable(config: Config) -> Method:
    """Builds the method once without memory, so that incompatible settings fail before data is read.

    Returns:
        The method, whose weights have shapes only.

    Raises:
        ConfigError: as ``build_method``, or a method that cannot be trained.
    """
    if config.data.channels_a == "auto":
        config = changed(config, {"data.channels_a": 3})
    try:
        with without_memory():
            method = build_method(config.model)
    except RuntimeError as error:
        raise_if_out_of_memory(error)
        raise
    require_contract(method)
    return method


def recompute_activations(method: Method) -> None:
    """Lets the generators of ``method`` keep the outputs of their stages alone, and compute the rest again.

    Raises:
        ConfigError: it has none that can.
    """
    found = [network for network in method.modules() if isinstance(network, Translator)]
    if not found:
        raise ConfigError(
            "training.checkpoint_activations would have no effect: only generators that translate images compute "
            "activations again"
        )
    for network in found:
        network.recomputes = True


@contextmanager
def without_memory() -> Iterator[None]:
    """Within the context, tensors that are made have a shape, and neither memory nor values."""
    with torch.device("meta"), _NoValues():
        yield


class _NoValues(TorchFunctionMode):
    """Leaves out normal draws and spectral norm's power iterations: without values torch would import its compiler.

    CUT's pass for the shapes of features computes more, and still makes torch import it.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        first = args[0] if args else named.get("tensor")
        if isinstance(first, Tensor) and first.is_meta:
            if function in (Tensor.normal_, nn.init.normal_):
                return first
            if function is nn.functional.normalize:
                return named["out"] if named.get("out") is not None else first
            if function is torch.mv:
                return first.new_empty(len(first))
            if function is torch.vdot:
                return first.new_empty(())
            if function is Tensor.div and isinstance(args[1], Tensor) and args[1].ndim == 0:
                return first.new_empty(first.shape)
        return function(*args, **named)


def _draws_with_batch_norm(method: Method) -> bool:
    layers = method.generator.modules() if isinstance(method, GenerativeMethod) else ()
    return any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in layers)
