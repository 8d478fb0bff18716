"""Errors that a user can cause: each carries an exit code, and a one-line message that names the fix."""

from __future__ import annotations

import difflib


class UserError(Exception):
    """The command or its input was wrong; nothing was changed. Exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """A setting has an unknown key, a wrong type or an impossible value."""


class DataError(UserError):
    """A data set or an image cannot be used."""


class WeightsError(UserError):
    """A weight file or a checkpoint cannot be used."""


class TrainingStopped(UserError):
    """Training stopped itself (a loss is not finite); the last good checkpoint is kept. Exit code 3."""

    exit_code = 3


def did_you_mean(given: str, known: list[str]) -> str:
    """The end of a message with the nearest known name, or an empty string if none is near.

    A dotted name is compared as a whole, then by its last part, which finds a key in the wrong section.
    """
    last = given.rpartition(".")[2]
    by_last = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.75) or [
        by_last[key] for key in difflib.get_close_matches(last, by_last, n=1)
    ]
    return f"; did you mean {near[0]}?" if near else ""
