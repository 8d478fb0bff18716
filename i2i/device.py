"""Where and in which precision to compute: what "auto" means on this machine, and errors for what it cannot do."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from i2i import __version__
from i2i.config.schema import Device, Precision
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
        raise ConfigError(f"training.device {wanted} is not available here; available: {there}")
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


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|failed to allocate memory"
    r"|Storage size calculation overflowed",  # a size beyond any machine
    re.IGNORECASE,
)


def use_threads(wanted: int | Literal["auto"]) -> int:
    """Computes on the CPU with ``wanted`` threads from here on, and returns how many that are."""
    if wanted != "auto":
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def environment() -> str:
    """What the bits of a result on this machine depend on, besides settings: versions, and the CPU's instructions."""
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = " with bf16" if cpu_computes_in_bf16() else ""
    return (
        f"i2i {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()} {capability}{bf16}"
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, however the device says it; illegal access and memory formats are other faults."""
    return isinstance(error, torch.OutOfMemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def raise_if_out_of_memory(error: RuntimeError, more: str = "") -> None:
    """Turns "out of memory" into an error that names the settings to change."""
    if is_out_of_memory(error):
        raise ConfigError(
            "out of memory: lower training.batch_size (and raise training.accumulate in its place), image_size, "
            f"or networks.generator.width{more}"
        ) from None


def peak_memory(device: torch.device) -> float:
    """Peak use so far, in GiB: of the GPU on CUDA, of the whole process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """On CUDA, only operations that give the same bits each time, where ``wanted``; a CPU has no others.

    cuBLAS reads its workspace setting when it starts, so that it is set for the rest of the process.

    Raises:
        ConfigError: an operation that has no such form on this device.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        first = str(error).partition(",")[0].partition(". ")[0]
        raise ConfigError(f"{first}; set training.deterministic=false to train without exact resume") from None
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def cpu_computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products; without them bf16 is slower than fp32."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
