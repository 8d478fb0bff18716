"""Errors that a user can cause: each carries an exit code, and a one-line message that names the fix."""

from __future__ import annotations


class UserError(Exception):
    """The command or its input was wrong; nothing was changed. Exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """A setting has an unknown key, a wrong type or an impossible value."""


class DataError(UserError):
    """A data set or a picture cannot be used."""


class WeightsError(UserError):
    """A weight file or a checkpoint cannot be used."""


class TrainingStopped(UserError):
    """Training stopped itself (a loss is not finite); the last good checkpoint is kept. Exit code 3."""

    exit_code = 3
