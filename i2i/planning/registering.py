"""Registers an accelerator without arithmetic with torch, as a device that casts as CUDA's autocast does.

Registering is for good, and from then on torch reports this device: whoever plans does so last, or in a process of its
own.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import optimizer
from torch.utils import _foreach_utils, backend_registration
from torch.utils._pytree import tree_leaves, tree_map

from i2i.planning.fake import NAME, is_fake

LIBRARIES: list[Any] = []  # a library that is dropped takes its kernels along


class Backend(backend_registration._DummyBackendModule):
    """What torch asks a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def is_bf16_supported(self) -> bool:
        return True

    def manual_seed(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = NAME) -> Tensor:
        return torch.zeros(16, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = NAME) -> None:
        pass


@cache
def register() -> None:
    """Makes this process one that has the accelerator; once."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    cast_as_cuda_does()
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("_amp_foreach_non_finite_check_and_unscale_", lambda *_: None, "PrivateUse1")
    kernels.impl("_amp_update_scale_", lambda scale, *_: scale, "PrivateUse1")
    LIBRARIES.append(kernels)
    for supported in (_foreach_utils._foreach_supported_types, optimizer._foreach_supported_types):
        supported.append(FakeTensor)  # as those of a real device are
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) copies by an operator that is seen
    gc.set_threshold(100_000)  # fake tensors are many and small


CASTS: dict[tuple[int, torch.dtype, bool], tuple[Tensor, Tensor]] = {}
"""Weights and what they were cast to, for the time of an autocast context."""


def forget_casts_with(forget: Callable[[], None]) -> Callable[[], None]:
    """``forget``, which torch calls when autocast ends, for these casts too."""

    def forget_all() -> None:
        CASTS.clear()
        forget()

    return forget_all


def cast_as_cuda_does() -> None:
    """Registers autocast by the lists that torch's own header has for CUDA; weights are cast once in a context."""
    torch.clear_autocast_cache = forget_casts_with(torch.clear_autocast_cache)
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library = torch.library.Library("aten", "IMPL")
    LIBRARIES.extend((everything, library))
    policies: dict[str, Callable[[Any], Callable[..., Any]]] = {
        "LOWER_PRECISION_FP": lambda op: lambda *a, **k: op(*cast(a, low()), **cast(k, low())),
        "FP32": lambda op: lambda *a, **k: op(*cast(a, torch.float32), **cast(k, torch.float32)),
        "FP32_SET_OPT_DTYPE": sums_in_fp32,
        "PROMOTE": lambda op: lambda *a, **k: op(*cast(a, widest(a)), **cast(k, widest(k))),
    }
    for list_name, policy in policies.items():
        (text,) = re.findall(rf"#define AT_FORALL_{list_name}\(_\)(.*?)\n\n", header, re.DOTALL)
        for name, overload in re.findall(r"_\((\w+)(?:, (\w+))?\)", text):
            op = getattr(getattr(torch.ops.aten, name), overload or "default")
            library.impl(
                f"{name}.{overload}" if overload else name, without_autocast(policy(op)), "AutocastPrivateUse1"
            )


def without_autocast(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, below which autocast is over."""
    key = torch._C._parse_dispatch_key("AutocastPrivateUse1")
    assert key is not None
    keys = torch._C.DispatchKeySet(key)

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return kernel(*args, **kwargs)

    return run


def low() -> torch.dtype:
    """The precision of the autocast that is on."""
    return torch.get_autocast_dtype(NAME)


def eligible(value: Any) -> bool:
    """What autocast casts: floating point on the device, but float64."""
    return isinstance(value, Tensor) and is_fake(value) and value.is_floating_point() and value.dtype != torch.float64


def cast(values: Any, dtype: torch.dtype) -> Any:
    """Every eligible tensor in ``dtype``."""
    return tree_map(lambda value: _cast_one(value, dtype) if eligible(value) else value, values)


def _cast_one(value: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float32 or value.dtype != torch.float32 or not (value.is_leaf and value.requires_grad):
        return value.to(dtype)
    key = id(value), dtype, torch.is_grad_enabled()
    if key not in CASTS:
        CASTS[key] = value, value.to(dtype)
    return CASTS[key][1]


def widest(values: Any) -> torch.dtype:
    """float32 if one eligible tensor has it, else the low precision."""
    wide = any(eligible(value) and value.dtype == torch.float32 for value in tree_leaves(values))
    return torch.float32 if wide else low()


def sums_in_fp32(op: Any) -> Callable[..., Any]:
    """A reduction whose result is float32 where no type is asked for."""
    place = [argument.name for argument in op._schema.arguments].index("dtype")

    def run(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("dtype") if len(args) <= place else args[place]
        if given is None and any(map(eligible, tree_leaves(args))):
            args, kwargs = args[:place], {**kwargs, "dtype": torch.float32}
        return op(*args, **kwargs)

    return run
