"""The command line: options in, one call of the library, exit codes and one-line errors out. Nothing else."""

from i2i.cli.entry import main

__all__ = ["main"]
