"""Self-describing files: tensors in safetensors, everything else as JSON in the header. Loading one cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2i.config.resolve import parse_config
from i2i.config.schema import Config
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.storage.files import replacing

FORMAT = "1"


def save_weights(path: Path, tensors: Mapping[str, Tensor], config: Config, step: int) -> None:
    """Writes inference weights with the configuration that rebuilds their networks.

    Raises:
        DataError: the file cannot be written.
    """
    header = {"config": config.model_dump(mode="json"), "step": step}
    save_tree(path, {"weights": dict(tensors)}, header, kind="weights")


def load_weights(path: Path) -> tuple[Config, int, dict[str, Tensor]]:
    """The configuration, the step, and the tensors of a weight file.

    Raises:
        WeightsError: not a weight file of i2i, or one of a newer format.
    """
    tree, header = load_tree(path, kind="weights")
    try:
        config, step = parse_config(header["config"]), int(header["step"])
        return config, step, {name: weight.float() for name, weight in tree["weights"].items()}
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: its header does not fit this version of i2i: {error}") from None


def save_tree(path: Path, tree: Mapping[str, Any], header: Mapping[str, Any], *, kind: str) -> None:
    """Writes nested dictionaries and lists of tensors and JSON values.

    Raises:
        DataError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _strip(tree, "", tensors)
    _part_shared(tensors)
    # One entry: safetensors writes several in random order, and equal runs must give equal bytes.
    envelope = {"format": FORMAT, "kind": kind, "header": header, "tree": skeleton}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, {"i2i": json.dumps(envelope)})
        except SafetensorError as error:  # a full disk, or a folder that cannot be written
            raise DataError(f"cannot write {path}: {error}") from None


def load_tree(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inverse of ``save_tree``: the tree, and the header; tensors on the CPU.

    Raises:
        WeightsError: no such file, not one that i2i wrote, damaged, or of another kind.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    try:
        with safe_open(path, framework="pt") as file:
            envelope = dict(json.loads((file.metadata() or {}).get("i2i", "{}")))
            if envelope.get("kind") != kind:
                raise WeightsError(f"{path} is not a file of i2i {kind}; give a run folder or its model.safetensors")
            if envelope["format"] != FORMAT:
                raise WeightsError(f"{path} has format {envelope['format']}; this i2i reads {FORMAT}: upgrade i2i")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a handle, not a mapping)
        return _refill(envelope["tree"], tensors), envelope["header"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not a weight file of i2i or is damaged ({' '.join(str(error).split())})"
        ) from None


def _strip(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value with each tensor replaced by a reference, and the tensor put into ``tensors``."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return {"tensor": path}
    if isinstance(value, Mapping):
        items = [[key, _strip(item, f"{path}/{key}" if path else str(key), tensors)] for key, item in value.items()]
        return {"items": items}
    if isinstance(value, list | tuple):
        return {"list": [_strip(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    return {"value": value}


def _part_shared(tensors: dict[str, Tensor]) -> None:
    """Copies tensors that share memory, which safetensors refuses; all others are written from where they are."""
    seen: set[int] = set()
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensors[key] = tensor.clone()
        seen.add(storage.data_ptr())


def _refill(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    match skeleton:
        case {"tensor": path}:
            return tensors[path]
        case {"items": items}:
            return {key: _refill(item, tensors) for key, item in items}
        case {"list": items}:
            return [_refill(item, tensors) for item in items]
        case {"value": value}:
            return value
    raise ValueError("unknown entry in the file's tree")


def parameter_count(module: torch.nn.Module) -> int:
    """How many trained numbers a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
