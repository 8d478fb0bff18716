"""``i2i push``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import stoppable, tell
from i2i.cli.options import FilledText, Run, example


@click.command(
    epilog=example(
        "i2i push runs/NAME hf:me/my-model --dry-run",
        "i2i push runs/NAME hf:me/my-model --license cc-by-4.0 --public",
        "i2i translate photos --model hf:me/my-model",
    )
)
@click.argument("run", type=Run())
@click.argument("name", type=FilledText())
@click.option("--license", "licence", type=FilledText(), help="Licence of the weights, as the hub names it.")
@click.option("--public", is_flag=True, help="Let everybody see the repository.  [default: private]")
@click.option("--dry-run", is_flag=True, help="Show what would be pushed, and send nothing.")
def push(run: Path, name: str, licence: str | None, public: bool, dry_run: bool) -> None:
    """Put the model of a run on the Hugging Face hub.

    NAME is hf:OWNER/NAME. Weights, configuration without paths, and MODEL_CARD.md as README.md are pushed, and nothing
    else of the run: no checkpoints and no images. Log in first, with `hf auth login`.
    """
    with stoppable("what the hub has is what it had before, or all of it"):
        from i2i.exchange.push import pack, send
        from i2i.storage.runs import RunFolder

        parcel = pack(RunFolder(run), name, licence=licence, public=public)
        tell(*parcel.lines())
        if dry_run:
            tell("nothing was sent")
            return
        commit = send(parcel)
    tell(f"pushed as commit {commit}", f"use it: i2i translate INPUT --model {parcel.name}@{commit}")
