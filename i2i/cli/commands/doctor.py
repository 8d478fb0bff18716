"""``i2i doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import DONE, SKIPPED
from i2i.cli.options import FileName, device_option, example, overwrite_option
from i2i.storage.files import require_free

if TYPE_CHECKING:
    from i2i.config.schema import Device


@click.command(epilog=example("i2i doctor runs/NAME"))
@click.argument("run", metavar="RUN", type=FileName())
@click.option("--json", "report_file", type=FileName(), help="Write the findings to this file as well.")
@overwrite_option
@device_option
def doctor(run: Path, report_file: Path | None, overwrite: bool, device: Device) -> None:
    """Say whether a run is sick, and what to do about it.

    RUN may still be training. What it has measured is read, and held-out images are translated with its newest
    weights. The exit code is 1 where a sign is on.
    """
    require_free(*([report_file] if report_file else []), overwrite=overwrite)
    from i2i.storage.runs import RunFolder

    RunFolder(run).require()
    from i2i.doctor.verdict import examine_run

    verdict = examine_run(run, device=device)
    if report_file is not None:
        verdict.write(report_file)
    click.echo("\n".join(verdict.lines()))
    sys.exit(SKIPPED if verdict.on else DONE)
