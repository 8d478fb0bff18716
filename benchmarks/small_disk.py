"""Goes on with a run on a disk that is nearly full, and brings its files back: space is there again.

``unshare -rm python -m benchmarks.small_disk RUN FREE COMMAND...``: the disk is a tmpfs that only this process sees,
with FREE bytes beside the files of RUN, and RUN in COMMAND becomes the run's place there. The exit code is COMMAND's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SPACE = 1 << 28


def can_mount() -> bool:
    """Whether this machine lets a user mount a disk in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


def fill(disk: Path, free: int) -> Path:
    """Writes a file that leaves ``free`` bytes."""
    there = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - free)
    return ballast


def main() -> None:
    """Runs the command."""
    run, free, command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    disk = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "none", disk], check=True)
    there = Path(shutil.copytree(run, disk / "run"))
    ballast = fill(disk, free)
    code = subprocess.run([str(there) if part == str(run) else part for part in command]).returncode
    ballast.unlink()
    shutil.rmtree(run)
    shutil.copytree(there, run)
    subprocess.run(["umount", disk], check=True)
    disk.rmdir()
    sys.exit(code)


if __name__ == "__main__":
    main()
