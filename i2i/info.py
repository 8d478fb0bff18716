"""The output of ``i2i info``: the machine, and a weight file."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import torch

import i2i
from i2i.device import accelerators, cpu_computes_in_bf16, cpu_has_bf16
from i2i.display import counted
from i2i.storage.runs import weight_file
from i2i.storage.weights import load_weights

PACKAGES = ("torch", "torchvision", "albumentations", "accelerate", "tensorboard")


def describe_machine() -> list[str]:
    """Versions and devices, one line each."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    lines = [f"i2i        {i2i.__version__}", f"Python     {platform.python_version()} on {platform.platform()}"]
    slow = ", but convolutions are not faster in it" if cpu_has_bf16() and not cpu_computes_in_bf16() else ""
    bf16 = f"bf16 in hardware{slow}" if cpu_has_bf16() else "no bf16 in hardware"
    lines += [f"packages   {versions}", f"device     cpu, {counted(torch.get_num_threads(), 'thread')}, {bf16}"]
    return lines + [f"device     {accelerator}" for accelerator in accelerators()]


def describe_model(model: str | Path | None) -> list[str]:
    """The content of a weight file in a few lines.

    Raises:
        DataError, WeightsError: no such run or file.
    """
    path = weight_file(model)
    config, step, weights = load_weights(path)
    count = sum(tensor.numel() for tensor in weights.values())
    networks = "; ".join(
        f"{role}: " + ", ".join(f"{key} {value}" for key, value in settings.items())
        for role, settings in config.networks.items()
    )
    trained = f"{counted(step, 'step')} at {config.image_size} px on {config.data}"
    return [
        f"model      {path} ({path.stat().st_size / 2**20:.1f} MiB, {count / 1e6:.3f} M parameters)",
        f"recipe     {config.arch}" + (f": {config.about}" if config.about else ""),
        *([f"trained    {trained}"] if step else []),
        f"networks   {networks}",
    ]
