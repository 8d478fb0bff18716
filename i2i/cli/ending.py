"""How a command ends: exit codes, one-line errors, and its last lines of output."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from i2i.display import counted, one_line

if TYPE_CHECKING:
    from i2i.inference.sampler import Sampler
    from i2i.inference.translator import Translator

DONE, SKIPPED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def tell(*lines: str) -> None:
    """Prints lines on stdout; a name with control characters in it cannot make more of one, or colour it."""
    for line in lines:
        click.echo(one_line(line))


def fail(message: str, code: int) -> NoReturn:
    """Ends the program with a one-line error."""
    click.echo(f"error: {one_line(message)}", err=True)
    sys.exit(code)


class _Stopped(BaseException):
    """SIGINT or SIGTERM asked the program to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def stoppable(way_on: str) -> Iterator[None]:
    """SIGINT and SIGTERM leave the context at once, after its clean-up: one line and exit code 130 or 143.

    A second signal ends the program immediately.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        raise _Stopped(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except _Stopped as stopped:
        fail(f"interrupted: {way_on}", 128 + stopped.number)
    finally:
        restore()


def as_called(command: str) -> str:
    """How to call ``command`` again: by its name if the shell finds it, else by its path beside this program."""
    here = Path(sys.argv[0]).parent / command
    found = shutil.which(command)
    if found is None and here.is_file():
        return os.path.relpath(here)
    return command


def model_line(model: Translator | Sampler) -> str:
    """The model in words, for the last line of a command."""
    if not model.step:  # imported, not trained by i2i
        return str(model.config.about)
    return f"{model.config.arch} ({counted(model.step, 'step')})"
