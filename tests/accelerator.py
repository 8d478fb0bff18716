"""An accelerator without arithmetic, so that a machine without a GPU can check what a step does on one.

torch registers a device in Python, and its tensors are fake: they carry shapes, types and devices, and no numbers.
Tensors on the host stay real, so that draws, data, images and files are what they always are. Every operator on the
device is written down with its shapes, and so is whatever crosses between host and device. Who asks for a number on the
device gets a 1, and a 0 inside of steps: nothing has overflowed.

Registering is for good, and from then on torch reports this device: only ``on_the_device`` does so, in a process of its
own.

What it is not: it has no allocator and no streams, and autocast casts a weight anew wherever it is used, where CUDA's
keeps the cast one.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import gc
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import i2i

NAME = "fakegpu"
PACKAGE = str(Path(i2i.__file__).parent)
Crossing = Literal["read", "copy", "host", "mixed"]
"""A number or tensor read back; a tensor copied to the device; an operator on the host alone; a tensor of the host
(without dimensions) among the operands of a kernel."""


@dataclass(frozen=True)
class Event:
    """What crossed, by which operator, and the functions of i2i that asked for it, the innermost last."""

    kind: Crossing
    operator: str
    functions: tuple[str, ...]

    def within(self, function: str) -> bool:
        """Whether ``function`` (``engine.step`` is that of ``engine.py``) is among those that asked."""
        return any(each.rpartition(":")[0] == function for each in self.functions)

    def __str__(self) -> str:
        return f"{self.kind}: {self.operator} in {' > '.join(self.functions)}"


@dataclass
class Log:
    """What happened on the device.

    Attributes:
        operators: each with the shapes and types of its operands and results.
        events: what crossed between host and device.
        free: operators that ran outside of torch's deterministic mode.
    """

    operators: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    free: list[str] = field(default_factory=list)

    def of(self, *kinds: Crossing) -> list[Event]:
        """The events of these kinds."""
        return [event for event in self.events if event.kind in kinds]


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


class Accelerator(TorchDispatchMode):
    """While it is entered, tensors on the device can be made and computed with, and are written down."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._paused = self._watched = False
        self._lock = threading.Lock()

    @contextmanager
    def recorded(self, *, host: bool = False) -> Iterator[Log]:
        """A log of its own for the time of the context; with ``host``, what happens on the host alone is in it too."""
        before, self.log, self._watched = self.log, Log(), host
        try:
            yield self.log
        finally:
            self.log, self._watched = before, False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is written down."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operator is torch.ops.prim.device.default and is_fake(args[0]):
            return args[0].fake_device
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        makes = wanted is not None and torch.device(wanted).type == NAME
        if is_composite(operator):  # as in inference mode, where autograd has not taken them apart
            with self:
                return operator.decompose(*args, **kwargs)
        if FakeTensor not in types and not makes:
            if self._watched and operator.namespace != "profiler":
                self._event("host", operator)
            return operator(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        fakes, reals = [x for x in tensors if is_fake(x)], [x for x in tensors if not is_fake(x)]
        name = operator.overloadpacket.__name__
        if name in ("_local_scalar_dense", "equal", "is_nonzero"):
            self._event("read", operator)
            return 0.0 if self._watched else 1.0
        if fakes and wanted is not None and not makes:
            self._event("read", operator)
            return torch.zeros(fakes[0].shape, dtype=kwargs.get("dtype") or fakes[0].dtype)
        if name == "copy_" and not is_fake(args[0]):
            self._event("read", operator)
            return args[0].zero_()
        if reals and (makes or name == "copy_"):
            self._event("copy", operator)
        elif reals:
            if any(x.ndim for x in reals):
                raise RuntimeError(f"{operator}: expected all tensors to be on one device, found {NAME} and cpu")
            self._event("mixed", operator)
        if reals:
            args, kwargs = tree_map(self._as_fake, args), tree_map(self._as_fake, kwargs)
        with self._fake:
            out = operator(*args, **kwargs)
        if not self._paused:
            self._write(operator, tensors, out)
        return out

    def _as_fake(self, value: Any) -> Any:
        return self._fake.from_tensor(value) if isinstance(value, Tensor) and not is_fake(value) else value

    def _write(self, operator: Any, tensors: list[Tensor], out: Any) -> None:
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        line = f"{operator}: {', '.join(map(shape_of, tensors))} -> {', '.join(map(shape_of, made))}"
        with self._lock:
            self.log.operators.append(line)
            if not torch.are_deterministic_algorithms_enabled():
                self.log.free.append(line)

    def _event(self, kind: Crossing, operator: Any) -> None:
        if not self._paused:
            with self._lock:
                self.log.events.append(Event(kind, str(operator), callers()))


@cache
def is_composite(operator: Any) -> bool:
    """Whether an operator is nothing but others."""
    return bool(operator.namespace == "aten" and operator._can_decompose())


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor is on the device."""
    return isinstance(tensor, FakeTensor)


def shape_of(tensor: Tensor) -> str:
    """Type and shape, such as ``float32[2, 3]``; of a tensor on the host with its device."""
    text = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
    return text if is_fake(tensor) else f"{text}@{tensor.device}"


def callers() -> tuple[str, ...]:
    """The functions of i2i on the stack as ``file.function:line``, the innermost last."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            found.insert(0, f"{Path(code.co_filename).stem}.{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(found)


DEVICE: Accelerator | None = None


def device() -> Accelerator:
    """The device of this process."""
    assert DEVICE is not None, "only a process that registers the device has it"
    return DEVICE


def register() -> None:
    """Makes this process one that has the accelerator, and nothing to compute with but it."""
    global DEVICE
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    cast_as_cuda_does()
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("_amp_foreach_non_finite_check_and_unscale_", lambda *_: None, "PrivateUse1")
    kernels.impl("_amp_update_scale_", lambda scale, *_: scale, "PrivateUse1")
    LIBRARIES.append(kernels)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) copies by an operator that is seen
    DEVICE = Accelerator()
    DEVICE.__enter__()
    gc.set_threshold(100_000)  # fake tensors are many and small


LIBRARIES: list[Any] = []  # a library that is dropped takes its kernels along


def cast_as_cuda_does() -> None:
    """Registers autocast by the lists that torch's own header has for CUDA."""
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
    return tree_map(lambda value: value.to(dtype) if eligible(value) else value, values)


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
