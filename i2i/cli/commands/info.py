"""``i2i info``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import tell
from i2i.cli.options import example, model_option
from i2i.errors import UserError


@click.command(epilog=example("i2i info --model runs/NAME"))
@model_option
def info(model: Path | None) -> None:
    """Show versions, devices, and a summary of a model."""
    from i2i.info import describe_machine, describe_model

    tell(*describe_machine())
    try:
        tell(*describe_model(model))
    except UserError as error:
        if model is not None:
            raise
        tell(f"model      {error}")
