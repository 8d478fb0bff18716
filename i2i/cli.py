"""The command line: options in, one call of the library, exit codes and one-line errors out. Nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from i2i import __version__
from i2i.errors import UserError
from i2i.lab import EXPERIMENTS
from i2i.needs import is_built_in, require_data, require_packages, require_path

DONE, SKIPPED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
VIEWS = ("walk", "arithmetic", "traverse", "drop_feature")


class FilledText(click.ParamType[str]):
    """Any text but none: an empty one is most often a script's variable that was not set."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if not str(value):
            self.fail("is empty; leave it out, or name something")
        return str(value)


class FileName(FilledText):
    """A file or folder, which may not be there yet."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name as a ``Path``."""
        return Path(super().convert(value, param, ctx))


class Duration(click.ParamType[float]):
    """A time like 90s, 10m or 1.5h; a plain number means seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The time in seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not a time; write 90s, 10m or 1.5h")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


class Units(click.ParamType[Any]):
    """How many, like 6, or which, like 0,5,9; a comma alone makes a number a list."""

    name = "units"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | list[int]:
        """The count, or the numbers."""
        text = str(value).replace(" ", "")
        if re.fullmatch(r"\d{1,9}(,\d{1,9})*,?", text) is None:
            self.fail(f"{value!r}: write how many, like 6, or numbers like 0,5,9")
        return [int(number) for number in text.split(",") if number] if "," in text else int(text)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="i2i")
def cli() -> None:
    """Two folders of pictures in, a trained translator out."""


@cli.command()
@click.option("--arch", help="The recipe, see i2i archs.")
@click.option("--data", type=FilledText(), help="A folder, or a built-in set; by default the recipe's built-in set.")
@click.option("--a", type=FilledText(), help="The folder of domain A, of any name; with --b, in the place of --data.")
@click.option("--b", type=FilledText(), help="The folder of domain B.")
@click.option("--test-a", type=FilledText(), help="Held-out images of A; by default a tenth of A, by file name.")
@click.option("--test-b", type=FilledText(), help="Held-out images of B.")
@click.option("--config", "config_file", type=FileName(), help="A YAML file of settings.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. training.log_every=10."
)
@click.option("--run", type=FileName(), help="The folder of the run; by default a new one in runs/.")
@click.option("--resume", type=FileName(), help="Continue this run; only --steps may be added.")
@click.option("--steps", type=click.IntRange(1), help="Length in optimiser steps.")
@click.option("--epochs", type=click.IntRange(1), help="Length in passes over the larger domain.")
@click.option("--max-time", type=Duration(), help="Stop after this time, e.g. 10m.")
@click.option("--image-size", type=int, help="The side of training crops, in pixels.")
@click.option("--batch-size", type=int, help="Pictures per domain in a batch.")
@click.option("--seed", type=int, help="Decides every random draw.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to compute.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="In which precision.")
@click.option("--dry-run", is_flag=True, help="Show settings, data, schedule, memory and time; train nothing.")
def train(
    arch: str | None,
    data: str | None,
    a: str | None,
    b: str | None,
    test_a: str | None,
    test_b: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    resume: Path | None,
    steps: int | None,
    epochs: int | None,
    max_time: float | None,
    image_size: int | None,
    batch_size: int | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    dry_run: bool,
) -> None:
    """Train a translator, or continue a run."""
    if steps is not None and epochs is not None:
        raise click.UsageError("give --steps or --epochs, not both")
    options = {
        "data.path": data,
        "data.a": a,
        "data.b": b,
        "data.test_a": test_a,
        "data.test_b": test_b,
        "training.steps": steps,
        "training.epochs": epochs,
        "training.max_time": max_time,
        "image_size": image_size,
        "training.batch_size": batch_size,
        "training.seed": seed,
        "training.device": device,
        "training.precision": precision,
    }
    if resume is not None:
        _refuse_changes(options | {"arch": arch, "--config": config_file, "--run": run}, assignments)
        _finish_training(_resume(resume, steps, dry_run))
    if arch is None and config_file is None:
        raise click.UsageError("give --arch (see i2i archs), or --resume to continue a run")
    if data is not None:
        require_data(data)
    from i2i.config import read_config, resolve_config
    from i2i.display import say

    file = None if config_file is None else read_config(config_file)
    config = resolve_config(arch, file=file, options=options, assignments=assignments)
    if config.data.a is None:
        require_data(config.data.path)
    if data is None and is_built_in(config.data.path):
        say(f"no --data given: using the built-in set {config.data.path}")
    if dry_run:
        from i2i.training.dry_run import describe_run

        click.echo(describe_run(config))
        return
    from i2i.training.start import train as train_run

    _finish_training(train_run(config, run))


@cli.command()
@click.argument("source", metavar="INPUT", type=FileName())
@click.option("-o", "--output", type=FileName(), help="By default INPUT-translated.")
@click.option("--model", type=FileName(), help="A run or weight file; by default the newest run.")
@click.option("--direction", type=click.Choice(["AtoB", "BtoA"]), help="By default AtoB.")
@click.option("--seed", type=click.IntRange(0), help="Another draw of the noise, of a translator that has some.")
@click.option("--format", "image_format", type=click.Choice(["png", "jpg", "webp", "bmp", "tiff"]), default="png")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", help="Where to compute.")
def translate(
    source: Path,
    output: Path | None,
    model: Path | None,
    direction: str | None,
    seed: int | None,
    image_format: Any,
    device: Any,
) -> None:
    """Translate a picture, or a folder of any depth."""
    require_path(source)
    _require_model(model)
    from i2i.display import warn
    from i2i.inference.load import load_translator
    from i2i.inference.translate import plan, translate_files

    jobs, report = plan(source, output, image_format)
    translator = load_translator(model, device=device)
    if seed is not None and not translator.has_noise:
        warn(f"--seed changes nothing: {translator.config.arch} draws no noise at translation")
    results = translate_files(translator, jobs, direction, report, seed=seed)
    failed = [result for result in results if result.error is not None]
    for result in failed:
        warn(f"skipped: {result.error}")
    where = report or jobs[0].target
    click.echo(f"translated {len(results) - len(failed)} of {len(results)} with {_model_line(translator)} to {where}")
    sys.exit(SKIPPED if failed else DONE)


@cli.command()
@click.option("--model", type=FileName(), help="A run or weight file; by default the newest run.")
@click.option("-o", "--output", type=FileName(), default="samples.png", show_default=True, help="PNG or folder.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many pictures.")
@click.option("--label", help="Only this label, of a conditional model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every draw.")
@click.option(
    "--truncation", type=float, help="Draw no normal number further from zero: better pictures, less variety."
)
@click.option("--walk", type=click.IntRange(2), metavar="STOPS", help="A strip and a GIF between this many pictures.")
@click.option("--arithmetic", metavar="EXPRESSION", help='With numbers of the sheet, e.g. "3,17 - 5,8 + 2".')
@click.option("--traverse", metavar="CODE", help="Rows in which one code of an InfoGAN changes.")
@click.option(
    "--drop-feature",
    metavar="STAGE:MAPS",
    help="Samples without these maps of the generator, below whole ones: up2:0,5, or up2:BOXES.yaml with boxes round "
    "what it shall forget, a list of {sample: 3, box: [x0, y0, x1, y1]}.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", help="Where to compute.")
def sample(
    model: Path | None,
    output: Path,
    count: int,
    label: str | None,
    seed: int,
    truncation: float | None,
    walk: int | None,
    arithmetic: str | None,
    traverse: str | None,
    drop_feature: str | None,
    device: Any,
) -> None:
    """Draw pictures from noise: a sheet (OUTPUT ends in .png), or a folder of files."""
    views = ["--" + name.replace("_", "-") for name, value in locals().items() if name in VIEWS and value is not None]
    if len(views) > 1:
        raise click.UsageError(f"give one of {', '.join(views)}")
    if views and truncation is not None:
        raise click.UsageError(f"--truncation is for sheets and folders; leave it out with {views[0]}")
    if views and output.suffix != ".png":
        raise click.UsageError(f"-o {output}: {views[0]} writes one picture; end the name in .png")
    _require_model(model)
    from i2i.data.images import write_image
    from i2i.inference import sample as views_of
    from i2i.inference.load import load_sampler

    sampler = load_sampler(model, device=device)
    views_of.require_pictures(sampler)
    if walk is not None:
        strip = views_of.write_walk(output, views_of.walk(sampler, walk, label=label, seed=seed))
        click.echo(f"walked between {walk} pictures of {_model_line(sampler)}: {output} and {strip}")
        return
    if arithmetic is not None:
        pictures = views_of.arithmetic(sampler, arithmetic, label=label, seed=seed)
        write_image(output, views_of.sheet(pictures, len(pictures)))
        click.echo(f"terms, result and 8 neighbours of {arithmetic} with {_model_line(sampler)}: {output}")
    elif traverse is not None:
        write_image(output, views_of.traverse(sampler, traverse, rows=min(count, 10), seed=seed))
        click.echo(f"{traverse} along the rows of {_model_line(sampler)}: {output}")
    elif drop_feature is not None:
        from i2i.evaluation.forget import drop_features

        dropped = drop_features(sampler, drop_feature, count=min(count, 10), label=label, seed=seed)
        write_image(output, views_of.sheet([*dropped.whole, *dropped.without], len(dropped.whole)))
        shown = f"whole, and below without {drop_feature}, of {_model_line(sampler)}: {output}"
        click.echo("\n".join([*dropped.lines, shown]))
    else:
        drawn = sampler.sample(count, label=label, seed=seed, truncation=truncation)
        if output.suffix == ".png":
            write_image(output, views_of.sheet(drawn))
        else:
            views_of.write_pictures(output, drawn, count)
        click.echo(f"drew {count} pictures with {_model_line(sampler)}: {output}")


@cli.command()
@click.argument("path", metavar="DATA", type=FilledText())
@click.option("--model", type=FileName(), help="A run or weight file; by default the newest run.")
@click.option(
    "--per-label", type=click.IntRange(2), default=100, show_default=True, help="Training pictures of each label."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which.")
@click.option("--json", "report_file", type=FileName(), help="Write the figures to this file too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", help="Where to compute.")
def features(path: str, model: Path | None, per_label: int, seed: int, report_file: Path | None, device: Any) -> None:
    """Measure how well a discriminator's features tell the labels of DATA apart."""
    require_data(path)
    require_packages("i2i features", "sklearn")
    _require_model(model)
    from i2i.display import warn
    from i2i.evaluation.features import measure_features
    from i2i.inference.load import load_sampler

    report = measure_features(load_sampler(model, device=device), path, per_label=per_label, seed=seed)
    if report_file is not None:
        report.write(report_file)
    for problem in report.skipped:
        warn(f"left out: {problem}")
    click.echo("\n".join(report.lines()))
    sys.exit(SKIPPED if report.skipped else DONE)


