"""Masks of held-out pairs: what of an output counts where it is compared with its true partner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from i2i.data.layout import ImageFile
from i2i.data.masks import find_masks, mask_loading
from i2i.data.store import attempted
from i2i.errors import DataError
from i2i.evaluation.metrics.base import Metric
from i2i.kinds import AnyPixels

if TYPE_CHECKING:
    from i2i.evaluation.held_out import Wanted

Images = Mapping[int, AnyPixels]
"""Images of pairs, by the numbers of these."""


@dataclass(frozen=True)
class HeldOutMasks:
    """The masks of held-out pairs.

    Attributes:
        files: by the numbers of their pairs.
        values: (H, W, 1), uint8, of those that can be used.
        unusable: why others cannot be, a line each, by the same numbers: their pairs are left out.
        note: what a person should know of them.
    """

    files: Mapping[int, ImageFile]
    values: Images
    unusable: Mapping[int, str]
    note: str

    def of(self, images: Images) -> list[AnyPixels]:
        """A mask for each of ``images``, white for those that have none."""
        white = {number: np.full((*image.shape[:2], 1), 255, np.uint8) for number, image in images.items()}
        return [self.values.get(number, all_of_it) for number, all_of_it in white.items()]


def read_masks(
    folder: Path, pairs: Sequence[ImageFile], root: Path, images: Images, wanted: Wanted, denied: list[str]
) -> HeldOutMasks:
    """Reads the masks in ``folder``.

    Args:
        folder: where they lie.
        pairs: the images of A of the pairs.
        root: the folder of these.
        images: those that could be read.
        wanted: how they are brought to their size.
        denied: as in ``list_images``.

    Raises:
        DataError: as ``find_masks``.
    """
    found = find_masks(folder, pairs, root, denied, wanted.data.max_pixels)
    missing = set(found.missing)
    numbers = [number for number, image in enumerate(pairs) if image.path not in missing]
    files = dict(zip(numbers, found.known, strict=True))
    known = {number: file for number, file in files.items() if number in images}
    read = attempted(mask_loading(wanted.image_size, wanted.images.fit).read, list(known.values()))
    values, unusable = dict[int, AnyPixels](), dict[int, str]()
    for (number, file), mask in zip(known.items(), read, strict=True):
        if isinstance(mask, DataError):
            unusable[number] = f"{mask}: its pair is left out"
        elif mask.shape[:2] != images[number].shape[:2]:
            unusable[number] = f"{file.path}: not of the shape of its pair, which is left out"
        elif not mask.any():
            unusable[number] = f"{file.path}: all black, so that nothing of its pair counts, which is left out"
        else:
            values[number] = mask
    more = f"; {len(found.missing):,} pairs have none, first {found.missing[0].name}" if found.missing else ""
    by_masks = ", ".join(name for name, metric in Metric.found().items() if metric.masked)
    note = f"only what the {len(found.known):,} masks in {folder.name} show counts in {by_masks}{more}"
    return HeldOutMasks(files, values, unusable, note)
