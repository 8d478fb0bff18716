"""What can happen to a training, and what has to follow: each fault finds it running and leaves it so.

A fault raises ``Unexpected`` where something else follows. What it says of itself goes into the report.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from benchmarks.disturbed import (
    PATIENCE,
    TEMPORARIES,
    Disturbed,
    Ended,
    last_lines,
    require,
    require_error,
    resumption,
)
from benchmarks.small_disk import can_mount
from i2i.storage.files import _temporary_name
from i2i.storage.owner import Owner

START = 5.0
"""Seconds that a start takes, about: signals in the start come within them."""
STOPS = (signal.SIGINT, signal.SIGTERM)
MORE_THAN_ALLOWED = 5
"""Images: a run goes on with up to 3 that cannot be read."""


def kill(run: Disturbed) -> None:
    """SIGKILL at a random moment."""
    run.go_on_for(run.chance.uniform(0, 2))
    run.kill()
    run.resume()


def kill_in_write(run: Disturbed) -> str:
    """SIGKILL while a checkpoint or the weight file is written."""
    folder = run.chance.choice((run.run.root, run.run.checkpoint(0).parent))
    run.wait_until(lambda: bool(_writes(folder)), "a write")
    run.kill()
    cut = _writes(folder)
    run.resume()  # which writes by now itself
    require(not cut & _writes(folder), "the temporary file of the killed process is still there")
    return "cut in the write" if cut else "just after it"


def kill_in_start(run: Disturbed) -> None:
    """SIGKILL at a random moment of the start."""
    run.kill()
    run.launch(resumption(run.run.root))
    time.sleep(run.chance.uniform(0, START))
    run.kill()
    run.resume()


def stop(run: Disturbed) -> str:
    """SIGINT or SIGTERM: it saves, ends with 130, and nothing is repeated."""
    number = run.chance.choice(STOPS)
    before = run.repeated
    run.signal(number)
    ended = run.end()
    require(ended.code == 130, f"exit code {ended.code} after {number.name}: {last_lines(ended.said)}")
    require("and saved; continue with" in ended.said, last_lines(ended.said))
    run.resume()
    require(run.repeated == before, "steps were repeated after a stop that had saved")
    return number.name


def stop_twice(run: Disturbed) -> str:
    """A second SIGINT or SIGTERM soon after the first: it ends at once, or has saved before."""
    first, second = run.chance.choice(STOPS), run.chance.choice(STOPS)
    run.signal(first)
    time.sleep(run.chance.uniform(0, 0.1))
    run.signal(second)
    _require_interrupted(run.end())
    run.resume()
    return f"{first.name}, {second.name}"


def stop_in_start(run: Disturbed) -> str:
    """SIGINT or SIGTERM at a random moment of the start."""
    run.kill()
    number = run.chance.choice(STOPS)
    run.launch(resumption(run.run.root))
    run.wait_for_i2i()
    time.sleep(run.chance.uniform(0, START))
    run.signal(number)
    _require_interrupted(run.end())
    run.resume()
    return number.name


def full_disk(run: Disturbed) -> str:
    """A tmpfs with less space than a checkpoint takes: one line, all files whole, and with space it goes on."""
    run.kill()
    free = run.chance.randrange(4096, _size_of_checkpoint(run))
    small_disk = ["unshare", "-rm", sys.executable, "-m", "benchmarks.small_disk", str(run.run.root), str(free)]
    run.launch([*small_disk, *resumption(run.run.root)])
    require_error(run.end(), "cannot write", "No space left on device")
    require(not list(run.run.root.rglob(TEMPORARIES)), "a temporary file is left")
    run.resume()
    return f"{free:,} bytes free"


def file_limit(run: Disturbed) -> str:
    """No file may grow beyond a limit (RLIMIT_FSIZE, set from outside while it runs)."""
    limit = run.chance.randrange(_size_of_checkpoint(run))
    hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
    require_error(run.end(), "cannot write", "checkpoints")
    run.resume()
    return f"{limit:,} bytes"


def read_only(run: Disturbed) -> None:
    """The run folder becomes read-only while it trains; then it is refused until it is writable."""
    with _without_permission(run.run.root, run.run.checkpoint(0).parent):
        require_error(run.end(), "cannot write", "Permission denied")
        run.refused("cannot write", "Permission denied")
    run.resume()


def flipped_bit(run: Disturbed) -> None:
    """One bit of the newest checkpoint flips: it goes back to the one before, and says so."""

    def flip(content: bytearray) -> None:
        at = run.chance.randrange(len(content))
        content[at] ^= 1 << run.chance.randrange(8)

    _with_a_damaged_checkpoint(run, flip)


def truncated(run: Disturbed) -> None:
    """The newest checkpoint loses its end: it goes back to the one before, and says so."""

    def cut(content: bytearray) -> None:
        del content[run.chance.randrange(len(content)) :]

    _with_a_damaged_checkpoint(run, cut)


def lost_images(run: Disturbed) -> None:
    """Images vanish while it trains from memory; to go on it asks for them, and has them again."""
    with _changed(_some_images(run), lambda _: None):
        run.go_on_for(1)
        run.kill()
        run.refused("items are not there", "restore them")
    run.resume()


def garbage_images(run: Disturbed) -> None:
    """Images turn to garbage while it trains from memory; to go on it asks for them, and has them again."""
    with _changed(_some_images(run), lambda content: run.chance.randbytes(len(content) // 2)):
        run.go_on_for(1)
        run.kill()
        run.refused("cannot be read")
    run.resume()


def changed_image(run: Disturbed) -> None:
    """An image becomes another one: training on would mix two sets, and is refused until it is restored."""
    first, second = sorted((run.data / "trainA").iterdir())[:2]
    with _changed([first], lambda _: second.read_bytes()):
        run.kill()
        run.refused("have changed")
    run.resume()


def images_lost_for_good(run: Disturbed) -> str:
    """On a copy that decodes images as it goes: one vanishes and one turns to garbage; both are named, exit code 1."""
    run.kill()
    copy = run.folder / "copy"
    shutil.copytree(run.run.root, copy / "run")
    data = Path(shutil.copytree(run.data, copy / "data"))
    lost, spoilt = run.chance.sample(sorted((data / "trainA").iterdir()), 2)
    steps = run.done + 120
    run.launch([*resumption(copy / "run", "--data", str(data), "--steps", str(steps)), "--set", "data.memory_gib=0"])
    run.wait_until(lambda: "continuing at step" in run.said, "it goes on")
    lost.unlink()
    spoilt.write_bytes(b"garbage")
    ended = run.end()
    require(ended.code == 1, f"exit code {ended.code} where 1 was expected: {last_lines(ended.said)}")
    for path in (lost, spoilt):
        require(f"replaced: {path}" in ended.said, f"{path} is not named: {last_lines(ended.said)}")
    shutil.rmtree(copy)
    run.resume()
    return "on a copy"


def moved_data(run: Disturbed) -> None:
    """The data folder moves: it is asked for, and --data names its new place."""
    run.kill()
    moved = run.data.with_name(f"data{run.chance.randrange(10**6)}")
    run.data.rename(moved)
    run.refused(str(run.data))
    run.data = moved
    run.resume("--data", str(moved))


def dead_worker(run: Disturbed) -> None:
    """A loader worker is killed: another is started, and no batch is lost."""
    run.kill()
    run.resume("--set", "data.workers=1")
    worker = psutil.Process(run.process.pid).children()[0]
    worker.kill()
    run.wait_until(lambda: "a loader worker died" in run.said, "the death of a worker was told")
    run.wait_for_steps(20)
    stop(run)


def second_process(run: Disturbed) -> None:
    """A second process is refused, and the first one does not notice."""
    result = subprocess.run(resumption(run.run.root), capture_output=True, text=True, timeout=PATIENCE)
    require_error(Ended(result.returncode, result.stdout + result.stderr), f"in use by process {run.process.pid}")
    run.wait_for_steps(20)


def stale_lock(run: Disturbed) -> str:
    """A lock of a process that is gone is taken over, also one cut in its writing; another host's has to be deleted."""
    run.kill()
    gone = Owner(**json.loads(run.run.lock.read_text()))
    kind = run.chance.choice(("gone", "cut", "another host"))
    lock = json.dumps(asdict(replace(gone, host="elsewhere") if kind == "another host" else gone))
    run.run.lock.write_text(lock[:20] if kind == "cut" else lock)
    if kind == "another host":
        run.refused("in use by process", f"delete {run.run.lock}")
        run.run.lock.unlink()
    run.resume()
    return kind


