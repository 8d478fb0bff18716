"""Imports and exports generators of the reference PyTorch code of CycleGAN, pix2pix and CUT.

By default that code tests in training mode: batch norm uses the statistics of the image, and dropout is on if the
network has it. Imported weights do the same by default, with seeded dropout; with instance norm and no dropout,
training and evaluation mode are the same.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from i2i.build import build_method, without_memory
from i2i.config.explain import shown
from i2i.config.resolve import parse_model
from i2i.config.schema import ModelConfig
from i2i.display import one_line
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.exchange.names import (
    DROPOUT,
    Recognized,
    can_drop_out,
    describe,
    hand_over,
    label,
    parse_label,
    plain,
    recognize,
    take_over,
)
from i2i.methods.imported import Imported
from i2i.methods.translation import TranslationMethod
from i2i.networks.at_inference import Statistics
from i2i.storage.files import require_free, write_atomically
from i2i.storage.runs import RunFolder, new_run, say_if_best, weight_file
from i2i.storage.weights import LARGEST_HEADERS, load_weights, require_small_header, save_weights

STATE_SUFFIXES = (".pth", ".pt", ".ckpt")
TRAINED_AT = 256
"""The side of training crops in that code, in pixels; a U-Net's depth says it."""
WANTS_CODE = re.compile(r"GLOBAL (?P<name>\S+)|reduce for|Can only (?:create|build)")
"""How the loader of plain data says that a pickle calls something."""


@dataclass(frozen=True)
class Exchanged:
    """A file that was written, and the network in it in words."""

    path: Path
    network: str
    inference: str = ""


def import_state(
    source: Path,
    output: Path | None = None,
    *,
    wanted: str | None = None,
    statistics: Statistics | None = None,
    dropout: bool | None = None,
) -> Exchanged:
    """Writes a weight file of i2i from the state dict of a generator.

    Args:
        source: a file of that code, or the same tensors as safetensors.
        output: a name ending in .safetensors, or the folder of a run; by default a new run under runs/.
        wanted: the network that it must be, such as resnet-9 or unet-256.
        statistics: what batch norm uses at inference; by default those of the image.
        dropout: whether it stays on at inference; by default where the network has it. The names of a U-Net do not
            tell: one with batch norm is taken for pix2pix's, which has it, and one with instance norm for CycleGAN's.

    Raises:
        WeightsError: the file cannot be read, or holds no generator that is known.
        ConfigError: a choice that the network does not have.
        DataError: the output exists or cannot be written.
    """
    wanted = None if wanted is None else parse_label(wanted)
    if output is not None:
        require_free(output, folders=True, way_out="choose another with -o")
    if output is not None and output.suffix in STATE_SUFFIXES:
        raise ConfigError(f"-o {output}: give a folder, or a name that ends in .safetensors")
    try:
        state = plain(read_state(source))
        found = recognize(state, wanted)
        config = _configure(found, source, statistics, dropout)
        with without_memory():
            method = build_method(config)
        assert isinstance(method, Imported)
        weights = take_over(state, method.generator, describe(found.settings))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    path = _place(output, config)
    try:
        save_weights(path, {f"generator.{name}": tensor for name, tensor in weights.items()}, config, 0)
    except DataError:
        if path != output:
            RunFolder(path.parent).remove_if_empty()
        raise
    return Exchanged(path, describe(found.settings), _describe_inference(config))


