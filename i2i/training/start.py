"""Starts and resumes runs, from Python and from the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import torch

from i2i.config.changes import continued
from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.data.identity import ImageList
from i2i.data.targets import real
from i2i.device import environment, is_out_of_memory, raise_if_out_of_memory
from i2i.display import counted, say, warn
from i2i.errors import ConfigError, DataError, TrainingStopped, UserError, WeightsError
from i2i.launched import launch, launched, restarted
from i2i.report.write import leave_report
from i2i.storage.files import write_atomically
from i2i.storage.hub import is_hub_name
from i2i.storage.runs import RUNS, RunFolder, new_run
from i2i.storage.weights import load_newest
from i2i.training.augmenting import describe_augmentation
from i2i.training.callbacks import Callback
from i2i.training.out_of_memory import what_fits
from i2i.training.processes import decided_by_first, join_processes
from i2i.training.schedule import describe
from i2i.training.start_from import take_weights
from i2i.training.trainer import Outcome, Trainer
from i2i.world import world

Rest = ParamSpec("Rest")
_PEER_LOST = re.compile("closed by peer|reset by peer|remote process exited|timed out|NCCL", re.IGNORECASE)
"""How a collective operation says that another rank is gone, or does not answer."""


def train(
    config: Config, run: str | Path | None = None, *, name: str | None = None, callbacks: Sequence[Callback] = ()
) -> Outcome:
    """Starts a new run and trains it to its end; where torchrun restarts its processes, goes on with it.

    Args:
        config: the resolved configuration.
        run: the folder of the run; by default a new one under runs/.
        name: what a new one under runs/ is named by; the recipe by default.
        callbacks: what is done beside the steps.

    Raises:
        ConfigError, DataError: the run cannot be started; nothing is written.
        TrainingStopped: a loss or gradient is not finite.
    """
    wanted = None if run is None else Path(run)
    if restarted() and wanted is None:
        raise DataError("torchrun restarted this training: give --run, so that a restart finds its run and goes on")
    join_processes(config)
    if wanted is not None and decided_by_first(lambda: _is_this_launchs(wanted)):
        return resume(wanted, callbacks=callbacks)
    if config.training.start_from is not None:
        config = changed(config, {"training.start_from": _lasting(config.training.start_from)})
    trainer = Trainer(config)
    take_weights(trainer.engine)
    if not trainer.is_main:  # the first process makes the folder and is the only one that writes
        return _fit(trainer, RunFolder(wanted or RUNS), callbacks)
    for root in trainer.data.listed if wanted is None else trainer.data.roots:
        if real(root) in real(wanted or RUNS / config.arch).parents:
            raise DataError(
                f"the run {wanted or RUNS} would lie in the data {root}, and its previews among the images: "
                "give another place with --run"
            )
    folder = new_run(name or config.arch, wanted)
    try:
        with folder.held():
            folder.require_new()
            folder.write_config(trainer.config)
            write_atomically(folder.images, trainer.data.images.to_json())
            if launch() is not None:
                write_atomically(folder.launch, f"{launch()}\n".encode())
            return _fit(trainer, folder, callbacks)
    except UserError:
        folder.remove_if_empty()
        raise


def _is_this_launchs(wanted: Path) -> bool:
    """Whether torchrun has started this command before, in the same launch, and ``wanted`` is the run that it made."""
    run = RunFolder(wanted)
    if not run.config.is_file():
        return False
    with suppress(OSError):  # a launch that may not start processes again leaves no such file
        return restarted() or run.launch.read_text(encoding="utf-8").strip() == launch()
    return False


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
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Continues a run from its newest readable checkpoint.

    Args:
        root: the folder of the run.
        steps: a new length.
        settings: what else changes, by dotted path: those of ``MAY_CHANGE``. Another device or number of CPU threads
            ends exactness, and that is said; data may lie in another folder.
        callbacks: what is done beside the steps; they are no part of a run, so whoever continues it names them again.

    Raises:
        DataError: not a run folder, one that another process trains or that cannot be written, or its images have
            changed or are gone.
        ConfigError: ``steps`` is not beyond what is done, or a setting that may not change.
        WeightsError: no checkpoint can be read.
        TrainingStopped: a loss or gradient is not finite.
    """
    run = RunFolder(Path(root))
    given = dict(settings or {}) | ({} if steps is None else {"training.steps": steps})
    config = continued(run.read_config(), given)
    config.data.require_there()
    checkpoint = load_newest(run.checkpoints(), kind="checkpoint")
    if checkpoint is None and run.model.exists():
        raise WeightsError(f"{run.root} has no checkpoint, and going on would overwrite {run.model}: start a new run")
    trainer = Trainer(config, listed=None if checkpoint is None else _listed(run))
    if checkpoint is None:
        warn(f"{root} has no checkpoint yet: starting at step 0")
        take_weights(trainer.engine)
    else:
        trainer.restore(*checkpoint)
    del checkpoint  # the run has its own copy
    wanted, done = given.get("training.steps"), trainer.engine.step_count
    if wanted is not None and wanted < done:
        raise ConfigError(f"--steps {wanted}: {root} has done {counted(done, 'step')} already; give a larger number")
    if trainer.is_main:
        run.write_config(trainer.config)
        write_atomically(run.images, trainer.data.images.to_json())
    return _fit(trainer, run, callbacks)


