"""The settings that may change when a run is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from i2i.config.resolve import assigned, changed
from i2i.config.schema import PLACES, Config
from i2i.errors import ConfigError

LENGTH = ("training.steps", "training.epochs", "training.max_time")
CADENCES = (
    *("training.log_every", "training.sample_every", "training.checkpoint_seconds", "training.keep_checkpoints"),
    *("training.rank_timeout", "health.enabled", "health.every"),
)
"""What a run does beside its steps, which do not depend on it."""
FOLDERS = tuple(f"data.{key}" for key in PLACES)
MACHINE = (
    *("data.workers", "data.memory_gib", "data.disk_gib", "data.on_device"),
    *("training.device", "training.threads", "training.graphs"),
)
MAY_CHANGE = (*LENGTH, "evaluation.patience", *CADENCES, *FOLDERS, *MACHINE)


def changes(options: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """What named options (None: not given) and ``a.b=value`` strings change of a run.

    Raises:
        ConfigError: something that may not change, by name.
    """
    given = {path: value for path, value in options.items() if value is not None}
    given |= dict(assigned(assignment) for assignment in assignments)
    _require_may_change(given)
    return given


def _require_may_change(given: Mapping[str, Any]) -> None:
    refused = [path for path in given if path not in MAY_CHANGE]
    if refused:
        raise ConfigError(
            f"--resume continues a run with its own settings; leave out {', '.join(refused)} "
            "(only its length, logging, device, threads and data location may change)"
        )


def continued(config: Config, given: Mapping[str, Any]) -> Config:
    """The settings of a run with the changes of its continuation.

    Raises:
        ConfigError: a change that is refused, or a value that is not allowed.
    """
    _require_may_change(given)
    if given.get("training.steps") is not None or given.get("training.epochs") is not None:
        given = {**dict.fromkeys(LENGTH), **given}  # a new length replaces the old one
    folders, moved = config.data.a is not None, given.keys() & set(FOLDERS)
    if moved and folders == ("data.path" in moved):
        raise ConfigError(
            f"this run learns from {config.data.title}: give its new location with "
            + ("--a and --b" if folders else "--data")
        )
    return changed(config, given)
