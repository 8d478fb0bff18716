"""How a command ends: its exit code, the line of an error, and what its last lines say."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from i2i.display import one_line

if TYPE_CHECKING:
    from i2i.inference.sampler import Sampler
    from i2i.inference.translator import Translator

DONE, SKIPPED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def fail(message: str, code: int) -> NoReturn:
    """Ends the program with an error of one line."""
    click.echo(f"error: {one_line(message)}", err=True)
    sys.exit(code)


def as_called(command: str) -> str:
    """How to call ``command`` again: by its name where the shell finds it, else by the path beside this program."""
    here = Path(sys.argv[0]).parent / command
    found = shutil.which(command)
    if found is None and here.is_file():
        return os.path.relpath(here)
    return command


def model_line(model: Translator | Sampler) -> str:
    """Which model did the work."""
    if not model.step:  # not trained here: imported
        return str(model.config.about)
    return f"{model.config.arch} ({model.step:,} steps)"
