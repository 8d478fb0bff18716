"""The command line: parses options, calls the library once, and reports exit codes and one-line errors."""

from i2i.cli.entry import main

__all__ = ["main"]
