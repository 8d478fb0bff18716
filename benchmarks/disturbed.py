"""A small training, seen from outside: started, stopped and continued by real commands, and what each of them said."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from i2i.storage.runs import RunFolder

IMAGES = {"trainA": 12, "trainB": 10, "testA": 2, "testB": 2}
EPOCH = 6
"""Steps in which every image is read once, with the batches of two of ``SETTINGS``."""
PATIENCE = 180.0
"""Seconds within which a command must have done what is waited for; a machine may have other work."""
FOREVER = 10_000_000
SETTINGS = (
    *("networks.generator.width=4", "networks.generator.blocks=1"),
    *("networks.discriminator.width=4", "networks.discriminator.layers=1"),
    *("training.checkpoint_seconds=1", "training.keep_checkpoints=3", "training.log_every=5"),
    "training.sample_every=100",
    "training.schedule.constant=1",  # the length of the run is not known before its end
)
# What a user without privileges may not do, root may: without these two capabilities it may not either.
UNPRIVILEGED = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
TEMPORARIES = ".i2i-*.tmp"


class Unexpected(Exception):
    """Something that should not have happened."""


class Ended(NamedTuple):
    """A command that has ended: its exit code, and all that it said."""

    code: int
    said: str


def make_images(data: Path, seed: int) -> None:
    """A small unpaired folder of patches of colour."""
    draw = np.random.default_rng(seed)
    for folder, count in IMAGES.items():
        (data / folder).mkdir(parents=True)
        for number in range(count):
            patches = Image.fromarray(draw.integers(0, 256, (4, 4, 3), np.uint8))
            patches.resize((24, 20)).save(data / folder / f"{number:02}.png")


def new_training(run: Path, data: Path, steps: int) -> list[str]:
    """The command that trains ``steps`` steps into a new folder."""
    return [
        *(*UNPRIVILEGED, sys.executable, "-m", "i2i", "train", "--arch", "cyclegan-fast", "--threads", "1"),
        *("--data", str(data), "--run", str(run), "--steps", str(steps), "--image-size", "16", "--batch-size", "2"),
        *(part for setting in SETTINGS for part in ("--set", setting)),
    ]


def resumption(run: Path, *arguments: str) -> list[str]:
    """The command that goes on with a run; the loader is named, as a fault may have changed it."""
    command = [*UNPRIVILEGED, sys.executable, "-m", "i2i", "train", "--resume", str(run)]
    return [*command, "--set", "data.workers=auto", *arguments]


class Disturbed:
    """The training that faults are tried on.

    Args:
        folder: gets its data and its run.
        seed: decides its images and, through ``chance``, what happens to it.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.run, self.data = folder, RunFolder(folder / "run"), folder / "data"
        self.chance = random.Random(seed)
        self.repeated = 0
        self._said = folder / "said.txt"
        make_images(self.data, seed)
        self.launch(new_training(self.run.root, self.data, FOREVER))
        self.wait_for_a_checkpoint()

    # What is known of it

    @property
    def done(self) -> int:
        """The step of its newest checkpoint, damaged or not."""
        return max((int(path.stem[-8:]) for path in self.run.checkpoints()), default=0)

    @property
    def said(self) -> str:
        """What the process has said so far."""
        return self._said.read_text(errors="replace")

    # What is done with it

    def launch(self, command: Sequence[str]) -> None:
        """Starts the process that trains."""
        self._before, self._launched = self.done, time.time_ns()
        with self._said.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def resume(self, *arguments: str) -> None:
        """Starts a process that goes on with it, waits for its first checkpoint, and counts what it did again."""
        had = last_logged(self.run)
        self.launch(resumption(self.run.root, *arguments))
        self.wait_until(lambda: "continuing at step" in self.said or "starting at step 0" in self.said, "it goes on")
        match = re.search(r"continuing at step ([\d,]+)", self.said)
        self._before = int(match[1].replace(",", "")) if match else 0
        self.repeated += max(0, had - self._before)
        self.wait_for_a_checkpoint()

    def wait_for_a_checkpoint(self) -> None:
        """Waits until this process has read every image and saved."""
        self.wait_until(lambda: self._saved >= self._before + EPOCH, "a checkpoint")

    @property
    def _saved(self) -> int:
        """The last step that this process has saved."""
        written = [path for path in self.run.checkpoints() if modified(path) > self._launched]
        return max((int(path.stem[-8:]) for path in written), default=0)

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        """Waits while the process runs."""
        end = time.monotonic() + PATIENCE
        while not done():
            if self.process.poll() is not None:
                raise Unexpected(f"ended with {self.process.returncode} before {what}: {last_lines(self.said)}")
            if time.monotonic() > end:
                raise Unexpected(f"waited {PATIENCE:.0f} s for {what}: {last_lines(self.said)}")
            time.sleep(0.01)

    def wait_for_i2i(self) -> None:
        """Waits until i2i has begun and not only Python: until SIGTERM is caught."""
        status = Path(f"/proc/{self.process.pid}/status")
        self.wait_until(lambda: bool(caught_signals(status) >> (signal.SIGTERM - 1) & 1), "i2i begins")

    def go_on_for(self, seconds: float) -> None:
        """Lets it train."""
        end = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() > end, f"{seconds:.1f} s had passed")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it has not ended by itself."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> Ended:
        """Waits for its end."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Unexpected(f"had not ended after {PATIENCE:.0f} s: {last_lines(self.said)}") from None
        require("Traceback" not in self.said, f"a traceback: {last_lines(self.said)}")
        return Ended(self.process.returncode, self.said)

    def wait_for_steps(self, steps: int) -> None:
        """Waits for a checkpoint that is so many steps further than the newest."""
        wanted = self._saved + steps
        self.wait_until(lambda: self._saved >= wanted, f"{steps} more steps")

    def kill(self) -> None:
        """Kills it, so that its files are as they are."""
        self.signal(signal.SIGKILL)
        self.end()

    def leave(self) -> None:
        """Ends whatever still runs."""
        self.process.kill()
        self.process.wait()

    def refused(self, *says: str) -> None:
        """Tries to go on, which has to be refused in one line that ``says`` all this, and to change nothing."""
        before = {path: path.read_bytes() for path in (self.run.model, *self.run.checkpoints())}
        result = subprocess.run(resumption(self.run.root), capture_output=True, text=True, timeout=PATIENCE)
        require_error(Ended(result.returncode, result.stdout + result.stderr), *says)
        after = {path: path.read_bytes() for path in (self.run.model, *self.run.checkpoints())}
        require(before == after, "a refused command changed weights or checkpoints")


def last_logged(run: RunFolder) -> int:
    """The last step that a run has written a whole line about."""
    if not run.metrics.exists():
        return 0
    with run.metrics.open("rb") as file:
        file.seek(max(0, run.metrics.stat().st_size - 4000))
        steps = re.findall(rb'^\{"step": (\d+),.*\}$', file.read(), re.MULTILINE)
    return int(steps[-1]) if steps else 0


def caught_signals(status: Path) -> int:
    """The signals that a process has handlers for, a bit for each, from its status in /proc."""
    match = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    return int(match[1], 16) if match else 0


def modified(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 for one that has been removed since it was listed."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def require(holds: bool, otherwise: str) -> None:
    """Raises ``Unexpected`` where something does not hold."""
    if not holds:
        raise Unexpected(otherwise)


def require_error(ended: Ended, *says: str) -> None:
    """The end of a command that could not go on: exit code 2, one line that ``says`` all this, and no traceback."""
    errors = [line for line in ended.said.splitlines() if line.startswith("error:")]
    require(ended.code == 2, f"exit code {ended.code} where 2 was expected: {last_lines(ended.said)}")
    require(len(errors) == 1 and "Traceback" not in ended.said, f"not one line: {last_lines(ended.said)}")
    for text in says:
        require(text in errors[0], f"no {text!r} in {errors[0]!r}")


def last_lines(text: str) -> str:
    """The end of what a command said."""
    return json.dumps("\n".join(text.splitlines()[-12:]))