def unwritable_curves(run: Disturbed) -> None:
    """TensorBoard's files cannot be written: told once, and training goes on."""
    run.kill()
    with _without_permission(run.run.events, *run.run.events.iterdir()):
        run.resume()
        require(run.said.count("cannot write logs") == 1, f"not told once: {last_lines(run.said)}")
        run.kill()
    run.resume()


def stray_files(run: Disturbed) -> None:
    """Temporary files of a dead process go; those of another host and foreign files stay; half a line is taken back."""
    run.kill()
    owner = Owner(**json.loads(run.run.lock.read_text()))
    host, boot = _temporary_name().split("-")[1:3]
    checkpoints = run.run.checkpoint(0).parent
    dead = [folder / f".i2i-{host}-{boot}-{owner.process}-1-0.tmp" for folder in (run.run.root, checkpoints)]
    foreign = [checkpoints / name for name in (f".i2i-{'0' * 12}-{boot}-1-1-0.tmp", "step-old.safetensors", "notes")]
    for path in (*dead, *foreign):
        path.write_bytes(b"half of something")
    with run.run.metrics.open("ab") as file:
        file.write(b'{"step": 1')
    run.resume()
    require(not any(path.exists() for path in dead), "a temporary file of a dead process is still there")
    require(all(path.exists() for path in foreign), "a file that is not its own is gone")
    for path in foreign:
        path.unlink()


