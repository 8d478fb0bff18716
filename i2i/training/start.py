"""Starting a run, and continuing one: what Python and the command line call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import torch

from i2i.config.resolve import changed
from i2i.config.schema import Config, Device
from i2i.device import environment, raise_if_out_of_memory
from i2i.display import say, warn
from i2i.errors import ConfigError, DataError, TrainingStopped, UserError, WeightsError
from i2i.storage.runs import RUNS, RunFolder, new_run
from i2i.storage.weights import load_newest
from i2i.training.callbacks import Callback
from i2i.training.schedule import describe
from i2i.training.trainer import Outcome, Trainer
from i2i.world import launched

Rest = ParamSpec("Rest")


def train(
    config: Config, run: str | Path | None = None, *, name: str | None = None, callbacks: Sequence[Callback] = ()
) -> Outcome:
    """Starts a new run and trains it to its end.

    Args:
        config: the resolved configuration.
        run: the folder of the run; by default a new one under runs/.
        name: what a new one under runs/ is named by; the recipe by default.
        callbacks: what is done beside the steps.

    Raises:
        ConfigError, DataError: the run cannot be started; nothing is written.
        TrainingStopped: a loss is not finite.
    """
    wanted = None if run is None else Path(run)
    trainer = Trainer(config)
    if not trainer.is_main:  # the first process makes the folder and is the only one that writes
        return _fit(trainer, RunFolder(wanted or RUNS), callbacks)
    for root in trainer.data.roots:
        if wanted is not None and root.resolve() in wanted.resolve().parents:
            raise DataError(f"the run {wanted} would lie in the data {root}, and its previews among the pictures")
    folder = new_run(name or config.arch, wanted)
    try:
        with folder.held():
            folder.require_new()
            folder.write_config(trainer.config)
            return _fit(trainer, folder, callbacks)
    except UserError:
        folder.remove_if_empty()
        raise


def _alone(
    going_on: Callable[Concatenate[str | Path, Rest], Outcome],
) -> Callable[Concatenate[str | Path, Rest], Outcome]:
    """Keeps other processes from the run in the meantime; of the processes of one training the first one does."""

    @wraps(going_on)
    def alone(root: str | Path, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Outcome:
        run = RunFolder(Path(root))
        run.require()
        with run.held() if launched().rank == 0 else nullcontext():
            return going_on(root, *args, **kwargs)

    return alone


@_alone
def resume(
    root: str | Path,
    steps: int | None = None,
    *,
    device: Device | None = None,
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Continues a run from its newest readable checkpoint.

    Args:
        root: the folder of the run.
        steps: a new length.
        device: another device; the run is then no longer exact.
        threads: another number of CPU threads, with the same consequence.
        callbacks: what is done beside the steps; they are no part of a run, so whoever continues it names them again.

    Raises:
        DataError: not a run folder, one that another process trains or that cannot be written, or its pictures have
            changed.
        ConfigError: ``steps`` is not beyond what is done.
        WeightsError: no checkpoint can be read.
        TrainingStopped: a loss is not finite.
    """
    run = RunFolder(Path(root))
    config = run.read_config()
    if steps is not None:
        config = changed(config, {"training": {"steps": steps, "epochs": None, "max_time": None}})
    named = {"training.device": device, "training.threads": threads}
    config = changed(config, {path: value for path, value in named.items() if value is not None})
    checkpoint = load_newest(run.checkpoints(), kind="checkpoint")
    if checkpoint is None and run.model.exists():
        raise WeightsError(f"{run.root} has no checkpoint, and going on would overwrite {run.model}: start a new run")
    trainer = Trainer(config)
    if checkpoint is None:
        warn(f"{root} has no checkpoint yet: starting at step 0")
    else:
        trainer.restore(*checkpoint)
    del checkpoint  # the run has its own copy
    if steps is not None and steps < trainer.engine.step_count:
        done = trainer.engine.step_count
        raise ConfigError(f"--steps {steps}: {root} has done {done} steps already; give a larger number")
    if trainer.is_main:
        run.write_config(trainer.config)
    return _fit(trainer, run, callbacks)


def leave_processes() -> None:
    """Leaves the process group as a program's last step: a rank that exits early can abort the others."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _fit(trainer: Trainer, run: RunFolder, callbacks: Sequence[Callback]) -> Outcome:
    training, data = trainer.config.training, trainer.data
    known = data.problems()
    for problem in known:
        warn(f"left out: {problem}")
    say(
        f"{run.root}: {trainer.config.arch}, {data.describe()} at {trainer.config.image_size} px, "
        f"{training.device} in {training.precision}"
    )
    say(f"computed by {environment()}; CPU threads: {training.threads}")
    for note in data.notes():
        say(note)
    rates = ", ".join(f"{player} {opt.lr:g}" for player, opt in trainer.config.optimizers.items())
    say(f"learning rate ({rates}): {describe(training.schedule, trainer.total_steps, training.max_time)}")
    if trainer.engine.step_count:
        say(f"continuing at step {trainer.engine.step_count:,}")
    try:
        outcome = trainer.fit(run, callbacks)
        for problem in outcome.problems:
            if problem not in known:
                warn(f"could not be read and was replaced: {problem}")
        return outcome
    except (TrainingStopped, DataError, RuntimeError) as error:
        kept = run.checkpoints()
        state = f"the last good state is {kept[-1]}" if kept else "no checkpoint was written yet"
        if isinstance(error, TrainingStopped):
            raise TrainingStopped(f"{error}; {state}; lower the learning rate or use training.precision=fp32") from None
        if isinstance(error, DataError):
            raise DataError(f"{error}; {state}") from None
        raise_if_out_of_memory(error, f"; {state}")
        raise
