"""Devices and precision: what "auto" means on this machine, and errors for what it cannot do."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from i2i.config.schema import Device, Precision
from i2i.display import counted, say
from i2i.errors import ConfigError
from i2i.storage.verdicts import verdict
from i2i.timing import in_turns
from i2i.version import __version__

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Capabilities:
    """What differs between kinds of devices; the only place that distinguishes them.

    Attributes:
        asynchronous: computes while Python continues, so that reading a value waits for all earlier work.
        fast_precision: the precision of "auto": the fastest that is safe by default.
        loss_scaling: torch can scale losses and detect overflow there, which fp16 needs.
        has_modes: gives the same bits each time only if torch is told to; a CPU always does.
        pins: copies from page-locked memory while it computes.
        own_memory: torch counts its memory separately from the process's.
        fused: optimisers that skip an overflowed fp16 step on the device, without asking the host.
    """

    asynchronous: bool
    fast_precision: Precision
    loss_scaling: bool
    has_modes: bool
    pins: bool
    own_memory: bool
    fused: bool


def capabilities(device: torch.device) -> Capabilities:
    """The capabilities of this kind of device."""
    return _capabilities(device.type)


@cache
def _capabilities(kind: str) -> Capabilities:
    if kind == "cpu":
        return Capabilities(
            asynchronous=False,
            fast_precision="bf16" if cpu_computes_in_bf16() else "fp32",
            loss_scaling=False,  # torch could, but no CPU is faster in fp16 than in bf16
            has_modes=False,
            pins=False,
            own_memory=False,
            fused=False,  # gives other bits than the plain optimisers of earlier runs
        )
    return Capabilities(
        asynchronous=True,
        fast_precision="bf16" if _computes_in_bf16(kind) else "fp16" if kind == "cuda" else "fp32",
        loss_scaling=_scales_losses(kind),
        has_modes=True,
        pins=kind in PINNING,
        own_memory=kind in COUNTING,
        fused=True,
    )


PINNING = ("cuda", "xpu", "npu")
"""Accelerators that copy from page-locked memory; others refuse or warn."""
COUNTING = ("cuda", "xpu", "npu")
"""Accelerators whose peak memory torch measures."""


def _computes_in_bf16(kind: str) -> bool:
    """Whether an accelerator reports instructions for bf16; without a report, it counts as having none."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    module = getattr(torch, kind, None)  # the device "meta" has no such module
    says = getattr(module, "is_bf16_supported", None)
    return says is not None and bool(says())


def _scales_losses(kind: str) -> bool:
    """Whether an accelerator has the operator that detects overflow in gradients."""
    key = torch._C._dispatch_key_for_device(kind)
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key("aten::_amp_foreach_non_finite_check_and_unscale_", key))


def available_devices() -> list[str]:
    """The values of ``training.device`` on this machine: the accelerator that torch reports, if any, and the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [*([] if accelerator is None else [accelerator.type]), "cpu"]


def accelerators() -> list[str]:
    """The accelerators that torch reports, with name, model and memory."""
    lines = []
    for name in available_devices()[:-1]:
        describe = getattr(torch.get_device_module(name), "get_device_properties", None)
        for index in range(torch.accelerator.device_count()):
            found = None if describe is None else describe(index)
            model, memory = getattr(found, "name", None), getattr(found, "total_memory", None)
            size = None if memory is None else f"{memory / 2**30:.0f} GiB"
            lines.append(", ".join(part for part in (f"{name}:{index}", model, size) if part))
    return lines


def resolve_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The device: "auto" takes the accelerator that torch reports, else the CPU.

    Raises:
        ConfigError: the wanted device is not available, or there are fewer than processes.
    """
    available = available_devices()
    name = available[0] if wanted == "auto" else wanted
    if name not in available:
        raise ConfigError(f"training.device {wanted} is not available here; available: {', '.join(available)}")
    if name == "cpu":
        return torch.device(name)
    if local_rank and local_rank >= (count := torch.accelerator.device_count()):
        devices = counted(count, f"{name} device")
        raise ConfigError(f"this is process {local_rank + 1} on a machine with {devices}: start fewer")
    return torch.device(name, local_rank)


