"""``i2i archs``."""

from __future__ import annotations

import click

from i2i.cli.ending import tell


@click.command()
def archs() -> None:
    """List the recipes and their papers."""
    from i2i.config.resolve import read_recipe, recipe_names

    for name in recipe_names():
        recipe = read_recipe(name)
        tell(f"{name:<16} {recipe['about']}", f"{'':<16} {recipe['paper']}")
