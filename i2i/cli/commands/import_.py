"""``i2i import``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import as_called, tell
from i2i.cli.options import FileName, example

if TYPE_CHECKING:
    from i2i.networks.at_inference import Statistics


@click.command("import", epilog=example("i2i import latest_net_G.pth -o runs/theirs"))
@click.argument("source", metavar="FILE", type=FileName())
@click.option("-o", "--output", type=FileName(), help="Run folder to create, or a file ending in .safetensors.")
@click.option("--as", "wanted", metavar="NETWORK", help="Refuse any other network, e.g. resnet-9 or unet-256.")
@click.option(
    "--statistics",
    type=click.Choice(["running", "image"]),
    help="Batch norm statistics at inference.  [default: image, as in the reference code]",
)
@click.option("--dropout/--no-dropout", default=None, help="Dropout at inference.  [default: as in the reference code]")
def import_(
    source: Path, output: Path | None, wanted: str | None, statistics: Statistics | None, dropout: bool | None
) -> None:
    """Import a generator of the reference PyTorch code.

    FILE is a state dict such as latest_net_G.pth, saved by the code of CycleGAN, pix2pix or CUT.
    """
    from i2i.exchange.state_files import import_state

    taken = import_state(source, output, wanted=wanted, statistics=statistics, dropout=dropout)
    tell(f"imported {taken.network}: {taken.path}")
    if taken.inference:
        tell(f"at inference: {taken.inference} (--statistics and --dropout choose)")
    tell(f"use it: {as_called('i2i')} translate INPUT --model {shlex.quote(str(taken.path))}")
