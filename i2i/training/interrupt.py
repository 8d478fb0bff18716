"""Ctrl-C and SIGTERM ask the loop to finish its step and save; a second one ends the process at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.made = False


@contextmanager
def catch_stop_requests() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into ``StopRequest.made``. Does nothing outside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.made = True
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
