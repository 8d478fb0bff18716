"""What the user sees during a command: messages through Python's logging, and progress on the terminal.

A program that uses i2i configures the logger ``i2i``; by default, logging shows only its warnings. Only the command
line draws progress bars, within ``on_terminal``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from i2i.launched import launched

if TYPE_CHECKING:  # rich is imported on first use: `i2i --help` must not wait for it
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

Item = TypeVar("Item")

# No NullHandler: it would hide warnings from a program that has not configured logging.
LOGGER = logging.getLogger("i2i")


def say(message: str) -> None:
    """Logs one line of information."""
    LOGGER.info(one_line(message), stacklevel=2)


def warn(message: str) -> None:
    """Logs one line about a problem that does not stop the command."""
    LOGGER.warning(one_line(message), stacklevel=2)


def one_line(message: str) -> str:
    """The message, with control characters and undecodable bytes of file names escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)
    return shown.encode("utf-8", "backslashreplace").decode()


class Terminal(logging.Handler):
    """Shows messages as lines on stderr: in colours on a terminal, plain elsewhere."""

    @cached_property
    def console(self) -> Console:
        """Where lines and progress bars appear."""
        from rich.console import Console

        class Unheard(Console):
            """Goes on where its reader has gone, as the command has to; rich would end the process."""

            def on_broken_pipe(self) -> None:
                self.quiet = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is in its buffer

        return Unheard(stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=launched().rank > 0)

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        if record.levelno >= logging.WARNING:
            self.console.print(f"warning: {record.getMessage()}", markup=False, style="yellow")
        else:
            self.console.print(record.getMessage(), markup=False)


@contextmanager
def on_terminal() -> Iterator[None]:
    """Within the context, messages go to stderr, and progress is drawn there if it is a terminal."""
    terminal, level, propagate = Terminal(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(terminal)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(terminal)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def tracked(label: str, total: int) -> Callable[[Iterable[Item]], Iterator[Item]]:
    """Wraps an iterable so that its progress is drawn on the command line's terminal, and only there.

    Within another one, a line below that one's.
    """

    def wrap(items: Iterable[Item]) -> Iterator[Item]:
        global _shown
        console = _terminal()
        if console is None or _others_hidden:
            yield from items
        elif _shown is not None:
            task = _shown.add_task(label, total=total)
            try:
                yield from _shown.track(items, task_id=task)
            finally:
                _shown.remove_task(task)
        else:
            from rich.progress import TextColumn, TimeRemainingColumn

            count = TextColumn("{task.completed:,}/{task.total:,}")
            with _bars(console, count, TimeRemainingColumn()) as _shown:
                try:
                    yield from _shown.track(items, total=total, description=label)
                finally:
                    _shown = None

    return wrap


_shown: Progress | None = None
"""What ``tracked`` draws: rich can draw one at a time."""


class TrainingDisplay:
    """The progress of a run: a bar with the latest figures on a terminal, else one line each time figures arrive."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._task = progress.add_task("training", total=total, figures="") if progress else None
        self._last_line = 0.0

    def advance(self, step: int) -> None:
        """Called after every step."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)

    def figures(self, step: int, seconds_left: float, speed: float, losses: dict[str, float]) -> None:
        """Called at every logging interval; prints plain lines at most every two seconds, and always at the end."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        text = f"{speed:.1f} images/s  {duration(seconds_left)} left  {text}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, figures=text)
        elif time.monotonic() - self._last_line > 2 or step == self._total:
            say(f"step {step:,}/{self._total:,}  {text}")
            self._last_line = time.monotonic()


@contextmanager
def training_display(total: int) -> Iterator[TrainingDisplay]:
    """The display of a run of ``total`` steps, and the only one for the time of the context."""
    console = _terminal()
    if console is None:
        yield TrainingDisplay(None, total)
        return
    from rich.progress import MofNCompleteColumn, TextColumn

    with (
        _alone(),
        _bars(console, MofNCompleteColumn(), TextColumn("{task.fields[figures]}")) as progress,
    ):
        yield TrainingDisplay(progress, total)


_others_hidden = False
"""Whether a display is there beside which rich can draw no other."""


@contextmanager
def _alone() -> Iterator[None]:
    global _others_hidden
    _others_hidden = True
    try:
        yield
    finally:
        _others_hidden = False


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or in days if more than two."""
    if seconds > 172_800:
        return f"{seconds / 86_400:.1f} days"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def counted(number: int, thing: str) -> str:
    """A number of things whose plural ends in s: "1 step", "1,450 steps"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _terminal() -> Console | None:
    """The command line's console, if progress can be drawn on it."""
    consoles = (handler.console for handler in LOGGER.handlers if isinstance(handler, Terminal))
    return next((console for console in consoles if console.is_terminal), None)


def _bars(console: Console, *columns: ProgressColumn) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), *columns, console=console)
