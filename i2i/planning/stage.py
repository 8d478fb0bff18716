"""Where a rehearsal takes place: the CPU or an accelerator, with what its allocator and its convolutions take."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from i2i.planning.convolutions import Workspace, by_copies, on_cpu, workspace
from i2i.planning.fake import FakeAccelerator, FakeCPU, FakeDevice
from i2i.planning.memory import Ledger
from i2i.planning.registering import register
from i2i.planning.work import Work

MIB = 2**20


class Stage(FakeDevice):
    """A device without arithmetic whose memory and work are followed.

    Attributes:
        ledger: the memory of all that is on it.
        work: what there was to compute.
        context: bytes that the device takes before anything is on it, an allowance.
        allowance: what that is for.
    """

    context: int
    allowance: str

    def __init__(self) -> None:
        super().__init__()
        self.ledger, self.work = Ledger(self.taken), Work()

    def ran(self, operator: Any, args: Any, kwargs: Any, out: Any) -> None:
        takes = self.workspace(operator, args)
        self.ledger.worked(takes.before)
        self.ledger.made(out)
        self.ledger.worked(takes.beside)
        self.work.add(operator, args, kwargs, out)

    @staticmethod
    def taken(size: int) -> int:
        """The bytes that the allocator takes for ``size``."""
        raise NotImplementedError

    def workspace(self, operator: Any, args: Any) -> Workspace:
        """What an operator takes while it runs."""
        raise NotImplementedError


class CPU(Stage, FakeCPU):
    """A CPU, with the C library's heap.

    Blocks of 32 MiB and more have pages of their own. The heap, which has all others once such sizes were freed, loses
    ``GAPS`` of them to gaps: 9 to 33 % in the rows of benchmarks/memory.py with glibc 2.36, whose middle this is.
    """

    GAPS, OWN_PAGES, PAGE = 0.2, 32 * MIB, 4096
    context, allowance = 700 * MIB, "Python and its libraries"

    @staticmethod
    def taken(size: int) -> int:
        return -(-size // CPU.PAGE) * CPU.PAGE if size >= CPU.OWN_PAGES else round(size * (1 + CPU.GAPS))

    def workspace(self, operator: Any, args: Any) -> Workspace:
        return workspace(operator, args, on_cpu)


class Accelerator(Stage, FakeAccelerator):
    """An accelerator, with the rules of torch's caching allocator for CUDA.

    It rounds to 512 bytes, and takes blocks of 10 MiB and more in multiples of 2 MiB.
    """

    UNIT, LARGE, LARGE_UNIT = 512, 10 * MIB, 2 * MIB
    context, allowance = (500 + 32) * MIB, "CUDA's context and cuBLAS's workspace"

    @staticmethod
    def taken(size: int) -> int:
        unit = Accelerator.LARGE_UNIT if size >= Accelerator.LARGE else Accelerator.UNIT
        return -(-size // unit) * unit

    def workspace(self, operator: Any, args: Any) -> Workspace:
        return workspace(operator, args, by_copies)


def stage_for(kind: str) -> Stage:
    """A stage that plays a device of this kind; for an accelerator, torch has one more from then on."""
    if kind == "cpu":
        return CPU()
    register()
    return Accelerator()
