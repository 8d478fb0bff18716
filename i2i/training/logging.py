"""The logs of a run: TensorBoard files, metrics.jsonl and preview images. A failure to write them is never fatal."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from i2i.config.schema import Config, to_yaml
from i2i.config.telling import telling_settings
from i2i.data.batches import to_pixels
from i2i.data.images import Pixels, write_image
from i2i.device import read
from i2i.display import warn
from i2i.errors import DataError
from i2i.storage.files import append_line, flush_appended, write_atomically
from i2i.storage.runs import RunFolder
from i2i.tiles import tile

CLOCK_SET_BACK = 5.0  # seconds: files further in the future are not waited for


class Meters:
    """Means of scalars since the last reset, kept as tensors so that a step does not wait for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Counts one step's values."""
        for tag, value in values.items():
            self._sums[tag] = self._sums[tag] + value if tag in self._sums else value
            self._counts[tag] = self._counts.get(tag, 0) + 1

    def sums(self) -> dict[str, Tensor]:
        """The sums so far: not finite as soon as one value was not."""
        return self._sums

    def take(self) -> dict[str, float]:
        """The means, each over the steps that had the value, and a fresh start."""
        means = read({tag: total / self._counts[tag] for tag, total in self._sums.items()})
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts, so that an interrupted run reports the same means."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Takes over the state of ``state_dict``."""
        self._sums = {tag: total.to(device) for tag, total in state["sums"].items()}
        self._counts = dict(state["counts"])


class RunLog:
    """Writes a run's curves and images; on resume, what lies beyond ``step`` is taken back first."""

    def __init__(self, run: RunFolder, step: int) -> None:
        self._run = run
        self._broken = False
        self._writer: SummaryWriter | None = None
        self._hook_before = threading.excepthook
        threading.excepthook = self._on_failed_thread
        self._safely(lambda: self._cut_metrics(step))
        self._safely(lambda: self._open(step))

    def _cut_metrics(self, step: int) -> None:
        if self._run.metrics.exists():
            lines = self._run.metrics.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
            write_atomically(self._run.metrics, "".join(kept).encode())

    def _open(self, step: int) -> None:
        _await_later_name(self._run.events)
        self._writer = SummaryWriter(str(self._run.events), purge_step=step + 1 if step else None)

    def _on_failed_thread(self, failed: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread of its own, which ends on a full disk; the next call here tells of it."""
        if not issubclass(failed.exc_type, OSError):
            self._hook_before(failed)

    def start(self, config: Config, metrics: Sequence[str]) -> None:
        """The configuration as text, and what tells this run from others as hyper-parameters.

        Args:
            config: of the run.
            metrics: the tags of what is evaluated: TensorBoard shows the last value of each beside the settings.
        """

        def write(writer: SummaryWriter) -> None:
            writer.add_text("config", f"```yaml\n{to_yaml(config)}```".encode("utf-8", "replace").decode(), 0)
            for summary in hparams(telling_settings(config), dict.fromkeys(metrics, 0.0)):  # type: ignore[no-untyped-call]
                writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]

        self._write(write)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Curves that are a function of the run alone: to TensorBoard and to metrics.jsonl."""

        def write(writer: SummaryWriter) -> None:
            for tag, value in values.items():
                writer.add_scalar(tag, value, step)

        self._write(write)
        line = json.dumps({"step": step} | dict(values))
        self._safely(lambda: append_line(self._run.metrics, line))

    def speed(self, step: int, images_per_second: float) -> None:
        """The speed, to TensorBoard alone: it differs from run to run."""
        self._write(lambda writer: writer.add_scalar("speed/images_per_second", images_per_second, step))

    def images(self, step: int, previews: Mapping[str, Tensor]) -> None:
        """Previews (N, 3, H, W) in [-1, 1] as one image each, a row for each item: to TensorBoard and samples/."""
        for name, rows in previews.items():
            self._image(step, name, tile(to_pixels(rows), 1))

    def _image(self, step: int, name: str, sheet: Pixels) -> None:
        self._write(lambda writer: writer.add_image(f"images/{name}", sheet, step, dataformats="HWC"))
        self._safely(lambda: write_image(self._run.samples / f"step-{step:08d}-{name}.png", sheet))

    def flush(self) -> None:
        """Brings everything to disk; before each checkpoint."""
        self._write(lambda writer: writer.flush())
        self._safely(lambda: flush_appended(self._run.metrics))

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._write(lambda writer: writer.close())
        threading.excepthook = self._hook_before

    def _write(self, write: Callable[[SummaryWriter], None]) -> None:
        """Writes to TensorBoard; after it has failed once, its thread is gone and no curve follows."""
        writer = self._writer
        if writer is not None and not self._safely(lambda: write(writer)):
            self._writer = None

    def _safely(self, write: Callable[[], None]) -> bool:
        """Whether it was written. A full disk under a log is told once, and training goes on."""
        try:
            write()
        except (OSError, DataError) as error:
            if not self._broken:
                warn(f"cannot write logs to {self._run.root} ({error}); training goes on")
            self._broken = True
            return False
        return True


def _await_later_name(folder: Path) -> None:
    """Waits until the second of the newest event file has passed; where a clock was far ahead, files are renamed.

    TensorBoard reads a folder's files in the order of their names, which begin with the second of their making; within
    one second the process number decides, so that a run resumed at once could be read before its first part.
    """
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: (_second_of(path), path), reverse=True)
    newest = _second_of(files[0]) if files else 0
    if newest > time.time() + CLOCK_SET_BACK:
        _rename_to_the_past(files)
        return
    while time.time() < newest + 1:
        time.sleep(0.05)


def _rename_to_the_past(files: Sequence[Path]) -> None:
    """Gives event files, newest first, seconds that have passed, in the same order."""
    after = int(time.time())
    for path in files:
        written, after = _second_of(path), min(_second_of(path), after - 1)
        if after < written:
            path.rename(path.with_name(path.name.replace(f"{written:010}", f"{after:010}", 1)))


def _second_of(events: Path) -> int:
    """The second in the name of an event file; 0 where it has none."""
    second = events.name.split(".")[3]
    return int(second) if second.isdecimal() else 0


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinite for a line that is none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
