"""A command line on hostile input: each case in a process of its own, with bounded memory and time.

The processes are forked from a server that has imported everything once, so that a case costs what its command costs.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

import i2i

MEMORY = 2**30
"""Bytes that a command may map beyond what the server has mapped."""
PROCESSOR, WALL = 20, 60
"""Seconds: of work, and until a command that does nothing counts as one that hangs."""
LONGEST = 600
"""Characters of a line that somebody is meant to read."""


def _modules(kind: str) -> list[str]:
    return [module.name for module in iter_modules([str(Path(i2i.__path__[0], kind))])]


IMPORTED = (
    "i2i.cli.entry",
    "i2i.data.check",
    "i2i.exchange.state_files",
    "i2i.inference.load",
    "i2i.inference.together",
    "i2i.inference.translate",
    "i2i.inference.views",
    "i2i.training.start",
    *(f"i2i.{kind}.{module}" for kind in ("losses", "methods", "networks") for module in _modules(kind)),
    "albumentations",
    "rich.console",
    "torch._dynamo",  # what an optimiser's first step imports
    "pytest",  # the main program, which each process imports again
)
"""What a command could import: each case would pay for it."""

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(list(IMPORTED))  # not this file: a package of the name "tests" may be installed


class Outcome(NamedTuple):
    """How a command ended; ``code`` is minus the signal where one ended it."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Case:
    """An attack and its answer.

    Attributes:
        name: of the case.
        make: writes the bad input into an empty folder, in which the command then runs; returns its arguments.
        code: the exit code.
        line: what one line on stderr says; empty for a command that has nothing to say there.
        unchanged: files of the folder that the command must leave as they are.
    """

    name: str
    make: Callable[[Path], Sequence[object]]
    code: int
    line: str
    unchanged: Sequence[str] = ()

    def check(self, folder: Path) -> Outcome:
        """Runs the case in ``folder``, which is empty, and returns how it ended for what else there is to see."""
        arguments = self.make(folder)
        before = [_state(folder / name) for name in self.unchanged]
        outcome = run(arguments, folder)
        told = f"{self.name}: exit code {outcome.code}, and on stderr:\n{outcome.err[-4000:]}"
        assert "Traceback" not in outcome.err, told
        assert outcome.code == self.code, told
        lines = outcome.err.splitlines()
        assert not self.line or any(self.line in line for line in lines), told
        assert all(line.isprintable() and len(line) <= LONGEST for line in lines), told
        if self.code == 2:
            assert [line for line in lines if line.startswith("error: ")] == lines[-1:], told
        assert [_state(folder / name) for name in self.unchanged] == before, f"{self.name}: files have changed"
        return outcome


def run(arguments: Sequence[object], folder: Path) -> Outcome:
    """Runs ``i2i ARGUMENTS`` in ``folder``; what it prints lies beside the folder until it is read."""
    out, err = (folder.with_name(f"{folder.name}.{stream}") for stream in ("stdout", "stderr"))
    process = SERVER.Process(target=_command, args=([str(part) for part in arguments], str(folder), str(out), str(err)))
    process.start()
    process.join(WALL)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    said = [path.read_text(encoding="utf-8", errors="surrogateescape") for path in (out, err)]
    return Outcome(process.exitcode, said[0], said[1])


def _command(arguments: list[str], folder: str, out: str, err: str) -> None:
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape") for number in (1, 2))
    os.chdir(folder)
    sys.argv = ["i2i", *arguments]
    _limit()
    code: Any = 1
    try:
        from i2i.cli import main

        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # main sets stdout to None where nobody reads it
            stream.flush()
    os._exit(code)


def _limit() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def _state(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"
