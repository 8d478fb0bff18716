"""What a person sees while they wait: rich on a terminal, plain lines or nothing elsewhere. All of it on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

# Under torchrun only rank 0 prints.
console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=os.environ.get("RANK", "0") != "0")


def say(message: str) -> None:
    """A line for the user, as it is."""
    console.print(one_line(message), markup=False)


def warn(message: str) -> None:
    """A line that names a problem which does not stop the work."""
    console.print(f"warning: {one_line(message)}", markup=False, style="yellow")


def one_line(message: str) -> str:
    """The message with control characters and undecodable bytes of file names written as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)
    return shown.encode("utf-8", "backslashreplace").decode()


def tracked(label: str, total: int) -> Callable[[Iterable[Item]], Iterator[Item]]:
    """Wraps an iterable so that its progress is drawn on a terminal, and nothing anywhere else."""

    def wrap(items: Iterable[Item]) -> Iterator[Item]:
        with _bar(label, TextColumn("{task.completed:,}/{task.total:,}")) as progress:
            yield from progress.track(items, total=total, description=label)

    return wrap


class TrainingDisplay:
    """The progress of a run: a bar with the newest figures, or one plain line each time figures arrive."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._task = progress.add_task("training", total=total, figures="") if progress else None
        self._last_line = 0.0

    def advance(self, step: int) -> None:
        """After every step."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)

    def figures(self, step: int, seconds_left: float, speed: float, losses: dict[str, float]) -> None:
        """At every logging cadence; plain lines come no faster than one in two seconds, and always at the end."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        text = f"{speed:.1f} images/s  {duration(seconds_left)} left  {text}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, figures=text)
        elif time.monotonic() - self._last_line > 2 or step == self._total:
            say(f"step {step:,}/{self._total:,}  {text}")
            self._last_line = time.monotonic()


@contextmanager
def training_display(total: int) -> Iterator[TrainingDisplay]:
    """The display of a run of ``total`` steps."""
    if not console.is_terminal:
        yield TrainingDisplay(None, total)
        return
    with _bar("training", MofNCompleteColumn(), TextColumn("{task.fields[figures]}")) as progress:
        yield TrainingDisplay(progress, total)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, in days above two of them."""
    if seconds > 172_800:
        return f"{seconds / 86_400:.1f} days"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _bar(label: str, *columns: TextColumn | MofNCompleteColumn) -> Progress:
    time_left = [] if label == "training" else [TimeRemainingColumn()]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *columns,
        *time_left,
        console=console,
        disable=not console.is_terminal,
    )
