"""The names of generators in state dicts of the reference PyTorch code of CycleGAN and pix2pix, and of CUT.

There a ResNet is one flat sequence ``model``, and a U-Net consists of nested blocks; here both are chains of named
stages. The layers and their order are the same, so the foreign names follow from the network itself; layers without
weights (dropout, anti-aliasing) count in the numbering too. Fixed filters are buffers there. Settings that no name
reveals are assumed as in that code: reflection padding, and dropout's rate of 0.5 and its positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from i2i.errors import ConfigError, WeightsError
from i2i.networks.layers import BlurDown, BlurUp, ResizeConv2d
from i2i.networks.resnet import ResidualBlock, ResNetGenerator
from i2i.networks.unet import UNetGenerator

State = Mapping[str, Tensor]
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DROPOUT = 0.5
"""The only rate in that code."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
CHANNELS = (1, 3, 4)
FEWEST_LEVELS = 5
"""Of a U-Net in that code; only levels between the first four and the innermost have dropout."""
NOT_THERE = "has no counterpart in the code of CycleGAN, pix2pix and CUT"
RESNET_START, UNET_START = "model.1.weight", "model.model.0.weight"


@dataclass(frozen=True)
class Recognized:
    """What a state dict holds.

    Attributes:
        settings: of the network, as in a configuration. ``dropout`` of a U-Net is 0: no name tells it.
        channels: of the images that it takes, and of those that it makes.
    """

    settings: dict[str, Any]
    channels: tuple[int, int]


def label(settings: Mapping[str, Any]) -> str:
    """The short name of a network: resnet-9 by its blocks, unet-256 by the side that its depth halves to one pixel."""
    size = settings["blocks"] if settings["name"] == "resnet" else 2 ** settings["depth"]
    return f"{settings['name']}-{size}"


def describe(settings: Mapping[str, Any]) -> str:
    """The network in words."""
    blurred = {"downsample": "anti-aliased down", "upsample": "anti-aliased up"}
    kinds = [words for key, words in blurred.items() if settings.get(key) == "blurred"]
    return ", ".join([f"{label(settings)} of width {settings['width']} with {settings['norm']} norm", *kinds])


def parse_label(text: str) -> str:
    """The short name that is meant by ``text``, which may be spelled as there: resnet_9blocks, unet_256.

    Raises:
        ConfigError: not a network's name.
    """
    match = re.fullmatch(r"(?:(resnet)[-_](\d+)(?:blocks)?)|(?:(unet)[-_](\d+))", text)
    if match is None:
        raise ConfigError(f"--as {text}: write resnet-9, resnet-6, unet-256, unet-128, or another number")
    return "-".join(part for part in match.groups() if part)


def recognize(state: State, wanted: str | None = None) -> Recognized:
    """Reads a generator's settings off the names and shapes of its state dict.

    Args:
        state: tensors by their foreign names.
        wanted: the short name of what it must be.

    Raises:
        WeightsError: not a generator, or another one than ``wanted``; says what was found and what expected.
    """
    kind = "resnet" if RESNET_START in state else "unet" if UNET_START in state else None
    if kind is None:
        first = next(iter(state), "missing")
        expected = f"{RESNET_START} (ResNet) or {UNET_START} (U-Net)"
        if wanted is not None:
            expected = f"{RESNET_START if wanted.startswith('resnet') else UNET_START} ({wanted})"
        raise WeightsError(
            f"not a generator that is known: the first entry is {first[:99]}, and {expected} was expected; "
            "give a file of a generator, such as latest_net_G.pth"
        )
    found = _recognize_resnet(state) if kind == "resnet" else _recognize_unet(state)
    if wanted not in (None, label(found.settings)):
        raise WeightsError(f"--as {wanted}: the file holds a {label(found.settings)}; leave out --as")
    if not set(found.channels) <= set(CHANNELS):
        takes, makes = found.channels
        raise WeightsError(f"takes {takes} channels and makes {makes}; images have 1, 3 or 4")
    return found