def _listed(run: RunFolder) -> ImageList | None:
    """The images that the run has learnt from; None where their list is lost, and the folder has to have the same."""
    try:
        return ImageList.from_json(run.images.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warn(f"{run.images} cannot be read ({error}): taking the images as they lie in the data")
        return None


def _way_on(config: Config, run: RunFolder) -> str:
    """What to try after a loss or gradient was not finite: the command of a gentler new run."""
    gentler = [f"--set optimizers.{player}.lr={each.lr / 2:g}" for player, each in config.optimizers.items()]
    if config.training.clip_norm is None:
        gentler.append("--set training.clip_norm=1")
    gentler.append("--precision fp32")
    # The weights of a run that never came to a checkpoint are not worth starting from.
    source = f"--from {shlex.quote(str(run.root))}" if run.checkpoints() else f"--config {shlex.quote(str(run.config))}"
    command = f"i2i train {source} {' '.join(gentler)}"
    return f"going on would end the same way; a new run with half the rate: {command} (docs/doctor.md says more)"


def leave_processes() -> None:
    """Leaves the process group as a program's last step: a rank that exits early can abort the others."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _lasting(source: str) -> str:
    """A name of weights that means the same from every working directory."""
    return source if is_hub_name(source) else str(Path(source).absolute())


def _fit_and_report(trainer: Trainer, run: RunFolder, callbacks: Sequence[Callback]) -> Outcome:
    """Trains; a run that ends, is stopped or stops itself leaves its report."""
    try:
        outcome = trainer.fit(run, callbacks)
    except TrainingStopped:
        if trainer.is_main:
            leave_report(run, trainer.config)
        raise
    if trainer.is_main:
        leave_report(run, trainer.config)
    return outcome


def _fit(trainer: Trainer, run: RunFolder, callbacks: Sequence[Callback]) -> Outcome:
    training, data = trainer.config.training, trainer.data
    known = data.problems()
    for problem in known:
        warn(f"left out: {problem}")
    say(
        f"{run.root}: {trainer.config.arch}, {data.describe()} at {trainer.config.image_size} px, "
        f"{training.device} in {training.precision}"
    )
    say(f"environment: {environment()}; CPU threads: {training.threads}")
    for note in data.notes():
        say(note)
    rates = ", ".join(f"{player} {opt.lr:g}" for player, opt in trainer.config.optimizers.items())
    say(f"learning rate ({rates}): {describe(training.schedule, trainer.total_steps, training.max_time)}")
    augmentation = trainer.config.discriminator_augmentation
    if augmentation.mode != "none":
        say(describe_augmentation(augmentation, data.smallest()))
    if trainer.engine.step_count:
        say(f"continuing at step {trainer.engine.step_count:,}")
        if trainer.has_its_length:
            longer = "a larger --steps, --epochs or --max-time"
            say(f"{run.root} has its full length: nothing is left to train; {longer} trains on")
    try:
        outcome = _fit_and_report(trainer, run, callbacks)
        for problem in outcome.problems:
            if problem not in known:
                warn(f"could not be read and was replaced: {problem}")
        return outcome
    except (TrainingStopped, DataError, RuntimeError) as error:
        kept = run.checkpoints()
        state = f"the last good state is {kept[-1]}" if kept else "no checkpoint was written yet"
        if isinstance(error, TrainingStopped):
            raise TrainingStopped(f"{error}; {state}; {_way_on(trainer.config, run)}") from None
        if isinstance(error, DataError):
            raise DataError(f"{error}; {state}") from None
        if world().size > 1 and _PEER_LOST.search(str(error)):
            raise DataError(f"another process of this training has ended or does not answer; {state}") from None
        if is_out_of_memory(error):
            found = what_fits(trainer.config, trainer.device, data.bytes_on_device)
            state = f"{found}; {state}".removeprefix("; ")
        raise_if_out_of_memory(error, f"; {state}")
        raise
