"""What is known of a run from its folder alone, whether it has ended or not; nothing is computed with networks."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i.config.schema import Config
from i2i.display import counted, duration, one_line
from i2i.doctor.records import read_records
from i2i.doctor.sign import Finding
from i2i.doctor.signs import FEW_STEPS, NOT_FINITE
from i2i.doctor.watch import findings_of
from i2i.errors import WeightsError
from i2i.methods.base import Method
from i2i.storage.lock import held_by_another
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_summary


@dataclass(frozen=True)
class Facts:
    """A run as its folder describes it.

    Attributes:
        run: the folder.
        config: what it was started with.
        records: the lines of its metrics.jsonl.
        step: how many steps its newest checkpoint has, or its newest record where there is no checkpoint.
        best_step: how many steps its best weights have; None where there are none.
        images_seen: how many images of a domain its steps took; 0 where no checkpoint tells.
        seconds: how long it has trained; None where no checkpoint tells.
        images: how many there were to learn from, in words; empty where no checkpoint tells.
        environment: versions and instructions that it was trained with; empty where no checkpoint tells.
        processes: how many trained it together.
        is_training: whether another process trains it now.
        unread: what could not be read, a line each.
    """

    run: RunFolder
    config: Config
    records: Sequence[Mapping[str, Any]]
    step: int
    best_step: int | None
    images_seen: int
    seconds: float | None
    images: str
    environment: str
    processes: int
    is_training: bool
    unread: Sequence[str]

    @property
    def name(self) -> str:
        """Of the run: that of its folder."""
        return one_line(self.run.root.resolve().name)

    @property
    def makes_from_noise(self) -> bool:
        """Whether its images have no input."""
        return Method.named(self.config.method["name"]).needs == "one domain"

    @property
    def total_steps(self) -> int | None:
        """How many steps it was to have; None where nothing tells how many images there were."""
        training, images = self.config.training, self._images_of_an_epoch
        if training.steps is not None:
            return training.steps
        if not images or not self.step or not self.images_seen:
            return None
        return (training.epochs or 1) * -(-images * self.step // self.images_seen)

    @property
    def _images_of_an_epoch(self) -> int:
        """How many there were in the larger domain; 0 where nothing tells."""
        return max(map(int, re.findall(r"(\d{1,9}) (?:in [AB]|images)", self.images)), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether it has reached its length, as far as that is known."""
        training, total = self.config.training, self.total_steps
        by_steps = total is not None and self.step >= total
        return by_steps or (training.max_time is not None and (self.seconds or 0.0) >= training.max_time)

    @property
    def has_stopped_itself(self) -> bool:
        """Whether a loss or gradient was not finite."""
        return bool(self.records) and any(tag.startswith(f"health/{NOT_FINITE.name}") for tag in self.records[-1])

    @property
    def state(self) -> str:
        """How it ended, or that it has not, as far as that is known."""
        if self.is_training:
            return "training now"
        if self.has_stopped_itself:
            return "stopped itself: a loss or gradient was not finite"
        return "complete" if self.is_complete else "ended before its full length; it can be resumed"

    @property
    def length(self) -> str:
        """How long it was to become."""
        training = self.config.training
        steps = "" if self.total_steps is None else counted(self.total_steps, "step")
        epochs = counted(training.epochs or 1, "epoch") + (f" ({steps})" if steps else "")
        asked = [steps if training.steps is not None else epochs]
        asked += [] if training.max_time is None else [duration(training.max_time)]
        return " or ".join(asked) + (", whichever ends first" if len(asked) > 1 else "")

    @property
    def trained(self) -> str:
        """How long it has become."""
        images = self._images_of_an_epoch
        epochs = f", {self.images_seen / images:.1f} epochs," if images and self.images_seen else ""
        time = "" if self.seconds is None else f" in {duration(self.seconds)}"
        return f"{counted(self.step, 'step')}{epochs}{time}"

    @property
    def findings(self) -> list[Finding]:
        """What the doctor says of its records, the signs that are on first."""
        found = findings_of(self.records)
        if not self.is_training:
            few = FEW_STEPS.beyond(self.step)
            found = [*(each for each in found if each.sign != FEW_STEPS), Finding(FEW_STEPS, "", self.step, few)]
        return sorted(found, key=lambda finding: (not finding.on, finding.tag))

    @property
    def _longer(self) -> str:
        """The options that let it train for twice its length, where it has its length."""
        if not self.is_complete:
            return ""
        training, total = self.config.training, self.total_steps
        longer = []
        if total is not None and self.step >= total:
            steps, epochs = training.steps, training.epochs or 1
            longer.append(f" --epochs {2 * epochs}" if steps is None else f" --steps {2 * steps}")
        if training.max_time is not None:
            longer.append(f" --max-time {2 * round(training.max_time)}s")
        return "".join(longer)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What to do with it, and the command for that."""
        root = shlex.quote(one_line(str(self.run.root)))
        use = ("generate images", f"i2i sample -o samples.png --model {root}")
        if not self.makes_from_noise:
            use = ("translate images", f"i2i translate INPUT -o OUTPUT --model {root}")
        return [
            use,
            ("measure it on held-out images", f"i2i evaluate --model {root} --json {root}/evaluation.json"),
            ("train on", f"i2i train --resume {root}{self._longer}"),
            ("start another from it", f"i2i train --from {root}"),
            ("check its health", f"i2i doctor {root}"),
            ("watch all curves", f"tensorboard --logdir {root}"),
        ]


def read_facts(run: RunFolder, config: Config | None = None) -> Facts:
    """Reads a run's folder.

    Args:
        run: the folder.
        config: of the run, for who has it at hand.

    Raises:
        DataError: this is no run folder.
        ConfigError: its configuration was edited into something invalid.
    """
    config = config or run.read_config()
    records, unread = list(read_records(run.metrics)), list[str]()
    step, header, values = records[-1]["step"] if records else 0, dict[str, Any](), dict[str, Any]()
    for path in reversed(run.checkpoints()):
        try:
            header, values = load_summary(path, kind="checkpoint")
        except WeightsError as error:
            unread.append(str(error))
            continue
        step = int(path.stem.removeprefix("step-"))
        break
    seconds, batches = values.get("seconds"), values.get("batches")
    return Facts(
        run=run,
        config=config,
        records=records,
        step=step,
        best_step=next(_steps_of_best(run, unread), None),
        images_seen=batches * config.training.batch_size if isinstance(batches, int) and 0 < batches < 2**40 else 0,
        seconds=seconds if isinstance(seconds, float) and math.isfinite(seconds) else None,
        images=one_line(str(header.get("data", "")).rpartition(", names ")[0])[:200],
        environment=one_line(str(header.get("environment", "")))[:400],
        processes=header.get("world_size", 1) if isinstance(header.get("world_size", 1), int) else 1,
        is_training=held_by_another(run.lock),
        unread=unread,
    )


def _steps_of_best(run: RunFolder, unread: list[str]) -> Iterator[int]:
    if run.best.is_file():
        try:
            step = load_summary(run.best, kind="weights")[0]["step"]
        except (WeightsError, KeyError) as error:
            unread.append(str(error))
        else:
            if isinstance(step, int):
                yield step