def _recognize_resnet(state: State) -> Recognized:
    width, channels_in = _convolution(state, RESNET_START)
    blocks = _positions(state, r"model\.(\d{1,4})\.conv_block\.")
    if not blocks:
        raise WeightsError("no model.10.conv_block: a ResNet has residual blocks after two downsampling layers")
    dropout = state.get(f"model.{min(blocks)}.conv_block.6.weight")
    settings = {
        "name": "resnet",
        "width": width,
        "blocks": len(blocks),
        "norm": _norm(state),
        "downsample": "blurred" if "model.7.filt" in state else "strided",
        "upsample": "blurred" if f"model.{max(blocks) + 1}.filt" in state else "transposed",
        # The second convolution of a block: a norm's weight at this place has one dimension.
        "dropout": DROPOUT if dropout is not None and dropout.ndim == 4 else 0.0,
    }
    last = max(_positions(state, r"model\.(\d{1,4})\."))
    return Recognized(settings, (channels_in, _convolution(state, f"model.{last}.weight")[0]))


def _recognize_unet(state: State) -> Recognized:
    width, channels_in = _convolution(state, UNET_START)
    depth = max(key.count("model.") for key in state) - 1
    dropout = {"dropout": 0.0, "dropout_in": "inner"}
    settings = {"name": "unet", "width": width, "depth": depth, "norm": _norm(state), **dropout}
    return Recognized(settings, (channels_in, _convolution(state, "model.model.3.weight")[1]))


def _convolution(state: State, key: str) -> tuple[int, int]:
    """The first two sides of a convolution's weight."""
    if key not in state:
        raise WeightsError(f"{key} is missing")
    if state[key].ndim != 4:
        raise WeightsError(f"{key} has the shape {tuple(state[key].shape)}, and that of a convolution was expected")
    return state[key].shape[0], state[key].shape[1]


def _positions(state: State, pattern: str) -> set[int]:
    return {int(match[1]) for key in state if (match := re.match(pattern, key))}


def _norm(state: State) -> str:
    return "batch" if any(key.endswith(".running_mean") for key in state) else "instance"


def plain(state: State) -> dict[str, Tensor]:
    """The tensors by the names of the bare network.

    Prefixes of wrappers (DataParallel, compile) go, and so do the statistics that instance norm kept in old versions
    and did not use: those of a layer without a scale.

    Raises:
        WeightsError: two tensors have one name.
    """
    bare: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = re.sub(r"^(?:module\.|_orig_mod\.)+", "", key)
        if name in bare:
            raise WeightsError(f"{name} is there twice, with and without a prefix such as module.")
        bare[name] = tensor
    return {
        key: tensor
        for key, tensor in bare.items()
        if key.rpartition(".")[2] not in STATISTICS or f"{key.rpartition('.')[0]}.weight" in bare
    }


def foreign_names(network: nn.Module) -> dict[str, str]:
    """Our name of every tensor of ``network``, the fixed filters included, to the foreign name.

    Raises:
        ConfigError: that code has no such network.
    """
    if any(isinstance(layer, ResizeConv2d) for layer in network.modules()):
        raise ConfigError(f"networks.generator.upsample resize {NOT_THERE}")
    if not any(isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) for layer in network.modules()):
        raise ConfigError(f"networks.generator.norm: any other than instance and batch {NOT_THERE}")
    if isinstance(network, ResNetGenerator):
        _require_papers_resnet(network)
        return dict(_resnet_names(network))
    if isinstance(network, UNetGenerator):
        return dict(_unet_names(network))
    raise ConfigError(f"{type(network).__name__} {NOT_THERE}")


def _require_papers_resnet(network: ResNetGenerator) -> None:
    others = {
        "halvings": network.multiple != 4,
        "skips": bool(network.skips),
        "outer_kernel": network.outer_kernel != 7,
        "output": network.output != "tanh",
    }
    if any(others.values()):
        named = ", ".join(setting for setting, differs in others.items() if differs)
        raise ConfigError(f"networks.generator with other {named} than the paper's {NOT_THERE}")


def _resnet_names(network: ResNetGenerator) -> Iterator[tuple[str, str]]:
    """The stages one after the other; a residual block takes one place."""
    place = 0
    for stage, module in network.named_children():
        if isinstance(module, ResidualBlock):
            yield from _renamed(module.residual, f"{stage}.residual", f"model.{place}.conv_block")
            place += 1
            continue
        for number, layer in enumerate(module.children()):
            yield from _renamed(layer, f"{stage}.{number}", f"model.{place}")
            place += 1