def resolve_precision(wanted: Precision, device: torch.device) -> Precision:
    """The precision: "auto" takes bf16 if the device computes in it, else fp16 on CUDA, else fp32.

    Raises:
        ConfigError: fp16 on a device without loss scaling, where its range is too small.
    """
    able = capabilities(device)
    if wanted == "fp16" and not able.loss_scaling:
        raise ConfigError(
            f"training.precision fp16 needs an accelerator on which torch scales losses, not {device.type}; "
            "use bf16 or fp32"
        )
    return able.fast_precision if wanted == "auto" else wanted


_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|failed to allocate memory"
    r"|Storage size calculation overflowed",  # a size beyond any machine
    re.IGNORECASE,
)


def use_threads(wanted: int | Literal["auto"], device: torch.device) -> int:
    """Sets the number of CPU threads to ``wanted``, and returns it.

    "auto" is torch's number, or fewer where a short probe on a CPU finds that more do not pay: threads wait for each
    other in every operation, so that other work on one core slows all of them down. ``OMP_NUM_THREADS`` is obeyed.
    """
    if wanted == "auto":
        numbers = thread_numbers(device)
        wanted = fewest_that_pay(_seconds_of_probe(numbers)) if len(numbers) > 1 else numbers[0]
        if wanted < max(numbers):
            say(f"CPU threads: {wanted} of {max(numbers)}, because more did not pay in a probe, as on busy cores")
    torch.set_num_threads(wanted)
    return wanted


def thread_numbers(device: torch.device) -> list[int]:
    """The numbers of CPU threads to choose from: torch's, half of it, and so on.

    On an accelerator, or where ``OMP_NUM_THREADS`` is set, it is torch's alone.
    """
    most = torch.get_num_threads()
    return _halved(most) if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ else [most]


GAIN = 1.1
"""Twice the threads have to be this much faster to be taken."""


def fewest_that_pay(seconds: Mapping[int, float]) -> int:
    """The number of threads to take, given the seconds that the same work took with each number."""
    numbers = sorted(seconds)
    chosen = numbers[0]
    for number in numbers[1:]:
        if seconds[number] * GAIN < seconds[chosen]:
            chosen = number
    return chosen


