"""The doctor beside a run: callbacks that measure the signs of ``i2i/doctor``, write them down, and warn once of each.

The first process does it alone. What it knows of the past it reads from metrics.jsonl, so that a run which was
interrupted measures and says what one in a piece would.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from i2i.batch import Batch
from i2i.device import capabilities
from i2i.display import counted, duration, say, warn
from i2i.doctor.curves import Curves
from i2i.doctor.examine import images_for, look_at_judges, look_at_outputs
from i2i.doctor.records import read_records
from i2i.doctor.sign import Finding, tag_of
from i2i.doctor.signs import FEW_IMAGES, FEW_STEPS, RATE_AT_ZERO
from i2i.doctor.watch import Watch
from i2i.seeding import derive_seed
from i2i.storage.runs import RunFolder
from i2i.training.callbacks import Callback, Position, every
from i2i.world import as_rank, world

if TYPE_CHECKING:
    from i2i.training.trainer import Trainer

TIMED = 3
"""How many steps pass before a run says what its time will give; the first of them warms up."""
SPENT = 1e-3
"""A rate below this part of the configured one moves nothing that anybody sees."""


def health_callbacks(trainer: Trainer, run: RunFolder) -> list[Callback]:
    """The doctor's callbacks for a run that is about to start or go on; none where it is switched off."""
    health, training = trainer.config.health, trainer.config.training
    if not health.enabled or not trainer.is_main:
        return []
    check = HealthCheck(trainer, run.metrics)
    estimate = Estimate(trainer)
    return [
        Callback(lambda position: False, check.start, at_start=True),
        Callback(estimate.due, estimate.tell),
        Callback(every(training.log_every), check.note),
        Callback(every(health.every), check.look),
    ]


class HealthCheck:
    """Measures and warns.

    Args:
        trainer: the run, before its next step.
        metrics: the figures of its past.
    """

    def __init__(self, trainer: Trainer, metrics: Path) -> None:
        self._learnt, self._held_out = (_examples(trainer, held_out=held_out) for held_out in (False, True))
        averaged = set(map(id, trainer.method.averaged().values()))
        self._players = trainer.method.players()
        self._generators = [name for name, own in self._players.items() if averaged & set(map(id, own))]
        self._curves, self._watch = Curves(), Watch()
        for record in read_records(metrics):
            self._curves.add(record)
            self._watch.add(record)

    def start(self, trainer: Trainer) -> None:
        """Says what can be known before the first step."""
        self._tell(self._watch.add(_few_images(trainer)))

    def note(self, trainer: Trainer) -> None:
        """Takes the figures that were logged last."""
        self._curves.add(trainer.metrics)

    def look(self, trainer: Trainer) -> None:
        """Measures every sign, writes the figures down, and warns of what is new."""
        values = self.measure(trainer)
        trainer.record(values)
        enough = trainer.engine.step_count >= FEW_STEPS.threshold
        self._tell(self._watch.add(values, over=trainer.position.over and enough))

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """The figures of this step, by their tags."""
        values = _few_images(trainer) | _rate_at_zero(trainer)
        values |= {f"health/{k}": v for k, v in self._curves.figures(list(self._players), self._generators).items()}
        seed, step = trainer.config.training.seed, trainer.engine.step_count
        torch.manual_seed(derive_seed(seed, "health", step))  # the next step draws from its own
        with as_rank(0, 1):
            values |= self._looks(trainer)
        return values

    def _looks(self, trainer: Trainer) -> dict[str, float]:
        training, engine = trainer.config.training, trainer.engine
        learnt, held_out = (
            None if batch is None else batch.to(trainer.device) for batch in (self._learnt, self._held_out)
        )
        with engine.autocast():
            batch_size = training.batch_size // world().size
            found = look_at_judges(engine.method, learnt, held_out, batch_size=batch_size)
        shown = self._held_out or self._learnt
        if shown is not None:
            with trainer.model() as model:
                found |= look_at_outputs(model, shown)
        return found

    def _tell(self, findings: list[Finding]) -> None:
        for finding in findings:
            warn(finding.line())


class Estimate:
    """Says at the start of a run, or of a part of it, what its time will give."""

    def __init__(self, trainer: Trainer) -> None:
        self._first = trainer.engine.step_count + 1
        self._log_every = trainer.config.training.log_every
        self._asynchronous = capabilities(trainer.device).asynchronous
        self._started: tuple[int, float] | None = None
        self._told = False

    def due(self, position: Position) -> bool:
        """After the first step, and after some more; on an accelerator where the host has waited for it anyway."""
        if self._told:
            return False
        waited = position.step % self._log_every == 0 if self._asynchronous else True
        return waited and (self._started is None or position.step >= self._started[0] + TIMED - 1)

    def tell(self, trainer: Trainer) -> None:
        """Notes the time, and the second time says how many steps there will be."""
        step, now = trainer.engine.step_count, trainer.seconds()
        if self._started is None:
            self._started = step, now
            return
        self._told = True
        before, then = self._started
        seconds = (now - then) / (step - before)
        limit, total = trainer.config.training.max_time, trainer.total_steps
        if step == total:
            return
        if limit is None:
            left = duration((total - step) * seconds)
            say(f"a step takes {seconds:.2g} s: {counted(total, 'step')} will take about {left}")
            return
        expected = min(total, step + int(max(0.0, limit - now) / seconds))
        epochs = expected / trainer.steps_per_epoch
        given = f"{counted(expected, 'step')}, {epochs:.1f} epochs"
        say(f"a step takes {seconds:.2g} s: {duration(limit)} will give about {given}")
        if expected < FEW_STEPS.threshold:
            warn(Finding(FEW_STEPS, "", expected, on=True).line())


def _examples(trainer: Trainer, *, held_out: bool) -> Batch | None:
    return trainer.data.examples(images_for(trainer.method), held_out=held_out)


def _few_images(trainer: Trainer) -> dict[str, float]:
    return {tag_of(FEW_IMAGES): trainer.data.smallest() / trainer.method.few_images}


def _rate_at_zero(trainer: Trainer) -> dict[str, float]:
    """The part of the run that is still to come with every rate at zero."""
    wanted = trainer.config.optimizers
    spent = all(rate < SPENT * wanted[player].lr for player, rate in trainer.engine.rates().items())
    return {tag_of(RATE_AT_ZERO): 1 - trainer.position.progress if spent else 0.0}
