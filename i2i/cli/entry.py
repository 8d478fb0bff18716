"""The command ``i2i``: collects the sub-commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import select
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn, TextIO

import click

from i2i.cli import commands
from i2i.cli.ending import DONE, INTERRUPTED, WRONG_INPUT, fail
from i2i.display import on_terminal
from i2i.errors import DataError, UserError
from i2i.version import __version__

logging.getLogger("PIL").addHandler(logging.NullHandler())
"""What Pillow logs of a damaged image stands in the error that names it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="i2i")
def cli() -> None:
    """Train image-to-image translators on two folders of images, and use them."""
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's libraries would end the process with a message of their own
        raise DataError("the current folder has been deleted: change to one that is there, with cd") from None


def main() -> NoReturn:
    """Runs the command. Errors that a user can cause become one line and an exit code, never a traceback."""
    try:
        with on_terminal(), warnings.catch_warnings():
            # Of what is odd in the metadata of an image, which is read or refused all the same.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            result = _called()
    except click.exceptions.Abort:
        fail("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        fail("interrupted before there was anything to save", INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(WRONG_INPUT)
    except click.ClickException as error:
        fail(" ".join(error.format_message().split()), WRONG_INPUT)
    except UserError as error:
        fail(str(error), error.exit_code)
    except OSError as error:
        sys.stdout = None  # or Python would try at exit to write the same output again
        fail(f"{error.filename or 'input or output'}: {error.strerror or error}", WRONG_INPUT)
    sys.exit(result if isinstance(result, int) else DONE)


def _called() -> object:
    """What the command gives; it has done its work where the reader of its output has gone."""
    output = sys.stdout
    try:
        return cli.main(standalone_mode=False)
    except SystemExit:
        # Of click, where any pipe is broken; it has then put other streams in the place of stdout and stderr.
        if sys.stdout is output or not _has_no_reader(output):
            raise
        return DONE


def _has_no_reader(output: TextIO) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _found() -> Iterator[click.Command]:
    """Yields the command of every file in ``commands``."""
    for file in pkgutil.iter_modules(commands.__path__):
        yield getattr(importlib.import_module(f"{commands.__name__}.{file.name}"), file.name)


for command in _found():
    cli.add_command(command)
