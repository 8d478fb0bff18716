"""``i2i export-state``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import tell
from i2i.cli.options import FileName, Run, example


@click.command("export-state", epilog=example("i2i export-state runs/NAME -o latest_net_G.pth --direction BtoA"))
@click.argument("model", type=Run())
@click.option("-o", "--output", type=FileName(), required=True, help="File to write, ending in .pth.")
@click.option("--direction", metavar="NAME", help="Generator to export.  [default: the model's first]")
def export_state(model: Path, output: Path, direction: str | None) -> None:
    """Export a generator for the reference PyTorch code.

    MODEL is a run folder or weight file. The output is a state dict for the code of CycleGAN, pix2pix or CUT.
    """
    from i2i.exchange import state_files

    given = state_files.export_state(model, output, direction)
    tell(f"exported {given.network}: {given.path}")