@cli.command()
@click.argument("path", metavar="DATA", type=FilledText())
@click.option("-o", "--output", type=FileName(), default="filters.png", show_default=True)
@click.option("--model", type=FileName(), help="A run or weight file; by default the newest run.")
@click.option("--stage", help="A stage of the discriminator, such as layer2; by default the last.")
@click.option("--units", type=Units(), default="6", show_default=True, help="How many, or numbers like 0,5,9.")
@click.option("--pictures", is_flag=True, help="Show each picture beside its gradient.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the untrained weights.")
@click.option("--json", "report_file", type=FileName(), help="Write what is shown to this file too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", help="Where to compute.")
def filters(
    path: str,
    output: Path,
    model: Path | None,
    stage: str | None,
    units: Any,
    pictures: bool,
    seed: int,
    report_file: Path | None,
    device: Any,
) -> None:
    """Draw what excites the units of a discriminator in the pictures of DATA, by guided backpropagation.

    On the left those of an untrained discriminator, on the right those of the model.
    """
    from i2i.display import warn
    from i2i.evaluation.filters import find_filters, require_picture_name, write_sheet
    from i2i.inference.load import load_sampler

    require_picture_name(output)
    found = find_filters(load_sampler(model, device=device), path, stage=stage, units=units, seed=seed)
    write_sheet(output, found, pictures=pictures)
    if report_file is not None:
        found.write(report_file)
    for problem in found.skipped:
        warn(f"left out: {problem}")
    click.echo(found.line(output))
    sys.exit(SKIPPED if found.skipped else DONE)


