"""``i2i archs``."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.cli.ending import tell
from i2i.cli.options import FileName, Recipe, example, overwrite_option


@click.command(epilog=example("i2i archs", "i2i archs pix2pix", "i2i archs pix2pix -o mine.yaml"))
@click.argument("name", type=Recipe(), required=False)
@click.option("-o", "--output", type=FileName(), help="File to copy the recipe to, for i2i train --config.")
@overwrite_option
def archs(name: str | None, output: Path | None, overwrite: bool) -> None:
    """List the recipes and their papers, or show the recipe NAME."""
    from i2i.config.resolve import read_recipe, recipe_names, recipe_text
    from i2i.storage.files import require_free, write_atomically

    if name is None and output is not None:
        raise click.UsageError("-o goes with the name of a recipe")
    if name is None:
        for known in recipe_names():
            recipe = read_recipe(known)
            tell(f"{known:<16} {recipe['about']}", f"{'':<16} {recipe['paper']}")
    elif output is None:
        tell(*recipe_text(name).splitlines())
    else:
        text = recipe_text(name)
        require_free(output, overwrite=overwrite)
        write_atomically(output, text.encode(), overwrite=overwrite)
        tell(f"{name}: {output}", f"train it: i2i train --config {output} --data FOLDER")
