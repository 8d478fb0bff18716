"""``i2i doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import DONE, SKIPPED, tell
from i2i.cli.options import FileName, Run, device_option, example, overwrite_option
from i2i.storage.files import require_free, require_writable

if TYPE_CHECKING:
    from i2i.config.schema import Device


@click.command(epilog=example("i2i doctor runs/NAME"))
@click.argument("run", metavar="RUN", type=Run())
@click.option("--json", "report_file", type=FileName(), help="Also write the findings to this JSON file.")
@overwrite_option
@device_option
def doctor(run: Path, report_file: Path | None, overwrite: bool, device: Device) -> None:
    """Check the health of a run, and suggest fixes.

    RUN may still be training. Reads its logs, and translates held-out images with its newest weights. The exit code is
    1 if there is a problem.
    """
    if report_file is not None:
        require_free(report_file, overwrite=overwrite)
        require_writable(report_file)
    from i2i.storage.runs import RunFolder

    RunFolder(run).require()
    from i2i.doctor.verdict import examine_run

    verdict = examine_run(run, device=device)
    tell(*verdict.lines())
    if report_file is not None:
        verdict.write(report_file)
    sys.exit(SKIPPED if verdict.on else DONE)