@cli.command()
@click.option("--time", "seconds", type=Duration(), default="3m", show_default=True, help="How long to train.")
@click.option("--run", type=FileName(), help="The folder of the run; by default a new one in runs/.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every random draw.")
def demo(seconds: float, run: Path | None, seed: int) -> None:
    """Train a small CycleGAN on line drawings, colour held-out ones, and show them."""
    require_data("openmoji")
    from i2i.demo import run_demo

    shown = run_demo(seconds, run, seed)
    click.echo(f"input | ours | truth: {shown.sheet}\nthe same as a page:   {shown.page}\n\ntry next:")
    for command in shown.next_commands:
        name, _, arguments = command.partition(" ")
        click.echo(f"  {_as_called(name)} {arguments}")


@cli.command(epilog="\b\n" + "\n".join(f"{name:<12} {about}" for name, about in EXPERIMENTS.items()))
@click.argument("name", type=click.Choice(list(EXPERIMENTS)), metavar="NAME")
@click.option("-o", "--output", type=FileName(), default="lab", show_default=True, help="The folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides every random draw.")
def lab(name: str, output: Path, seed: int) -> None:
    """Run an experiment of the theory, and plot it; the names are below."""
    require_packages("i2i lab", "matplotlib")
    from i2i.lab.run import run_lab

    click.echo("\n".join(run_lab(name, output, seed)))


