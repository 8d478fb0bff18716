"""Where the outputs of a translation go: never in the place of an input, nor among the inputs of a folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from i2i.data.images import SUFFIXES, is_image
from i2i.errors import DataError


def target_of(source: Path, output: Path | None, suffix: str) -> Path:
    """The output of the image ``source``: a name beside it by default, the file ``output``, or one in that folder.

    Raises:
        DataError: the name has the suffix of no image.
    """
    target = output or source.with_name(f"{source.stem}-translated{suffix}")
    if target.is_dir() or not target.suffix:
        return target / f"{source.stem}{suffix}"
    if not is_image(target):
        known = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{target}: cannot write {target.suffix}; supported: {known}")
    return target


def require_apart(source: Path, inputs: Collection[Path], outputs: Collection[Path]) -> None:
    """Refuses outputs that would replace an input, or lie in the folder ``source`` of inputs.

    Raises:
        DataError: names the output.
    """
    whole, places = real(source), {real(path) for path in inputs}
    for path in outputs:
        place = real(path)
        if place == whole and source.is_file():
            raise DataError(f"{path} is the input itself: choose another output")
        if place in places or whole in (place, *place.parents):
            raise DataError(f"the output {path} would be inside the input or replace it: choose one outside {source}")


def real(path: Path) -> Path:
    """The place that a path leads to; of links that lead in a circle, one of them, where ``resolve`` would raise."""
    return Path(os.path.realpath(path))