def export_state(model: Path | None, output: Path, direction: str | None = None) -> Exchanged:
    """Writes a generator as a state dict with the names of that code.

    Args:
        model: a run folder or a weight file; by default the newest run under runs/.
        output: the file to write.
        direction: which generator; by default the first that the model has.

    Raises:
        WeightsError: the weights cannot be read.
        ConfigError: the model is no translator, has no such direction, or that code has no such network.
        DataError: the output exists or cannot be written.
    """
    require_free(output, way_out="choose another with -o")
    if output.suffix not in STATE_SUFFIXES:
        raise ConfigError(f"-o {output}: give a name that ends in .pth")
    path = weight_file(model)
    say_if_best(model, path)
    config, _, weights = load_weights(path)
    with without_memory():
        method = build_method(config)
    if not isinstance(method, TranslationMethod):
        raise ConfigError(f"{config.arch} draws images from noise, and only translators can be exported")
    network = method.directions()[method.choose_direction(direction)].generator
    role = next(name for name, child in method.named_children() if child is network)
    own = {name.removeprefix(f"{role}."): weights[name] for name in weights if name.startswith(f"{role}.")}
    try:
        state, content = hand_over(own, network), BytesIO()
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    torch.save(state, content)
    write_atomically(output, content.getvalue(), overwrite=False)
    return Exchanged(output, describe(config.networks["generator"]))


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, bare or under "state_dict", by their names; reading it cannot run code.

    Raises:
        WeightsError: the file is missing or damaged, wants to run code, or holds anything else.
    """
    if path.is_dir():
        raise WeightsError("a folder; give the file of a generator in it, such as latest_net_G.pth")
    if not path.is_file():
        raise WeightsError("no such file")
    tree = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(tree, Mapping) and "state_dict" in tree:
        tree = tree["state_dict"]
    if not isinstance(tree, Mapping) or not tree:
        raise WeightsError("contains no state dict (a mapping of names to tensors)")
    left = path.stat().st_size
    for key, value in tree.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise WeightsError(
                f"entry {shown(key)} is no plain tensor; ask its maker for the state dict of a generator"
            )
        left -= value.nbytes  # a tensor can show the same few numbers as often as its shape says
        if left < 0:
            raise WeightsError(f"entry {shown(key)} is larger than what the file has for it")
    return dict(tree)


def _is_plain(value: Tensor) -> bool:
    return value.layout is torch.strided and not (value.is_complex() or value.is_meta or value.is_quantized)


def _read_safetensors(path: Path) -> Any:
    try:
        require_small_header(path, LARGEST_HEADERS["weights"])
        with safe_open(path, framework="pt") as file:
            if "i2i" in (file.metadata() or {}):
                raise WeightsError("a file of i2i already: use it as it is, with --model")
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a handle, not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"damaged, or not safetensors ({' '.join(str(error).split())})") from None


def _read_pickle(path: Path) -> Any:
    try:
        if is_zipfile(path):
            _require_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, it refuses too
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split())
        call = WANTS_CODE.search(reason)
        if call is not None:
            name = f" ({call['name']})" if call["name"] else ""
            raise WeightsError(f"wants to run code{name}; ask its maker for a plain state dict") from None
        raise WeightsError(f"damaged, or no state dict of PyTorch ({_brief(reason) or type(error).__name__})") from None


def _require_stored(path: Path) -> None:
    """PyTorch compresses nothing: a file that unpacks to more than it is was made to fill the memory."""
    with ZipFile(path) as archive:
        if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
            raise WeightsError("compressed inside, which no file of PyTorch is; ask its maker for the file as saved")


def _brief(reason: str) -> str:
    """The reason without torch's advice to load the file unsafely."""
    return reason.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0][:120]


def _configure(found: Recognized, source: Path, statistics: Statistics | None, dropout: bool | None) -> ModelConfig:
    """The configuration of a method that only translates."""
    settings, batch = found.settings, found.settings["norm"] == "batch"
    name = label(settings)
    if statistics is not None and not batch:
        raise ConfigError(f"--statistics {statistics}: {source} has no batch norm; leave it out")
    if dropout and not can_drop_out(settings):
        raise ConfigError(f"--dropout: {source} is a {name} without dropout layers; leave it out")
    if dropout is None:
        dropout = can_drop_out(settings) and (batch or settings["name"] == "resnet")
    if dropout:
        settings = settings | {"dropout": DROPOUT}
    size = 2 ** settings["depth"] if settings["name"] == "unet" else TRAINED_AT
    channels = dict(zip(("channels_a", "channels_b"), found.channels, strict=True))
    return parse_model(
        {
            "arch": "imported",
            "about": f"a {name} from {one_line(source.name)}",
            "image_size": size,
            "images": channels,
            "method": {"name": "imported"},
            "networks": {"generator": settings},
            "inference": {"statistics": statistics or ("image" if batch else "running"), "dropout": dropout},
        }
    )


def _describe_inference(config: ModelConfig) -> str:
    """What batch norm and dropout will do, in words; empty where the network has neither."""
    words, network = [], config.networks["generator"]
    if network["norm"] == "batch":
        owner = "each image" if config.inference.statistics == "image" else "training"
        words.append(f"batch norm by the statistics of {owner}")
    if can_drop_out(network):
        words.append(f"dropout {'on' if config.inference.dropout else 'off'}")
    return ", ".join(words)


def _place(output: Path | None, config: ModelConfig) -> Path:
    """Where the weights go: the file that was named, or the place of weights in a folder."""
    if output is not None and output.suffix == ".safetensors":
        return output
    return new_run(config.arch, output).model
