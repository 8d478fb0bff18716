"""Where and in which precision to compute: what "auto" means on this machine, and errors for what it cannot do."""

from __future__ import annotations

import torch

from i2i.config import Device, Precision
from i2i.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The device: "auto" takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        ConfigError: the wanted device is not there.
    """
    available: dict[str, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    name = next(name for name in available if available[name]) if wanted == "auto" else wanted
    if not available.get(name, False):
        there = ", ".join(name for name in available if available[name])
        raise ConfigError(f"training.device {wanted}: there is none on this machine; it has {there}")
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)


def resolve_precision(wanted: Precision, device: torch.device) -> Precision:
    """The precision: "auto" takes bf16 where the device computes in it, else fp16 on CUDA, else fp32.

    Raises:
        ConfigError: fp16 without CUDA, whose range needs the loss scaling that only CUDA has.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise ConfigError(f"training.precision fp16 needs a CUDA GPU, not {device.type}; use bf16 or fp32")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_computes_in_bf16() else "fp32"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory was the problem, however the device says it."""
    told = str(error)  # the last is for sizes beyond any machine
    return isinstance(error, torch.OutOfMemoryError) or "memory" in told or "Storage size calculation" in told


def raise_if_out_of_memory(error: RuntimeError, more: str = "") -> None:
    """Turns "out of memory" into an error that names the settings to change."""
    if is_out_of_memory(error):
        raise ConfigError(
            "out of memory: lower training.batch_size (and raise training.accumulate in its place), image_size, "
            f"or networks.generator.width{more}"
        ) from None


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products; without them bf16 is slower than fp32."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