def _halved(most: int) -> list[int]:
    """``most``, half of it, and so on to 1."""
    return [most] + (_halved(most // 2) if most > 1 else [])


def _seconds_of_probe(numbers: Sequence[int]) -> dict[int, float]:
    """The seconds of a few convolutions with each number of threads, in turns; what falls far behind is left out."""
    images, weight = torch.ones(4, 64, 32, 32), torch.ones(64, 64, 3, 3)
    seconds = dict.fromkeys(sorted(numbers), 0.0)
    with torch.no_grad():
        for repeats in (1, 4, 4, 4):  # the first turn warms up
            for number in list(seconds):
                torch.set_num_threads(number)
                start = time.perf_counter()
                for _ in range(repeats):
                    torch.nn.functional.conv2d(images, weight).relu_()
                seconds[number] += (time.perf_counter() - start) if repeats > 1 else 0.0
            least = min(seconds.values())
            seconds = {number: spent for number, spent in seconds.items() if spent <= 2 * least}
    return seconds


def use_kept_threads(number: int) -> None:
    """Sets the number of CPU threads to one that was measured; ``OMP_NUM_THREADS`` is obeyed."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(number)


def environment() -> str:
    """What exact results depend on besides settings: versions, and the CPU's instruction set."""
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = " with bf16" if cpu_has_bf16() else ""
    return (
        f"i2i {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()} {capability}{bf16}"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, in the wording of any device; illegal access and memory formats are other errors."""
    return isinstance(error, torch.OutOfMemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def raise_if_out_of_memory(error: RuntimeError, more: str = "") -> None:
    """Turns "out of memory" into an error that names the settings to change."""
    if is_out_of_memory(error):
        raise ConfigError(
            "out of memory: lower training.batch_size (and raise training.accumulate instead), image_size, "
            f"or networks.generator.width{more}"
        ) from None


def read(values: Mapping[str, Tensor]) -> dict[str, float]:
    """The values of scalars of one type, copied to the host together: on an accelerator the host waits once."""
    return dict(zip(values, torch.stack(list(values.values())).cpu().tolist(), strict=True)) if values else {}


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, in GiB: of the accelerator if torch measures it, else of the whole process."""
    if capabilities(device).own_memory:
        return float(torch.get_device_module(device).max_memory_allocated(device)) / 2**30
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def total_memory(device: torch.device) -> int:
    """Bytes that computing on ``device`` can take at most: all that it has, or that this process may have."""
    if capabilities(device).own_memory:
        return int(torch.get_device_module(device).get_device_properties(device).total_memory)
    if sys.platform == "win32":
        import psutil

        return int(psutil.virtual_memory().total)
    import resource

    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), resource.getrlimit(resource.RLIMIT_AS)[0]]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # another kind of system, or "max"
            limits.append(int(Path(file).read_text()))
    return min(limit for limit in limits if limit > 0)  # no limit is -1


def free_memory(device: torch.device) -> int:
    """Bytes that computing on ``device`` can take now: what is free there, and what this process has of it already."""
    if capabilities(device).own_memory:
        module = torch.get_device_module(device)
        free, _ = module.mem_get_info(device)
        return int(free + module.memory_reserved(device))
    import psutil

    own, free = psutil.Process().memory_info(), psutil.virtual_memory().available
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        free = min(free, limit - own.vms) if limit > 0 else free  # no limit is -1
    return min(total_memory(device), int(free + own.rss))


def require_memory(needed: float, device: torch.device, what: str, way_out: str) -> None:
    """Refuses what cannot fit before it is tried: the system might stop the process, or others, in the attempt.

    Args:
        needed: the least that it takes, in bytes.
        device: where.
        what: that needs it.
        way_out: what to do instead.

    Raises:
        ConfigError: ``device`` has less.
    """
    there = total_memory(device)
    if needed > there:
        sizes = f"at least {needed / 2**30:,.1f} GiB of memory, and {device.type} has {there / 2**30:,.1f} GiB here"
        raise ConfigError(f"{what} needs {sizes}: {way_out}")


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """If ``wanted``, allows only operations that give the same bits each time; on a CPU, all do.

    If not, cuDNN tries its kernels for every new shape, and takes the fastest. cuBLAS reads its workspace setting when
    it starts: enter this before anything is computed on the device. The setting stays for the rest of the process.

    Raises:
        ConfigError: an operation has no deterministic form on this device.
    """
    if not capabilities(device).has_modes:
        yield
        return
    before, cudnn = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark = not wanted
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic = True
    try:
        yield
    except RuntimeError as error:
        if not wanted or "deterministic" not in str(error):
            raise
        first = str(error).partition(",")[0].partition(". ")[0]
        raise ConfigError(f"{first}; set training.deterministic=false to train without exact resume") from None
    finally:
        torch.use_deterministic_algorithms(before)
        cudnn.benchmark, cudnn.deterministic = flags


def cpu_has_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products; torch may be told not to use them."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_computes_in_bf16() -> bool:
    """Whether convolutions are faster in bf16 than in fp32 here: found out once on a machine that has it, and kept."""
    return cpu_has_bf16() and verdict("convolutions are faster in bf16", machine(), _bf16_pays)


def machine() -> str:
    """What speed depends on: versions, the CPU, its instruction set, and what torch is told to use of it."""
    told = [f"{name}={os.environ[name]}" for name in INSTRUCTIONS if name in os.environ]
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    cpu = features.get("cpu_name", platform.processor())
    return ", ".join([environment(), str(cpu), f"{os.cpu_count()} cores", *told])


INSTRUCTIONS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that say which instructions torch and oneDNN may use."""


def _bf16_pays() -> bool:
    """Whether a few convolutions are; without instructions for it they take many times as long."""
    images, weight = torch.ones(1, 64, 64, 64), torch.ones(64, 64, 3, 3)

    def convolve(dtype: torch.dtype) -> Callable[[int], Tensor]:
        x, kernel = images.to(dtype), weight.to(dtype)
        return lambda turn: torch.nn.functional.conv2d(x, kernel)

    with torch.inference_mode():  # without a limit, beyond which a busy machine would not try both
        seconds = in_turns({dtype: convolve(dtype) for dtype in (torch.float32, torch.bfloat16)}, turns=15)
    return min(seconds[torch.bfloat16]) * GAIN < min(seconds[torch.float32])
