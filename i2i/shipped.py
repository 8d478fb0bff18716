"""The YAML files that the package ships: recipes and descriptions of data sets."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal


def shipped(folder: Literal["configs", "datasets"]) -> dict[str, Traversable]:
    """The YAML files of ``folder`` by their names without the suffix, sorted."""
    # A wheel contains them inside the package; in a checkout they are beside it.
    packaged = resources.files("i2i") / folder
    place = packaged if packaged.is_dir() else Path(__file__).parent.parent / folder
    files = {file.name.removesuffix(".yaml"): file for file in place.iterdir() if file.name.endswith(".yaml")}
    return dict(sorted(files.items()))
