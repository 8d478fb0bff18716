"""Identifies the process that wrote a lock or a temporary file, and whether it still runs.

A process number alone is not unique: it is reused, above all in containers. Together with the host, its boot and the
process's start time it identifies one process. Processes on other hosts cannot be seen, and count as running.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: the name of its machine.
        boot: an identifier of the machine's boot; empty where the system tells none.
        process: its number.
        began: when it began, in the system's own unit; empty where the system does not tell.
    """

    host: str
    boot: str
    process: int
    began: str

    @classmethod
    def this(cls) -> Owner:
        """This process."""
        return cls(socket.gethostname(), _boot(), os.getpid(), _began(os.getpid()))

    @property
    def is_gone(self) -> bool:
        """Whether it surely runs no more: it was on this host, which has been booted since or has no such process."""
        if self.host != socket.gethostname():
            return False
        return self.boot != _boot() or not _exists(self.process) or self.began != _began(self.process)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:
        return ""


def _began(process: int) -> str:
    try:  # field 22; the second, in brackets, may hold blanks and brackets itself
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _exists(process: int) -> bool:
    if sys.platform == "win32":  # where signal 0 would end the process
        import psutil

        return bool(psutil.pid_exists(process))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
