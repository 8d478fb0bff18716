"""Injects faults into one training in turn, and compares it with an undisturbed one of the same steps, bit for bit.

The training is a small CycleGAN on a small unpaired folder that is made on the spot, with previews, checkpoints and
curves; every process is a real command. The order of the faults, their moments and places follow from the seed.

usage: python -m benchmarks.soak [--minutes 60 | --faults N] [--only FAULT...] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.disturbed import Disturbed, Unexpected, last_lines, new_training, resumption
from benchmarks.faults import FAULTS, possible_here
from i2i.device import environment
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree

LAST_STEPS = 10
"""How many steps the disturbed training does after the last fault."""


@dataclass
class Tally:
    """What became of one kind of fault.

    Attributes:
        tried: how often it was injected.
        survived: how often what followed was what has to follow.
        steps_repeated: steps that were done again, to five.
        notes: what it said of itself.
        problems: what followed instead.
    """

    tried: int = 0
    survived: int = 0
    steps_repeated: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Clock:
    """Whether time is left for faults: the undisturbed training at the end takes its part of it."""

    def __init__(self, minutes: float) -> None:
        self._begin, self._seconds = time.monotonic(), 60 * minutes

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def is_left(self, steps: int, seconds_per_step: float) -> bool:
        """Whether more than an undisturbed training of ``steps`` steps needs is left."""
        return self.passed + steps * seconds_per_step + 30 < self._seconds


def in_turn(run: Disturbed, only: list[str]) -> Iterator[Any]:
    """All faults in a random order, and again in another."""
    faults = [fault for fault in FAULTS if possible_here(fault) and (not only or fault.__name__ in only)]
    while True:
        yield from run.chance.sample(faults, len(faults))


def inject(run: Disturbed, fault: Any, tally: Tally) -> None:
    """Tries one fault; whatever follows, the training runs afterwards."""
    before = run.repeated
    tally.tried += 1
    try:
        note = fault(run)
        tally.survived += 1
        tally.notes += [note] if note else []
    except Unexpected as problem:
        tally.problems.append(str(problem))
        print(f"UNEXPECTED {fault.__name__}: {problem}", flush=True)
        run.leave()
        run.resume()
    tally.steps_repeated += run.repeated - before


def compared(one: Path, other: Path) -> dict[str, bool]:
    """What is the same, bit for bit, in two finished runs."""
    states = [load_tree(RunFolder(root).checkpoints()[-1], kind="checkpoint")[0] for root in (one, other)]
    for state in states:
        del state["seconds"]
    same = {"weights": "model.safetensors", "curves": "metrics.jsonl"}
    return {name: (one / file).read_bytes() == (other / file).read_bytes() for name, file in same.items()} | {
        "training state": equal(*states)
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of tensors and values are the same."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def soak(run: Disturbed, clock: Clock, faults: int | None, only: list[str]) -> dict[str, Tally]:
    """Injects faults while time is left, or ``faults`` of them."""
    tallies: dict[str, Tally] = {}
    seconds_per_step = 0.0 if faults else measured(run)
    for number, fault in enumerate(in_turn(run, only)):
        if number == faults or (faults is None and not clock.is_left(run.done, seconds_per_step)):
            return tallies
        inject(run, fault, tallies.setdefault(fault.__name__, Tally()))
        print(f"{clock.passed:6.0f} s  step {run.done:>6}  {fault.__name__}", flush=True)
    raise AssertionError("faults never end")


def measured(run: Disturbed) -> float:
    """Seconds of a step, with a reserve."""
    begin, first = time.monotonic(), run.done
    run.wait_for_steps(20)
    return 1.3 * (time.monotonic() - begin) / (run.done - first)


def finish(run: Disturbed) -> int:
    """Takes the training to its end, whose step is returned."""
    run.kill()
    steps = run.done + LAST_STEPS
    run.launch(resumption(run.run.root, "--steps", str(steps)))
    ended = run.end()
    if ended.code != 0:
        raise Unexpected(f"exit code {ended.code} at the end: {last_lines(ended.said)}")
    return steps


def table(tallies: dict[str, Tally]) -> str:
    """Markdown."""
    lines = ["| fault | tried | survived | steps repeated | |", "|---|---|---|---|---|"]
    for name, tally in tallies.items():
        notes = ", ".join(f"{note}: {tally.notes.count(note)}" for note in sorted(set(tally.notes)))
        lines.append(
            f"| {name.replace('_', ' ')} | {tally.tried} | {tally.survived} | {tally.steps_repeated} | {notes} |"
        )
    tried, survived, steps = (
        sum(getattr(tally, key) for tally in tallies.values()) for key in ("tried", "survived", "steps_repeated")
    )
    return "\n".join([*lines, f"| all | {tried} | {survived} | {steps} | |"])


def main() -> None:
    """Prints a table; exits with 1 if one thing was not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--only", nargs="+", choices=[fault.__name__ for fault in FAULTS], default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = Clock(arguments.minutes)
    with tempfile.TemporaryDirectory() as folder:
        run = Disturbed(Path(folder), arguments.seed)
        try:
            tallies = soak(run, clock, arguments.faults, arguments.only)
            steps = finish(run)
        finally:
            run.leave()
        undisturbed = Path(folder) / "undisturbed"
        subprocess.run(new_training(undisturbed, run.data, steps), check=True, capture_output=True)
        same = compared(run.run.root, undisturbed)
    print(table(tallies))
    print(f"{steps:,} steps and {clock.passed / 60:.1f} minutes, seed {arguments.seed}, {environment()}")
    print("; ".join(f"{what}: {'identical' if holds else 'DIFFERENT'}" for what, holds in same.items()))
    if arguments.json is not None:
        content = {
            "seed": arguments.seed,
            "minutes": round(clock.passed / 60, 1),
            "environment": environment(),
            "steps": steps,
            "identical": same,
            "faults": {name: asdict(tally) for name, tally in tallies.items()},
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(not all(same.values()) or any(tally.problems for tally in tallies.values()))


if __name__ == "__main__":
    main()
