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
MAY_BE_ADDED = ("training.steps", "training.device", "training.threads")
"""Settings that may be given with --resume."""
DEVICE_HELP = "Device to compute on: auto, cpu, or an accelerator that `i2i info` lists, such as cuda or mps."
VIEWS = ("walk", "arithmetic", "traverse", "drop_feature")


class FilledText(click.ParamType[str]):
    """Any text but none: an empty one is most often a script's variable that was not set."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if not str(value):
            self.fail("must not be empty")
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


model_option = click.option("--model", type=FileName(), help="Run folder or weight file.  [default: the newest run]")
device_option = click.option("--device", type=FilledText(), default="auto", show_default=True, help=DEVICE_HELP)


def example(*lines: str) -> str:
    """The end of a command's help: lines that can be run as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="i2i")
def cli() -> None:
    """Two folders of pictures in, a trained translator out."""


@cli.command(
    epilog=example(
        "i2i train --arch cyclegan --data FOLDER",
        "i2i train --arch cyclegan-fast --data FOLDER --max-time 10m",
        "i2i train --resume runs/NAME",
    )
)
@click.option("--arch", help="Recipe; i2i archs lists them.")
@click.option("--data", type=FilledText(), help="Data folder or built-in set.  [default: the recipe's built-in set]")
@click.option("--a", type=FilledText(), help="Folder of domain A, of any name; with --b, instead of --data.")
@click.option("--b", type=FilledText(), help="Folder of domain B.")
@click.option("--test-a", type=FilledText(), help="Held-out images of A.  [default: a tenth of A, by file name]")
@click.option("--test-b", type=FilledText(), help="Held-out images of B.")
@click.option("--config", "config_file", type=FileName(), help="YAML file of settings.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. training.log_every=10."
)
@click.option("--run", type=FileName(), help="Run folder to create.  [default: a new one in runs/]")
@click.option("--resume", type=FileName(), help="Continue this run; only --steps, --device and --threads may be added.")
@click.option("--steps", type=click.IntRange(1), help="Length in training steps.")
@click.option("--epochs", type=click.IntRange(1), help="Length in epochs of the larger domain.")
@click.option("--max-time", type=Duration(), help="Stop after this time, e.g. 10m.")
@click.option("--image-size", type=int, help="Side of the training crops, in pixels.")
@click.option("--batch-size", type=int, help="Images of each domain in a batch.")
@click.option("--seed", type=int, help="Random seed.")
@click.option("--device", type=FilledText(), help=DEVICE_HELP)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Precision of the computation.")
@click.option("--threads", type=click.IntRange(1), help="Number of CPU threads.  [default: torch's]")
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
    threads: int | None,
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
        "training.threads": threads,
    }
    if resume is not None:
        _refuse_changes(options | {"arch": arch, "--config": config_file, "--run": run}, assignments)
        _finish_training(_resume(resume, steps, device, threads, dry_run))
    if arch is None and config_file is None:
        raise click.UsageError("give --arch (see i2i archs), or --resume to continue a run")
    if data is not None:
        require_data(data)
    from i2i.config.resolve import read_config, resolve_config
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


@cli.command(
    epilog=example("i2i translate photos -o painted", "i2i translate photo.jpg --model runs/NAME --direction BtoA")
)
@click.argument("source", metavar="INPUT", type=FileName())
@click.option("-o", "--output", type=FileName(), help="Output image or folder.  [default: INPUT-translated]")
@model_option
@click.option("--direction", metavar="NAME", help="AtoB, BtoA, ...  [default: the model's first]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Random seed of a model with noise (dualgan, pix2pix): another seed, another translation.",
)
@click.option("--format", "image_format", type=click.Choice(["png", "jpg", "webp", "bmp", "tiff"]), default="png")
@device_option
def translate(
    source: Path,
    output: Path | None,
    model: Path | None,
    direction: str | None,
    seed: int | None,
    image_format: Any,
    device: Any,
) -> None:
    """Translate an image, or a folder of images."""
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