@cli.group()
def data() -> None:
    """Fetch and check data sets."""


@data.command("check")
@click.argument("path", metavar="[DATA]", required=False, type=FilledText())
@click.option("--a", type=FilledText(), help="The folder of domain A, of any name; with --b, in the place of DATA.")
@click.option("--b", type=FilledText(), help="The folder of domain B.")
@click.option("--test-a", type=FilledText(), help="Held-out images of A; by default a tenth of A, by file name.")
@click.option("--test-b", type=FilledText(), help="Held-out images of B.")
@click.option("--size", type=click.IntRange(8), default=64, help="The side at which a built-in set is rendered.")
@click.option("--unpaired", is_flag=True, help="Equal names in A and B mean nothing.")
def data_check(
    path: str | None,
    a: str | None,
    b: str | None,
    test_a: str | None,
    test_b: str | None,
    size: int,
    unpaired: bool,
) -> None:
    """Report what a data set holds, and what is wrong with it."""
    folders = {"a": a, "b": b, "test_a": test_a, "test_b": test_b}
    if path is None and not any(folders.values()):
        raise click.UsageError("name the data: DATA, or --a and --b")
    from i2i.config import data_config
    from i2i.data.check import check_data, check_folders

    named = data_config({"path": path or ""} | folders)
    report = check_folders(named, unpaired=unpaired) if named.a else check_data(named.path, size, unpaired=unpaired)
    click.echo("\n".join(report.lines))
    _finish_check(report)


@data.command("get")
@click.argument("name", required=False)
@click.option("--to", type=FileName(), help="The folder that it becomes; by default NAME, here.")
@click.option("--url", type=FilledText(), help="Another address of the archive, or a local archive.")
def data_get(name: str | None, to: Path | None, url: str | None) -> None:
    """Fetch a classic public data set and check it; without NAME, list them."""
    if name is None:
        from i2i.data.catalogue import dataset_names, describe

        if to is not None or url is not None:
            raise click.UsageError("--to and --url need a NAME; i2i data get alone lists the sets")
        click.echo("\n".join(describe(known).line() for known in dataset_names()))
        return
    from i2i.data.fetch import get_dataset

    try:
        fetched = get_dataset(name, to, url)
    except KeyboardInterrupt:
        root = to or Path(name)
        looked_at = f"the data is in {root}, and i2i data check {root} looks at it"
        _fail(f"interrupted; {looked_at if root.exists() else 'the same command goes on from there'}", INTERRUPTED)
    options = shlex.join([*fetched.description.training_options(), "--data", str(fetched.root)])
    click.echo("\n".join([*fetched.lines(), f"train on it: {_as_called('i2i')} train {options}"]))
    _finish_check(fetched.report)


@cli.command("import")
@click.argument("source", metavar="FILE", type=FileName())
@click.option("-o", "--output", type=FileName(), help="A new run, or a file that ends in .safetensors.")
@click.option("--as", "wanted", metavar="NETWORK", help="What the file must hold, like resnet-9 or unet-256.")
@click.option(
    "--statistics",
    type=click.Choice(["running", "picture"]),
    help="What batch norm uses: those of training, or (by default) of each picture, as the original code tests.",
)
@click.option(
    "--dropout/--no-dropout", default=None, help="Whether it stays on; by default as the original code tests."
)
def import_(source: Path, output: Path | None, wanted: str | None, statistics: Any, dropout: bool | None) -> None:
    """Take in a generator of the PyTorch code of CycleGAN, pix2pix or CUT (a file like latest_net_G.pth)."""
    from i2i.inference.exchange import import_state

    taken = import_state(source, output, wanted=wanted, statistics=statistics, dropout=dropout)
    click.echo(f"imported {taken.network}: {taken.path}")
    if taken.inference:
        click.echo(f"at inference: {taken.inference} (--statistics and --dropout choose)")
    click.echo(f"use it: {_as_called('i2i')} translate INPUT --model {shlex.quote(str(taken.path))}")


