"""Self-describing files: tensors in safetensors, everything else as JSON in the header. Loading one cannot run code.

safetensors notices a file that was cut, and no bit that has flipped: the header carries a digest of all that is in the
file. Later versions may add entries to it; an older file lacks them, and they need a default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2i.config.explain import shown
from i2i.config.resolve import parse_model
from i2i.config.schema import ModelConfig
from i2i.device import total_memory
from i2i.display import warn
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.storage.files import replacing

FORMAT = 2
"""The version of all these files."""
LARGEST_HEADERS = {"weights": 2**23, "checkpoint": 2**26, "features": 2**16}
"""Bytes of the header of each kind, which is read whole before anything in it can be believed."""
MOST_TENSORS = 100_000
UNREADABLE = (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError)
"""What readers raise of a file that is none."""


class Weights(NamedTuple):
    """A trained model as its weight file has it.

    Attributes:
        config: what builds it.
        step: how many steps it was trained for; 0 for one that was trained elsewhere.
        tensors: its weights by name, float32.
    """

    config: ModelConfig
    step: int
    tensors: dict[str, Tensor]


def save_weights(path: Path, tensors: Mapping[str, Tensor], config: ModelConfig, step: int) -> None:
    """Writes inference weights with the configuration that rebuilds their networks.

    Raises:
        DataError: the file cannot be written.
    """
    header = {"model": config.model_dump(mode="json"), "step": step}
    save_tree(path, {"weights": dict(tensors)}, header, kind="weights")


def load_weights(path: Path) -> Weights:
    """The content of a weight file.

    Raises:
        WeightsError: not a weight file of i2i, damaged, or one of another format.
    """
    tree, header = load_tree(path, kind="weights")
    try:
        config, step = parse_model(header["model"]), header["step"]
        if type(step) is not int or not 0 <= step < 2**63:
            raise ValueError(f"step {shown(step)} is no number of steps")
        weights = {name: _as_float32(name, weight) for name, weight in tree["weights"].items()}
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path}: its header does not fit this version of i2i: {error}") from None
    try:
        require_finite(weights)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}; train again, from before training went wrong") from None
    return Weights(config, step, weights)


def _as_float32(name: str, weight: Tensor) -> Tensor:
    if not (weight.is_floating_point() or weight.dtype == torch.int64):  # batch norm counts its batches
        raise ValueError(f"{name} holds {weight.dtype}")
    return weight.float()


def require_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuses weights from which every output would be wrong without a word.

    Raises:
        WeightsError: names a tensor that holds NaN or infinity.
    """
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise WeightsError(f"{name} holds values that are no numbers (NaN or infinity)")


def save_tree(path: Path, tree: Mapping[str, Any], header: Mapping[str, Any], *, kind: str) -> None:
    """Writes nested dictionaries and lists of tensors and JSON values.

    Raises:
        DataError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _strip(tree, "", tensors)
    _part_shared(tensors)
    envelope = {"format": FORMAT, "kind": kind, "header": header, "tree": skeleton}
    envelope["sha256"] = digest_of(envelope, tensors)
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            # One entry: safetensors writes several in random order, and equal runs must give equal bytes.
            save_file(tensors, temporary, {"i2i": json.dumps(envelope)})
        except SafetensorError as error:  # a full disk, or a folder that cannot be written
            raise DataError(f"cannot write {path}: {error}") from None
        temporary.chmod(mode)  # safetensors lets nobody else read what it writes


def load_tree(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inverse of ``save_tree``: the tree, and the header; tensors on the CPU.

    Raises:
        WeightsError: no such file, not one that i2i wrote, damaged, or of another kind.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    try:
        require_small_header(path, LARGEST_HEADERS[kind])
        with safe_open(path, framework="pt") as file:
            envelope = _envelope(path, file, kind)
            if len(file.keys()) > MOST_TENSORS:
                raise ValueError(f"more than {MOST_TENSORS:,} tensors")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a handle, not a mapping)
        if digest_of(envelope, tensors) != envelope["sha256"]:
            raise WeightsError(f"{path} is damaged: its content does not have the digest that was written with it")
        return _refill(envelope["tree"], tensors), envelope["header"]
    except UNREADABLE as error:
        raise _is_none(path, error) from None


def load_summary(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header of a file, and of its tree the plain values at the top; no tensor is read, nor the digest compared.

    Raises:
        WeightsError: as ``load_tree``.
    """
    try:
        require_small_header(path, LARGEST_HEADERS[kind])
        with safe_open(path, framework="pt") as file:
            envelope = _envelope(path, file, kind)
        values = {key: item["value"] for key, item in envelope["tree"]["items"] if "value" in item}
        return dict(envelope["header"]), values
    except UNREADABLE as error:
        raise _is_none(path, error) from None


def _envelope(path: Path, file: safe_open, kind: str) -> dict[str, Any]:
    """What an open file says of itself.

    Raises:
        WeightsError: it is of another kind or format.
    """
    envelope = dict(json.loads((file.metadata() or {}).get("i2i", "{}")))  # type: ignore[no-untyped-call]
    if envelope.get("kind") != kind:
        raise WeightsError(f"{path} is not a file of i2i {kind}; give a run folder or its model.safetensors")
    _require_format(path, int(envelope["format"]))
    return envelope


def _is_none(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} is not a weight file of i2i or is damaged ({' '.join(str(error).split())})")


def require_small_header(path: Path, largest: int) -> None:
    """Refuses a safetensors file before its reader is let at it, which would take any header into memory.

    Raises:
        ValueError: its header is larger than ``largest`` bytes or than the file, or the file than the memory.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(largest, size - 8):
        raise ValueError(f"it claims a header of {header:,} bytes")
    if size > total_memory(torch.device("cpu")):
        raise ValueError(f"it has {size:,} bytes, more than the memory of this machine")


def load_newest(paths: Sequence[Path], *, kind: str) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
    """The last of ``paths`` that can be read, with its tree and header; None where there are no paths.

    Raises:
        WeightsError: none of them can be read.
    """
    failures: list[WeightsError] = []
    for path in reversed(paths):
        try:
            content = load_tree(path, kind=kind)
        except WeightsError as error:
            failures.append(error)
            continue
        for failure in failures:
            warn(f"{failure}: going back to {path.name}")
        return path, *content
    if failures:
        raise failures[0]
    return None


def digest_of(envelope: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a file holds: the envelope without its digest, and every tensor with its name and shape."""
    content = {key: value for key, value in envelope.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require_format(path: Path, written: int) -> None:
    if written != FORMAT:
        way_out = "upgrade i2i" if written > FORMAT else "it is from before the first release; train again"
        raise WeightsError(f"{path} has format {written}, and this i2i reads {FORMAT}: {way_out}")


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