@cli.command(epilog=example("i2i sample -o sheet.png", "i2i sample -o walk.png --walk 8"))
@model_option
@click.option("-o", "--output", type=FileName(), default="samples.png", show_default=True, help="PNG or folder.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Number of images.")
@click.option("--label", help="Label of all images, for a conditional model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--truncation", type=float, help="Truncate the latents at this value: better images, less variety.")
@click.option(
    "--walk",
    type=click.IntRange(2),
    metavar="STOPS",
    help="Interpolate between this many images, as a strip and a GIF.",
)
@click.option("--arithmetic", metavar="EXPRESSION", help='With numbers of the sheet, e.g. "3,17 - 5,8 + 2".')
@click.option("--traverse", metavar="CODE", help="Vary one code of an InfoGAN along each row.")
@click.option(
    "--drop-feature",
    metavar="STAGE:MAPS",
    help="Samples without these maps of the generator, below whole ones: up2:0,5, or up2:BOXES.yaml with boxes round "
    "what it shall forget, a list of {sample: 3, box: [x0, y0, x1, y1]}.",
)
@device_option
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
    """Generate images from noise.

    OUTPUT gets one sheet where it ends in .png, else it is a folder of files.
    """
    chosen = ["--" + name.replace("_", "-") for name, value in locals().items() if name in VIEWS and value is not None]
    if len(chosen) > 1:
        raise click.UsageError(f"give one of {', '.join(chosen)}")
    if chosen and truncation is not None:
        raise click.UsageError(f"--truncation is for sheets and folders; leave it out with {chosen[0]}")
    if chosen and output.suffix != ".png":
        raise click.UsageError(f"-o {output}: {chosen[0]} writes one picture; end the name in .png")
    _require_model(model)
    from i2i.data.images import write_image
    from i2i.inference import views
    from i2i.inference.load import load_sampler

    sampler = load_sampler(model, device=device)
    views.require_pictures(sampler)
    if walk is not None:
        strip = views.write_walk(output, views.walk(sampler, walk, label=label, seed=seed))
        click.echo(f"walked between {walk} pictures of {_model_line(sampler)}: {output} and {strip}")
        return
    if arithmetic is not None:
        pictures = views.arithmetic(sampler, arithmetic, label=label, seed=seed)
        write_image(output, views.sheet(pictures, len(pictures)))
        click.echo(f"terms, result and 8 neighbours of {arithmetic} with {_model_line(sampler)}: {output}")
    elif traverse is not None:
        write_image(output, views.traverse(sampler, traverse, rows=min(count, 10), seed=seed))
        click.echo(f"{traverse} along the rows of {_model_line(sampler)}: {output}")
    elif drop_feature is not None:
        from i2i.probes.forget import drop_features

        dropped = drop_features(sampler, drop_feature, count=min(count, 10), label=label, seed=seed)
        write_image(output, views.sheet([*dropped.whole, *dropped.without], len(dropped.whole)))
        shown = f"whole, and below without {drop_feature}, of {_model_line(sampler)}: {output}"
        click.echo("\n".join([*dropped.lines, shown]))
    else:
        drawn = sampler.sample(count, label=label, seed=seed, truncation=truncation)
        if output.suffix == ".png":
            write_image(output, views.sheet(drawn))
        else:
            views.write_pictures(output, drawn, count)
        click.echo(f"drew {count} pictures with {_model_line(sampler)}: {output}")


@cli.command(epilog=example("i2i features DATA --model runs/NAME --per-label 100"))
@click.argument("path", metavar="DATA", type=FilledText())
@model_option
@click.option(
    "--per-label",
    type=click.IntRange(2),
    default=100,
    show_default=True,
    help="Labelled training images for each class.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the choice of images.")
@click.option("--json", "report_file", type=FileName(), help="Write the report to this file as well.")
@device_option
def features(path: str, model: Path | None, per_label: int, seed: int, report_file: Path | None, device: Any) -> None:
    """Test a discriminator's features on labelled data.

    A linear classifier on the features is compared with one on an untrained network's, and on pixels.
    """
    require_data(path)
    require_packages("i2i features", "sklearn")
    _require_model(model)
    from i2i.display import warn
    from i2i.inference.load import load_sampler
    from i2i.probes.features import measure_features

    report = measure_features(load_sampler(model, device=device), path, per_label=per_label, seed=seed)
    if report_file is not None:
        report.write(report_file)
    for problem in report.skipped:
        warn(f"left out: {problem}")
    click.echo("\n".join(report.lines()))
    sys.exit(SKIPPED if report.skipped else DONE)