def _unet_names(network: UNetGenerator) -> Iterator[tuple[str, str]]:
    """Level by level inwards: the layers down, then the next level, then the layers up."""
    block = "model.model"
    for level in range(1, network.depth + 1):
        down, up = (list(network.get_submodule(f"{kind}{level}").children()) for kind in ("down", "up"))
        for number, layer in enumerate(down):
            yield from _renamed(layer, f"down{level}.{number}", f"{block}.{number}")
        after = len(down) + (level < network.depth)
        for number, layer in enumerate(up):
            yield from _renamed(layer, f"up{level}.{number}", f"{block}.{after + number}")
        block += f".{len(down)}.model"


def _renamed(module: nn.Module, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for name, _ in (*module.named_parameters(), *module.named_buffers()):
        yield f"{ours}.{name}", f"{theirs}.{'filt' if name == 'filter' else name}"


def take_over(state: State, network: nn.Module, name: str = "network") -> dict[str, Tensor]:
    """The state dict of ``network`` from foreign tensors.

    Args:
        state: tensors by their foreign names.
        network: what they belong to; its own weights are not looked at.
        name: what to call it in errors.

    Raises:
        WeightsError: a tensor is missing, unknown, not finite or of another shape, or a fixed filter is another one;
            the first is named.
    """
    names, own = foreign_names(network), network.state_dict()
    known = set(names.values())
    unknown = next((theirs for theirs in state if theirs not in known), None)
    if unknown is not None:
        raise WeightsError(f"{unknown[:200]} is unknown: a {name} has no such tensor")
    weights: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        if theirs not in state and theirs.endswith("num_batches_tracked"):  # PyTorch before 0.4.1 had none
            weights[ours] = torch.zeros((), dtype=torch.int64)
            continue
        if theirs not in state:
            raise WeightsError(f"{theirs} is missing: a {name} has it")
        if not (theirs.endswith("num_batches_tracked") or state[theirs].dtype in FLOATS):
            raise WeightsError(
                f"{theirs} holds {state[theirs].dtype}, and weights are floating-point numbers of 16 to 64 bits"
            )
        tensor = state[theirs] if theirs.endswith("num_batches_tracked") else state[theirs].float()
        expected = own[ours] if ours in own else _fixed_filter(network, ours)
        if tensor.shape != expected.shape:
            shapes = f"{tuple(tensor.shape)}, and in a {name} it has {tuple(expected.shape)}"
            raise WeightsError(f"{theirs} has the shape {shapes}")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{theirs} is not finite: the training that made it had failed")
        if ours in own:
            weights[ours] = tensor
        elif not torch.allclose(tensor, expected, atol=1e-6):
            raise WeightsError(f"{theirs} is another filter than that of a {name}")
    return weights


def hand_over(weights: State, network: nn.Module) -> dict[str, Tensor]:
    """The inverse of ``take_over``: the foreign state dict of ``network`` with ``weights``.

    Raises:
        ConfigError: that code has no such network.
        WeightsError: a tensor is missing or has another shape than in ``network``.
    """
    for ours, expected in network.state_dict().items():
        if ours not in weights:
            raise WeightsError(f"{ours} is missing")
        if weights[ours].shape != expected.shape:
            shapes = f"{tuple(weights[ours].shape)}, and in this network it has {tuple(expected.shape)}"
            raise WeightsError(f"{ours} has the shape {shapes}")
    if isinstance(network, UNetGenerator) and network.depth < FEWEST_LEVELS:
        raise ConfigError(f"networks.generator.depth {network.depth} {NOT_THERE}: a U-Net has 5 levels or more there")
    state = {}
    for ours, theirs in foreign_names(network).items():
        tensor = weights[ours] if ours in weights else _fixed_filter(network, ours).contiguous()
        state[theirs] = tensor.long() if theirs.endswith("num_batches_tracked") else tensor
    return state


def _fixed_filter(network: nn.Module, name: str) -> Tensor:
    """The filter of an anti-aliasing layer as it is there: (C, 1, K, K), once for every channel."""
    layer = network.get_submodule(name.rpartition(".")[0])
    assert isinstance(layer, BlurDown | BlurUp)
    return layer.filter.expand(layer.channels, 1, -1, -1)


def can_drop_out(settings: Mapping[str, Any]) -> bool:
    """Whether a recognized network has dropout layers, or may have: the names of a U-Net do not tell."""
    return bool(settings["dropout"]) if settings["name"] == "resnet" else settings["depth"] > FEWEST_LEVELS
