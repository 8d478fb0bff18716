"""Devices without arithmetic: their tensors are fake, that is, they carry shapes, types and devices, and no numbers.

Whatever runs on one is told to ``ran``, and what crosses between it and the host to ``crossed``; a subclass looks at
them. Methods are built on the device "meta" and moved here, so that not even weights take memory.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "fakegpu"
"""What torch calls the accelerator."""
Crossing = Literal["read", "copy", "host", "mixed"]
"""A number or tensor read back; a tensor copied to the device; an operator on the host alone; a tensor of the host
(without dimensions) among the operands of a kernel."""
READING = ("_local_scalar_dense", "equal", "is_nonzero")


class FakeDevice(TorchDispatchMode):
    """While it is entered, tensors on the device can be made and computed with.

    Attributes:
        device: what tensors say that they are on.
        number: what whoever asks for a number on the device gets.
    """

    device: torch.device
    number = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def ran(self, operator: Any, args: Any, kwargs: Any, out: Any) -> None:
        """What is done about an operator that ran on the device."""

    def crossed(self, kind: Crossing, operator: Any) -> None:
        """What is done about an operator for which host and device meet."""

    @abstractmethod
    def computing(self) -> Any:
        """The context in which steps run; ``building`` is that in which modules are built and moved here."""

    @contextmanager
    def building(self) -> Iterator[None]:
        """Modules are built without memory until they are moved to the device."""
        with torch.device("meta"), self:
            yield

    def _moved_from_meta(self, operator: Any, args: Any, kwargs: Any) -> Tensor | None:
        """The tensor on the device, where a tensor without memory is moved there."""
        wanted = kwargs.get("device")
        if operator is not torch.ops.aten._to_copy.default or wanted is None or not args[0].is_meta:
            return None
        with self._fake:
            return torch.empty(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=wanted)


class FakeCPU(FakeDevice):
    """A CPU: within ``computing`` all tensors are fake."""

    device = torch.device("cpu")

    @contextmanager
    def computing(self) -> Iterator[None]:
        with self._fake, self:
            yield

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        moved = self._moved_from_meta(operator, args, kwargs)
        if moved is not None:
            return moved
        if operator.overloadpacket.__name__ in READING:
            return self.number
        out = operator(*args, **kwargs)
        self.ran(operator, args, kwargs, out)
        return out


class FakeAccelerator(FakeDevice):
    """An accelerator, in a process that has registered it (``registering.py``).

    Tensors on the host stay real, so that draws, data, images and files are what they always are.

    What it is not: it has no allocator and no streams.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device(NAME, 0)

    def computing(self) -> FakeAccelerator:
        return self

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
            if operator.namespace != "profiler":
                self.crossed("host", operator)
            return operator(*args, **kwargs)
        moved = self._moved_from_meta(operator, args, kwargs)
        if moved is not None:
            return moved
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        fakes, reals = [x for x in tensors if is_fake(x)], [x for x in tensors if not is_fake(x)]
        name = operator.overloadpacket.__name__
        if name in READING:
            self.crossed("read", operator)
            return self.number
        if fakes and wanted is not None and not makes:
            self.crossed("read", operator)
            return torch.zeros(fakes[0].shape, dtype=kwargs.get("dtype") or fakes[0].dtype)
        if name == "copy_" and not is_fake(args[0]):
            self.crossed("read", operator)
            return args[0].zero_()
        if reals and (makes or name == "copy_"):
            self.crossed("copy", operator)
        elif reals:
            if any(x.ndim for x in reals):
                raise RuntimeError(f"{operator}: expected all tensors to be on one device, found {NAME} and cpu")
            self.crossed("mixed", operator)
        if reals:
            args, kwargs = tree_map(self._as_fake, args), tree_map(self._as_fake, kwargs)
        with self._fake:
            out = operator(*args, **kwargs)
        self.ran(operator, args, kwargs, out)
        return out

    def _as_fake(self, value: Any) -> Any:
        return self._fake.from_tensor(value) if isinstance(value, Tensor) and not is_fake(value) else value


@cache
def is_composite(operator: Any) -> bool:
    """Whether an operator is nothing but others."""
    return bool(operator.namespace == "aten" and operator._can_decompose())


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor is on the device."""
    return isinstance(tensor, FakeTensor)
