"""``i2i report``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import tell
from i2i.cli.options import FileName, Run, example, overwrite_option
from i2i.storage.files import require_free, require_writable


@click.command(epilog=example("i2i report runs/NAME", "i2i report runs/NAME -o page.html"))
@click.argument("run", metavar="RUN", type=Run())
@click.option("-o", "--output", type=FileName(), help="HTML file.  [default: report.html in the run folder]")
@overwrite_option
def report(run: Path, output: Path | None, overwrite: bool) -> None:
    """Write a page that shows what became of a run.

    The page is one HTML file that opens from the disk: state, health, samples over time, curves, figures of i2i
    evaluate --json that lie in the run folder, settings, and the commands that go on. RUN may still be training.
    Without -o, the model card beside the weights is written too, unless somebody has edited it. Every training ends
    with such a report.
    """
    from i2i.storage.runs import RunFolder

    folder = RunFolder(run)
    folder.require()
    if output is not None:
        if output.suffix.lower() not in (".html", ".htm"):
            raise click.UsageError(f"-o {output}: the page is HTML; end the name in .html")
        require_free(output, overwrite=overwrite)
        require_writable(output)
    from i2i.report.write import write_report

    tell(f"report: {write_report(folder, output)}")
