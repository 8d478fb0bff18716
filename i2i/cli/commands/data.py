"""``i2i data check`` and ``i2i data get``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from i2i.cli.ending import DONE, INTERRUPTED, SKIPPED, as_called, fail, tell
from i2i.cli.options import FileName, FilledText, example, max_pixels_option
from i2i.display import one_line

if TYPE_CHECKING:
    from i2i.data.check import CheckReport


@click.group()
def data() -> None:
    """Fetch or check a data set."""


@data.command("check", epilog=example("i2i data check FOLDER"))
@click.argument("path", metavar="[DATA]", required=False, type=FilledText())
@click.option("--a", type=FilledText(), help="Folder of domain A; use with --b instead of DATA.")
@click.option("--b", type=FilledText(), help="Folder of domain B.")
@click.option("--test-a", type=FilledText(), help="Folder of held-out images of A.  [default: a tenth of A]")
@click.option("--test-b", type=FilledText(), help="Folder of held-out images of B.  [default: a tenth of B]")
@click.option("--mask", type=FilledText(), help="Folder of masks of the pairs of --a and --b.")
@click.option("--test-mask", type=FilledText(), help="Folder of masks for --test-a and --test-b.")
@click.option(
    "--size", type=click.IntRange(8, 4096), default=64, help="Side at which a built-in set is rendered, in pixels."
)
@max_pixels_option
@click.option("--unpaired", is_flag=True, help="Do not treat equal file names in A and B as pairs.")
def data_check(
    path: str | None,
    a: str | None,
    b: str | None,
    test_a: str | None,
    test_b: str | None,
    mask: str | None,
    test_mask: str | None,
    size: int,
    max_pixels: int,
    unpaired: bool,
) -> None:
    """Report what a data set holds, and its faults."""
    folders = {"a": a, "b": b, "test_a": test_a, "test_b": test_b, "mask": mask, "test_mask": test_mask}
    if path is None and not any(folders.values()):
        raise click.UsageError("give DATA, or --a and --b")
    from i2i.config.resolve import data_config
    from i2i.data.check import check_data, check_folders
    from i2i.doctor.beforehand import advice

    named = data_config({"path": path or "", "max_pixels": max_pixels} | folders)
    if named.a:
        report = check_folders(named, unpaired=unpaired)
    else:
        report = check_data(named.path, size, unpaired=unpaired, max_pixels=max_pixels)
    tell(*report.lines, *advice(report))
    _finish(report)


@data.command("get", epilog=example("i2i data get", "i2i data get horse2zebra --to FOLDER"))
@click.argument("name", required=False)
@click.option("--to", type=FileName(), help="Folder to create.  [default: NAME]")
@click.option("--url", type=FilledText(), help="URL or path of the archive, instead of the documented address.")
def data_get(name: str | None, to: Path | None, url: str | None) -> None:
    """Fetch a public data set; without NAME, list the sets."""
    if name is None:
        from i2i.fetch.catalogue import dataset_names, describe

        if to is not None or url is not None:
            raise click.UsageError("--to and --url need a NAME; i2i data get without options lists the sets")
        tell(*(describe(known).line() for known in dataset_names()))
        return
    from i2i.fetch.get import get_dataset

    try:
        fetched = get_dataset(name, to, url)
    except KeyboardInterrupt:
        root = to or Path(name)
        looked_at = f"the data is in {root}; check it with i2i data check {root}"
        fail(f"interrupted; {looked_at if root.exists() else 'repeat the command to continue'}", INTERRUPTED)
    options = shlex.join([*fetched.description.training_options(), "--data", str(fetched.root)])
    tell(*fetched.lines(), f"train on it: {as_called('i2i')} train {options}")
    _finish(fetched.report)


def _finish(report: CheckReport) -> NoReturn:
    for fault in report.faults:
        click.echo(f"fault: {one_line(fault)}", err=True)
    sys.exit(SKIPPED if report.faults else DONE)