@cli.command(epilog=example("i2i filters DATA -o filters.png --stage layer2"))
@click.argument("path", metavar="DATA", type=FilledText())
@click.option("-o", "--output", type=FileName(), default="filters.png", show_default=True)
@model_option
@click.option("--stage", help="Stage of the discriminator, such as layer2.  [default: the last]")
@click.option(
    "--units", type=Units(), default="6", show_default=True, help="Number of units, or their indices like 0,5,9."
)
@click.option("--pictures", is_flag=True, help="Show each image beside its gradient.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the untrained weights.")
@click.option("--json", "report_file", type=FileName(), help="Write the report to this file as well.")
@device_option
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
    """Show what a discriminator's units respond to.

    Guided backpropagation on images of DATA: an untrained discriminator on the left, the model's on the right.
    """
    from i2i.display import warn
    from i2i.inference.load import load_sampler
    from i2i.probes.filters import find_filters, require_picture_name, write_sheet

    require_picture_name(output)
    found = find_filters(load_sampler(model, device=device), path, stage=stage, units=units, seed=seed)
    write_sheet(output, found, pictures=pictures)
    if report_file is not None:
        found.write(report_file)
    for problem in found.skipped:
        warn(f"left out: {problem}")
    click.echo(found.line(output))
    sys.exit(SKIPPED if found.skipped else DONE)


@cli.command(epilog=example("i2i demo --time 10m"))
@click.option("--time", "seconds", type=Duration(), default="3m", show_default=True, help="Training time.")
@click.option("--run", type=FileName(), help="Run folder to create.  [default: a new one in runs/]")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
def demo(seconds: float, run: Path | None, seed: int) -> None:
    """Train a small translator and show its results.

    A CycleGAN learns to colour line drawings, and colours some that it has not seen.
    """
    require_data("openmoji")
    from i2i.demo import run_demo

    shown = run_demo(seconds, run, seed)
    click.echo(f"input | ours | truth: {shown.sheet}\nthe same as a page:   {shown.page}\n\ntry next:")
    for command in shown.next_commands:
        name, _, arguments = command.partition(" ")
        click.echo(f"  {_as_called(name)} {arguments}")


