"""Ways to compute a generator that differ by rounding alone: in which layers, and in which precision."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from i2i.config.schema import Precision
from i2i.device import DTYPES
from i2i.inference.fast_layers import speed_up
from i2i.methods.translation import TranslationMethod

Layers = Literal["torch", "channels last", "fast"]
"""A generator's layers: torch's, the same with channels last in memory, or those of ``fast_layers``."""


def usual_layers(device: torch.device) -> Layers:
    """The fast ones on a CPU, and torch's elsewhere."""
    return "fast" if device.type == "cpu" else "torch"


def in_layers(method: TranslationMethod, direction: str, layers: Layers, precision: Precision) -> TranslationMethod:
    """The method with such layers in the generator of ``direction``; it shares the other networks with ``method``.

    Fast layers compute in ``precision`` by themselves, and share the weights too.
    """
    if layers == "torch":
        return method
    own = _with_own_generator(method, direction, shares_weights=layers == "fast")
    generator = own.directions()[direction].generator
    if layers == "fast":
        speed_up(generator, DTYPES[precision])
    else:
        generator.to(memory_format=torch.channels_last)
    return own


def _with_own_generator(method: TranslationMethod, direction: str, *, shares_weights: bool) -> TranslationMethod:
    """The method with a copy of the generator of ``direction``."""
    generator = method.directions()[direction].generator
    shared: dict[int, Any] = {
        id(network): network
        for network in method.children()
        if all(module is not generator for module in network.modules())
    }
    if shares_weights:
        shared |= {id(tensor): tensor for tensor in (*generator.parameters(), *generator.buffers())}
    return copy.deepcopy(method, shared)


def computing(layers: Layers, precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which such layers compute in ``precision``."""
    if layers == "fast" or precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])