FAULTS: tuple[Callable[[Disturbed], str | None], ...] = (
    *(kill, kill_in_write, kill_in_start, stop, stop_twice, stop_in_start),
    *(full_disk, file_limit, read_only, flipped_bit, truncated),
    *(lost_images, garbage_images, changed_image, images_lost_for_good, moved_data),
    *(dead_worker, second_process, stale_lock, unwritable_curves, stray_files),
)


def possible_here(fault: Callable[[Disturbed], str | None]) -> bool:
    """Whether this machine allows a fault to be made."""
    return fault is not full_disk or can_mount()


def _writes(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name.endswith(".tmp")}


def _size_of_checkpoint(run: Disturbed) -> int:
    return min(path.stat().st_size for path in run.run.checkpoints())


def _require_interrupted(ended: Ended) -> None:
    """One line and 130 or 143, which is what a shell says too where the second signal comes as Python itself ends."""
    code = ended.code if ended.code >= 0 else 128 - ended.code
    require(code in (130, 143), f"exit code {ended.code}: {last_lines(ended.said)}")
    errors = [line for line in ended.said.splitlines() if line.startswith("error:")]
    require(len(errors) == 1 or "and saved; continue with" in ended.said, f"not one line: {last_lines(ended.said)}")


def _some_images(run: Disturbed) -> list[Path]:
    """More than a run goes on without."""
    return run.chance.sample(sorted((run.data / "trainA").iterdir()), MORE_THAN_ALLOWED)


def _with_a_damaged_checkpoint(run: Disturbed, damage: Callable[[bytearray], None]) -> None:
    """Damages the newest of several, as a disk does: its time stays what it was."""
    run.wait_until(lambda: len(run.run.checkpoints()) > 1, "a second checkpoint")
    run.kill()
    newest = run.run.checkpoints()[-1]
    times = newest.stat()
    content = bytearray(newest.read_bytes())
    damage(content)
    newest.write_bytes(content)
    os.utime(newest, ns=(times.st_atime_ns, times.st_mtime_ns))
    run.resume()
    require(f"{newest} is" in run.said and "going back to" in run.said, f"not told: {last_lines(run.said)}")


@contextmanager
def _changed(paths: list[Path], change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Within the context files have other contents, or (None) are not there."""
    before = {path: path.read_bytes() for path in paths}
    for path, content in before.items():
        other = change(content)
        path.unlink() if other is None else path.write_bytes(other)
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@contextmanager
def _without_permission(*paths: Path) -> Iterator[None]:
    """Nobody may write there, within the context."""
    before = {path: path.stat().st_mode for path in paths}
    for path, mode in before.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in before.items():
            path.chmod(mode)
