"""Loads a trained model: from a run folder, a weight file, an exported file, the hub, or the newest run."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from i2i.config.schema import Device
from i2i.device import resolve_device
from i2i.errors import WeightsError
from i2i.inference.exported import load_exported
from i2i.inference.fastest import kept_fastest
from i2i.inference.sampler import Sampler
from i2i.inference.trained import build_trained
from i2i.inference.translator import Translator
from i2i.launched import launched
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.storage.runs import is_exported, say_if_best, weight_file
from i2i.storage.weights import Weights, load_weights

Model = TypeVar("Model", Translator, Sampler)


def load(
    run_or_file: str | Path | None = None, *, device: Device = "auto", fastest: bool = True
) -> Translator | Sampler:
    """Loads a trained model: a ``Translator``, or a ``Sampler`` if the recipe generates images from noise.

    Args:
        run_or_file: a run folder, a weight file, an exported ONNX file, or the name of a model on the Hugging Face hub
            (hf:owner/name@revision); by default the newest run under runs/.
        device: where to run.
        fastest: whether a translator translates as ``i2i bench`` found to be fastest, where it kept that beside the
            run, on this machine and for these weights; torch's number of threads stays the program's own. Else, or
            without that, it computes in fp32 with torch's layers.

    Raises:
        WeightsError: no such file, or not a weight file of i2i.
        DataError: no run under runs/.
        ConfigError: the device is not available.
    """
    if run_or_file is not None and is_exported(run_or_file):
        return load_exported(Path(run_or_file), device=device)
    path, content = _read(run_or_file)
    if issubclass(Method.named(content.config.method["name"]), TranslationMethod):
        return _translator(path, content, device, fastest=fastest)
    return _build(Sampler, path, content, device)


def load_translator(
    run_or_file: str | Path | None = None, *, device: Device = "auto", fastest: bool = True
) -> Translator:
    """Loads a translator; arguments and errors as ``load``, and ConfigError for another kind of model."""
    if run_or_file is not None and is_exported(run_or_file):
        return load_exported(Path(run_or_file), device=device)
    return _translator(*_read(run_or_file), device, fastest=fastest)


def load_sampler(run_or_file: str | Path | None = None, *, device: Device = "auto") -> Sampler:
    """Loads a model that generates images from noise; arguments and errors as ``load_translator``."""
    return _build(Sampler, *_read(run_or_file), device)


def _read(run_or_file: str | Path | None) -> tuple[Path, Weights]:
    path = weight_file(run_or_file)
    say_if_best(run_or_file, path)
    return path, load_weights(path)


def _translator(path: Path, content: Weights, device: Device, *, fastest: bool) -> Translator:
    translator = _build(Translator, path, content, device)
    if fastest:
        translator.fastest = kept_fastest(path, translator)
    return translator


def _build(kind: type[Model], path: Path, content: Weights, device: Device) -> Model:
    resolved = resolve_device(device, launched().local_rank)  # a GPU for each process
    try:
        return kind(build_trained(content.config, content.tensors, resolved), content.config, content.step, resolved)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
