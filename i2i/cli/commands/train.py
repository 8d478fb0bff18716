"""``i2i train``: turns options into settings; starts, describes or continues a run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from i2i.cli.ending import DONE, INTERRUPTED, SKIPPED, as_called, stoppable, tell
from i2i.cli.options import (
    DEVICE,
    DEVICE_HELP,
    Assignment,
    Bytes,
    Duration,
    FileName,
    FilledText,
    NumberOrAuto,
    Recipe,
    Run,
    example,
    pass_settings,
    setting,
)
from i2i.display import counted, say
from i2i.needs import is_built_in, require_data

if TYPE_CHECKING:
    from i2i.config.schema import Config
    from i2i.training.trainer import Outcome


@click.command(
    epilog=example(
        "i2i train --arch cyclegan --data FOLDER",
        "i2i train --arch cyclegan-fast --data FOLDER --max-time 10m",
        "i2i train --resume runs/NAME",
    )
)
@click.option("--arch", type=Recipe(), help="Recipe to train; i2i archs lists them.")
@setting(
    "--data", "data.path", type=FilledText(), help="Data folder or built-in set.  [default: the recipe's built-in set]"
)
@setting("--a", "data.a", type=FilledText(), help="Folder of domain A; use with --b instead of --data.")
@setting("--b", "data.b", type=FilledText(), help="Folder of domain B.")
@setting("--test-a", "data.test_a", type=FilledText(), help="Folder of held-out images of A.  [default: a tenth of A]")
@setting("--test-b", "data.test_b", type=FilledText(), help="Folder of held-out images of B.  [default: a tenth of B]")
@setting("--mask", "data.mask", type=FilledText(), help="Folder of masks of the pairs of --a and --b.")
@setting("--test-mask", "data.test_mask", type=FilledText(), help="Folder of masks for --test-a and --test-b.")
@setting("--max-pixels", "data.max_pixels", type=int, metavar="N", help="Largest image that is read, in pixels.")
@click.option("--config", "config_file", type=FileName(), help="YAML file of settings.")
@click.option(
    "--set",
    "assignments",
    type=Assignment(),
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting, e.g. training.log_every=10.",
)
@setting(
    "--from",
    "training.start_from",
    type=Run(),
    help="Start with the networks of this run or weight file; without --arch, also with the settings of the run.",
)
@click.option("--run", type=FileName(), help="Run folder to create.  [default: a new one in runs/]")
@click.option(
    "--resume",
    type=Run(),
    help="Run folder to continue; length, logging, device, threads and data location may change.",
)
@setting("--steps", "training.steps", type=click.IntRange(1), help="Number of training steps.")
@setting("--epochs", "training.epochs", type=click.IntRange(1), help="Number of epochs, counted on the larger domain.")
@setting("--max-time", "training.max_time", type=Duration(), help="Stop after this time, e.g. 10m.")
@setting("--image-size", "image_size", type=int, help="Side of the training crops, in pixels.")
@setting(
    "--batch-size",
    "training.batch_size",
    type=NumberOrAuto(),
    metavar="N|auto",
    help="Images per domain in a batch, over all processes; auto: the most that fit into memory, as a power of two.",
)
@setting("--seed", "training.seed", type=int, help="Random seed.")
@setting("--device", "training.device", type=DEVICE, help=DEVICE_HELP)
@setting(
    "--precision",
    "training.precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Precision of the computation.",
)
@setting(
    "--threads",
    "training.threads",
    type=NumberOrAuto(),
    metavar="N|auto",
    help="Number of CPU threads; auto, the default: those that pay in a short probe.",
)
@setting(
    "--compile",
    "training.compile",
    is_flag=True,
    default=None,
    help="Compile networks first, which takes minutes: for long runs.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show settings, data, schedule, memory and time without training; --device cuda then needs no GPU.",
)
@click.option(
    "--smoke", is_flag=True, help="Try training, evaluation and use of these settings and data; nothing is kept."
)
@click.option("--memory", type=Bytes(), help="With --dry-run: also say what fits into this much memory, e.g. 8GB.")
@pass_settings
def train(
    settings: dict[str, Any],
    arch: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    resume: Path | None,
    dry_run: bool,
    smoke: bool,
    memory: int | None,
) -> None:
    """Train a translator, or continue a run."""
    if settings["training.steps"] is not None and settings["training.epochs"] is not None:
        raise click.UsageError("give --steps or --epochs, not both")
    if memory is not None and not dry_run:
        raise click.UsageError("--memory goes with --dry-run")
    if smoke and (dry_run or resume is not None or run is not None):
        raise click.UsageError("--smoke keeps nothing: leave out --run, --resume and --dry-run")
    if arch is None and config_file is None and resume is None and settings["training.start_from"] is None:
        raise click.UsageError("give --arch (see i2i archs), --from RUN, or --resume to continue a run")
    root = shlex.quote(str(resume or run or "RUN"))
    with stoppable(f"what has been saved goes on with: {as_called('i2i')} train --resume {root}"):
        if resume is not None:
            others = {"--arch": arch, "--config": config_file, "--run": run}
            _finish(_resume(resume, settings | others, assignments, dry_run))
        resized = _configure(arch, config_file, settings, assignments)
        if dry_run:
            from i2i.planning.report import describe

            tell(*describe(resized, memory))
            return
        if smoke:
            _try(resized(0))
            return
        from i2i.training.start import train as train_run

        _finish(train_run(resized(0), run))


def _configure(
    arch: str | None, config_file: Path | None, settings: dict[str, Any], assignments: tuple[str, ...]
) -> Callable[[int], Config]:
    """The configuration of a new run by image size, that of the options for 0; refuses missing data."""
    named = settings["data.path"]
    if named is not None:
        require_data(named)
    from i2i.config.resolve import read_config, resolve_config
    from i2i.storage.runs import RunFolder, weight_file

    file = None if config_file is None else read_config(config_file)
    source = settings["training.start_from"]
    if source is not None:
        weight_file(source)
        if arch is None and file is None and not RunFolder(source).config.is_file():
            raise click.UsageError(
                f"--from {source}: it has no settings of a training: give --arch too (see i2i archs)"
            )
        settings = settings | {"training.start_from": str(source)}
    run = RunFolder(source).read_config() if arch is None and file is None else None

    resolve = partial(resolve_config, arch, run=run, file=file, options=settings)
    resized = partial(_at_size, resolve, assignments)
    config = resized(0)
    if config.data.a is None:
        require_data(config.data.path)
    if named is None and run is None and is_built_in(config.data.path):
        say(f"no --data given: using the built-in set {config.data.path}")
    return resized


def _at_size(resolve: Callable[..., Config], assignments: tuple[str, ...], size: int) -> Config:
    return resolve(assignments=(*assignments, f"image_size={size}") if size else assignments)


def _resume(root: Path, options: dict[str, Any], assignments: tuple[str, ...], dry_run: bool) -> Outcome:
    if dry_run:
        raise click.UsageError("--dry-run is for new runs; see i2i info --model RUN for this one")
    from i2i.storage.runs import RunFolder

    RunFolder(root).require()
    from i2i.config.changes import changes

    settings = changes(options, assignments)
    from i2i.training.start import resume

    return resume(root, settings=settings)


def _try(config: Config) -> None:
    from i2i.smoke import smoke
    from i2i.training.start import leave_processes

    lines = smoke(config)
    leave_processes()
    tell(*lines)


def _finish(outcome: Outcome) -> NoReturn:
    from i2i.training.start import leave_processes

    leave_processes()
    i2i, root = as_called("i2i"), shlex.quote(str(outcome.run.root))
    if outcome.interrupted:
        lines = [f"stopped at step {outcome.step:,} and saved; continue with: {i2i} train --resume {root}"]
    else:
        use = "translate INPUT" if outcome.translates else "sample"
        lines = [f"trained {counted(outcome.step, 'step')}: {outcome.run.model}", f"use it: {i2i} {use} --model {root}"]
        lines += [f"report: {outcome.run.report}"] if outcome.run.report.is_file() else []
    if outcome.is_main:
        tell(*lines)
    sys.exit(INTERRUPTED if outcome.interrupted else SKIPPED if outcome.problems else DONE)
