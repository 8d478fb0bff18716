"""``i2i completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from i2i.cli.ending import tell
from i2i.cli.options import example


@click.command(
    epilog=example(
        "i2i completion bash >> ~/.bashrc",
        "i2i completion zsh >> ~/.zshrc",
        "i2i completion fish > ~/.config/fish/completions/i2i.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete recipes, runs and settings."""
    script = get_completion_class(shell)
    assert script is not None  # click knows all three
    tell(*script(ctx.find_root().command, {}, "i2i", "_I2I_COMPLETE").source().splitlines())