@cli.command(epilog="\b\n" + "\n".join(f"{name:<12} {about}" for name, about in EXPERIMENTS.items()))
@click.argument("name", type=click.Choice(list(EXPERIMENTS)), metavar="NAME")
@click.option("-o", "--output", type=FileName(), default="lab", show_default=True, help="Output folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
def lab(name: str, output: Path, seed: int) -> None:
    """Run an experiment from the theory of GANs."""
    require_packages("i2i lab", "matplotlib")
    from i2i.lab.run import run_lab

    click.echo("\n".join(run_lab(name, output, seed)))


@cli.group()
def data() -> None:
    """Fetch or check a data set."""


@data.command("check")
@click.argument("path", metavar="[DATA]", required=False, type=FilledText())
@click.option("--a", type=FilledText(), help="Folder of domain A, of any name; with --b, instead of DATA.")
@click.option("--b", type=FilledText(), help="Folder of domain B.")
@click.option("--test-a", type=FilledText(), help="Held-out images of A.  [default: a tenth of A, by file name]")
@click.option("--test-b", type=FilledText(), help="Held-out images of B.")
@click.option("--size", type=click.IntRange(8), default=64, help="Side at which a built-in set is rendered, in pixels.")
@click.option("--unpaired", is_flag=True, help="Do not treat equal file names in A and B as pairs.")
def data_check(
    path: str | None,
    a: str | None,
    b: str | None,
    test_a: str | None,
    test_b: str | None,
    size: int,
    unpaired: bool,
) -> None:
    """Report what a data set holds, and its faults."""
    folders = {"a": a, "b": b, "test_a": test_a, "test_b": test_b}
    if path is None and not any(folders.values()):
        raise click.UsageError("name the data: DATA, or --a and --b")
    from i2i.config.resolve import data_config
    from i2i.data.check import check_data, check_folders

    named = data_config({"path": path or ""} | folders)
    report = check_folders(named, unpaired=unpaired) if named.a else check_data(named.path, size, unpaired=unpaired)
    click.echo("\n".join(report.lines))
    _finish_check(report)


@data.command("get")
@click.argument("name", required=False)
@click.option("--to", type=FileName(), help="Folder to create.  [default: NAME]")
@click.option("--url", type=FilledText(), help="Another URL of the archive, or a local archive.")
def data_get(name: str | None, to: Path | None, url: str | None) -> None:
    """Fetch a public data set; without NAME, list them."""
    if name is None:
        from i2i.fetch.catalogue import dataset_names, describe

        if to is not None or url is not None:
            raise click.UsageError("--to and --url need a NAME; i2i data get alone lists the sets")
        click.echo("\n".join(describe(known).line() for known in dataset_names()))
        return
    from i2i.fetch.get import get_dataset

    try:
        fetched = get_dataset(name, to, url)
    except KeyboardInterrupt:
        root = to or Path(name)
        looked_at = f"the data is in {root}, and i2i data check {root} looks at it"
        _fail(f"interrupted; {looked_at if root.exists() else 'the same command goes on from there'}", INTERRUPTED)
    options = shlex.join([*fetched.description.training_options(), "--data", str(fetched.root)])
    click.echo("\n".join([*fetched.lines(), f"train on it: {_as_called('i2i')} train {options}"]))
    _finish_check(fetched.report)


@cli.command("import", epilog=example("i2i import latest_net_G.pth -o runs/theirs"))
@click.argument("source", metavar="FILE", type=FileName())
@click.option("-o", "--output", type=FileName(), help="Run folder to create, or a file that ends in .safetensors.")
@click.option("--as", "wanted", metavar="NETWORK", help="Expected network, like resnet-9 or unet-256.")
@click.option(
    "--statistics",
    type=click.Choice(["running", "picture"]),
    help="Statistics of batch norm.  [default: picture, as the original code tests]",
)
@click.option(
    "--dropout/--no-dropout", default=None, help="Dropout at inference.  [default: as the original code tests]"
)
def import_(source: Path, output: Path | None, wanted: str | None, statistics: Any, dropout: bool | None) -> None:
    """Import a generator of the reference PyTorch code.

    FILE is a state dict like latest_net_G.pth, saved by the code of CycleGAN, pix2pix or CUT.
    """
    from i2i.exchange.state_files import import_state

    taken = import_state(source, output, wanted=wanted, statistics=statistics, dropout=dropout)
    click.echo(f"imported {taken.network}: {taken.path}")
    if taken.inference:
        click.echo(f"at inference: {taken.inference} (--statistics and --dropout choose)")
    click.echo(f"use it: {_as_called('i2i')} translate INPUT --model {shlex.quote(str(taken.path))}")


@cli.command("export-state", epilog=example("i2i export-state runs/NAME -o latest_net_G.pth --direction BtoA"))
@click.argument("model", type=FileName())
@click.option("-o", "--output", type=FileName(), required=True, help="File to write, ending in .pth.")
@click.option("--direction", metavar="NAME", help="Generator to export.  [default: the model's first]")
def export_state_(model: Path, output: Path, direction: str | None) -> None:
    """Export a generator for the reference PyTorch code.

    MODEL is a run folder or weight file; the code of CycleGAN, pix2pix or CUT loads what is written.
    """
    from i2i.exchange.state_files import export_state

    given = export_state(model, output, direction)
    click.echo(f"exported {given.network}: {given.path}")


@cli.command()
def archs() -> None:
    """List the recipes and their papers."""
    from i2i.config.resolve import read_recipe, recipe_names

    for name in recipe_names():
        recipe = read_recipe(name)
        click.echo(f"{name:<16} {recipe['about']}\n{'':<16} {recipe['paper']}")


@cli.command(epilog=example("i2i info --model runs/NAME"))
@model_option
def info(model: Path | None) -> None:
    """Show versions, devices, and a summary of a model."""
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
    from i2i.storage.runs import weight_file

    weight_file(model)


def _refuse_changes(options: dict[str, Any], assignments: tuple[str, ...]) -> None:
    given = [name for name, value in options.items() if value is not None and name not in MAY_BE_ADDED]
    given += [assignment.partition("=")[0] for assignment in assignments]
    if given:
        raise click.UsageError(
            f"--resume continues a run with its own settings; leave out {', '.join(given)} "
            "(only --steps, --device and --threads may be added)"
        )


def _resume(root: Path, steps: int | None, device: Any, threads: int | None, dry_run: bool) -> Any:
    if dry_run:
        raise click.UsageError("--dry-run is for new runs; see i2i info --model RUN for this one")
    from i2i.storage.runs import RunFolder

    RunFolder(root).require()
    from i2i.training.start import resume

    return resume(root, steps, device=device, threads=threads)


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
