"""``i2i lab``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import tell
from i2i.cli.options import SEED, FileName, overwrite_option
from i2i.lab import EXPERIMENTS
from i2i.needs import require_packages


@click.command(epilog="\b\nExperiments:\n" + "\n".join(f"  {name:<12} {about}" for name, about in EXPERIMENTS.items()))
@click.argument("name", type=click.Choice(list(EXPERIMENTS)), metavar="NAME")
@click.option("-o", "--output", type=FileName(), default="lab", show_default=True, help="Output folder.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@overwrite_option
def lab(name: str, output: Path, seed: int, overwrite: bool) -> None:
    """Run an experiment from the theory of GANs."""
    require_packages("i2i lab", "matplotlib")
    from i2i.lab.run import run_lab

    tell(*run_lab(name, output, seed, overwrite=overwrite))
