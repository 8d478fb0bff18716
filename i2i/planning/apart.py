"""Plans for an accelerator in a process of its own: after real steps torch registers no accelerator any more."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

Rest = ParamSpec("Rest")
Planned = TypeVar("Planned")


def on_stage(device: str, plan: Callable[Rest, Planned], *args: Rest.args, **kwargs: Rest.kwargs) -> Planned:
    """What ``plan`` gives for ``device``: here for a CPU, else from another process, to which all is sent."""
    if device == "cpu":
        return plan(*args, **kwargs)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_quietly) as pool:
        return pool.submit(plan, *args, **kwargs).result()


def _quietly() -> None:
    """Leaves messages, and what there is to say of Ctrl-C, to the process that waits for this one."""
    logging.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