@cli.command("export-state")
@click.argument("model", type=FileName())
@click.option("-o", "--output", type=FileName(), required=True, help="A file that ends in .pth.")
@click.option("--direction", type=click.Choice(["AtoB", "BtoA"]), help="Which generator; by default the first.")
def export_state_(model: Path, output: Path, direction: str | None) -> None:
    """Write a generator of MODEL (a run or weight file) for the PyTorch code of CycleGAN, pix2pix or CUT."""
    from i2i.inference.exchange import export_state

    given = export_state(model, output, direction)
    click.echo(f"exported {given.network}: {given.path}")


@cli.command()
def archs() -> None:
    """List the recipes: what each is, and its paper."""
    from i2i.config import read_recipe, recipe_names

    for name in recipe_names():
        recipe = read_recipe(name)
        click.echo(f"{name:<16} {recipe['about']}\n{'':<16} {recipe['paper']}")


@cli.command()
@click.option("--model", type=FileName(), help="A run or weight file; by default the newest run.")
def info(model: Path | None) -> None:
    """Show versions, devices, and a summary of a run."""
    from i2i.info import describe_machine, describe_model

    click.echo("\n".join(describe_machine()))
    try:
        click.echo("\n".join(describe_model(model)))
    except UserError as error:
        if model is not None:
            raise
        click.echo(f"model      {error}")


def main() -> NoReturn:
    """Runs the command; errors that a user can cause become one line and an exit code, never a traceback."""
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        _fail("interrupted before there was anything to save", INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(WRONG_INPUT)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), WRONG_INPUT)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stdout = None
        sys.exit(DONE)
    except OSError as error:
        sys.stdout = None  # or the end of Python would try once more to write what could not be written
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", WRONG_INPUT)
    sys.exit(result if isinstance(result, int) else DONE)


def _fail(message: str, code: int) -> NoReturn:
    from i2i.display import one_line

    click.echo(f"error: {one_line(message)}", err=True)
    sys.exit(code)


def _require_model(model: Path | None) -> None:
    """Refuses a model that is not there, before torch is imported."""
    from i2i.runs import weight_file

    weight_file(model)


def _refuse_changes(options: dict[str, Any], assignments: tuple[str, ...]) -> None:
    given = [name for name, value in options.items() if value is not None and name != "training.steps"]
    given += [assignment.partition("=")[0] for assignment in assignments]
    if given:
        raise click.UsageError(
            f"--resume continues a run with its own settings; leave out {', '.join(given)} (only --steps may be added)"
        )


def _resume(root: Path, steps: int | None, dry_run: bool) -> Any:
    if dry_run:
        raise click.UsageError("--dry-run is for new runs; see i2i info --model RUN for this one")
    from i2i.runs import RunFolder

    RunFolder(root).require()
    from i2i.training.start import resume

    return resume(root, steps)


def _finish_training(outcome: Any) -> NoReturn:
    from i2i.training.start import leave_processes

    leave_processes()
    i2i, root = _as_called("i2i"), shlex.quote(str(outcome.run.root))
    if outcome.interrupted:
        lines = [f"stopped at step {outcome.step:,} and saved; continue with: {i2i} train --resume {root}"]
    else:
        use = "translate INPUT" if outcome.translates else "sample"
        lines = [f"trained {outcome.step:,} steps: {outcome.run.model}", f"use it: {i2i} {use} --model {root}"]
    if outcome.is_main:
        click.echo("\n".join(lines))
    sys.exit(INTERRUPTED if outcome.interrupted else SKIPPED if outcome.problems else DONE)


def _finish_check(report: Any) -> NoReturn:
    for fault in report.faults:
        click.echo(f"fault: {fault}", err=True)
    sys.exit(SKIPPED if report.faults else DONE)


def _as_called(command: str) -> str:
    """How to call ``command`` again: by its name where the shell finds it, else by the path beside this program."""
    here = Path(sys.argv[0]).parent / command
    found = shutil.which(command)
    if found is None and here.is_file():
        return os.path.relpath(here)
    return command


def _model_line(translator: Any) -> str:
    if not translator.step:  # not trained here: imported
        return str(translator.config.about)
    return f"{translator.config.arch} ({translator.step:,} steps)"
