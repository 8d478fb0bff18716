"""The previews of a run over time: the same inputs, or the same noise, at steps that are spread over the training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from i2i.data.images import read_image, to_pil
from i2i.display import one_line
from i2i.errors import DataError
from i2i.pages.one_file import data_uri
from i2i.storage.runs import RunFolder

MOST_STEPS, MOST_NAMES = 6, 6
"""How many sheets of a name are shown, and of how many names."""
SIDE = 640
"""The longer side of a sheet in the page; a larger one is made smaller."""
LOSSLESS_PIXELS = 2**15
"""Up to so many a sheet is kept exactly: what is enlarged on the page shows every fault of an encoder."""
SAMPLE = re.compile(r"step-(\d{8,18})-(.+)\.png", re.DOTALL)


class Sheet(NamedTuple):
    """A sheet of images at one step, as the address of an image, with its size in pixels there."""

    step: int
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Strip:
    """The sheets of one name, oldest first."""

    name: str
    sheets: list[Sheet]


def strips_of(run: RunFolder, last_step: int, problems: list[str]) -> list[Strip]:
    """The strips of a run.

    Args:
        run: its folder.
        last_step: where it is; later sheets are of a past that a resumed run has left.
        problems: takes a line for what is not shown.
    """
    by_name: dict[str, list[tuple[int, Path]]] = {}
    for path in run.samples.glob("step-*.png") if run.samples.is_dir() else ():
        found = SAMPLE.fullmatch(path.name)
        if found and int(found[1]) <= last_step:
            by_name.setdefault(found[2], []).append((int(found[1]), path))
    names = sorted(by_name)
    if len(names) > MOST_NAMES:
        problems.append(f"{len(names) - MOST_NAMES} more kinds of samples are in {run.samples}")
    strips = [Strip(one_line(name), _sheets(sorted(by_name[name]), problems)) for name in names[:MOST_NAMES]]
    return [strip for strip in strips if strip.sheets]


def _sheets(files: Sequence[tuple[int, Path]], problems: list[str]) -> list[Sheet]:
    sheets = []
    for step, path in _spread(files):
        try:
            pixels = read_image(path)
        except DataError as error:
            problems.append(str(error))
            continue
        if max(pixels.shape[:2]) > SIDE:
            image = to_pil(pixels)
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
            pixels = np.asarray(image)
        height, width = pixels.shape[:2]
        source = data_uri(pixels, lossless=height * width <= LOSSLESS_PIXELS)
        sheets.append(Sheet(step, source, width, height))
    return sheets


def _spread(files: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """The first, the last, and those between whose steps are nearest to equal parts of the way."""
    if len(files) <= MOST_STEPS:
        return list(files)
    first, last = files[0][0], files[-1][0]
    wanted = [first + (last - first) * number / (MOST_STEPS - 1) for number in range(MOST_STEPS)]
    nearest = {min(files, key=lambda file: abs(file[0] - step)) for step in wanted}
    return sorted(nearest)
