"""``i2i demo``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import as_called, tell
from i2i.cli.options import SEED, Duration, FileName, example
from i2i.needs import require_data


@click.command(epilog=example("i2i demo --time 10m"))
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    help="Training time, however many steps that is.  [default: 800 steps, and less than 4 minutes]",
)
@click.option("--run", type=FileName(), help="Run folder to create.  [default: a new one in runs/]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
def demo(seconds: float | None, run: Path | None, seed: int) -> None:
    """Train a small translator and show its results.

    Trains a CycleGAN to colour line drawings, then colours drawings that it has not seen.
    """
    require_data("openmoji")
    from i2i.demo import run_demo

    shown = run_demo(seconds, run, seed)
    tell(f"input | translation | truth: {shown.sheet}", f"HTML page:                   {shown.page}", "", "try next:")
    for command in shown.next_commands:
        name, _, arguments = command.partition(" ")
        tell(f"  {as_called(name)} {arguments}")
