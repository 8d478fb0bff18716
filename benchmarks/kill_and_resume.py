"""Kills training at random moments and compares the resumed run's weights, byte by byte, with an undisturbed run's.

usage: python benchmarks/kill_and_resume.py [--times 10] [--steps 30] [--seed 0]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def command(run: Path, steps: int) -> list[str]:
    """A small CycleGAN that writes a checkpoint after every step."""
    settings = [
        *("training.checkpoint_seconds=0", "training.log_every=5", "training.ema.half_life=100"),
        *("networks.generator.width=8", "networks.generator.blocks=2", "networks.discriminator.width=8"),
    ]
    return [
        *(sys.executable, "-m", "i2i", "train", "--arch", "cyclegan-fast", "--steps", str(steps), "--run", str(run)),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def digest(run: Path) -> str:
    """The SHA-256 of the run's weight file."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def steps_done(run: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.stem[-8:]) for path in run.glob("checkpoints/step-*.safetensors")), default=0)


def killed_run(run: Path, steps: int, at: int, number: signal.Signals) -> int:
    """Starts a run, sends ``number`` once ``at`` steps are saved, and returns how many steps were saved in the end."""
    process = subprocess.Popen(command(run, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while steps_done(run) < at and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    process.wait()
    return steps_done(run)


def main() -> None:
    """Prints a line for each kill, and exits with 1 if one resumed run differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        subprocess.run(command(undisturbed, arguments.steps), check=True, capture_output=True)
        expected = digest(undisturbed)
        for i in range(arguments.times):
            run, number = Path(folder) / f"killed-{i}", chance.choice(SIGNALS)
            saved = killed_run(run, arguments.steps, chance.randrange(1, arguments.steps), number)
            subprocess.run([sys.executable, "-m", "i2i", "train", "--resume", run], check=True, capture_output=True)
            same = digest(run) == expected
            differing += not same
            print(f"{number.name} after step {saved}: {'identical' if same else 'DIFFERENT'}", flush=True)
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
