"""Masks of pairs: one grey image for each pair, which says how much each pixel counts: black 0, white 1.

They lie in ``trainMask/``, ``valMask/`` and ``testMask/``, beside the folders of the images, or where ``data.mask``
says, each under the name of its pair. They are resized by the same filter as the images, so that they stay aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Fit
from i2i.data.images import NAMES
from i2i.data.layout import ImageFile, Layout, by_stem
from i2i.data.store import Loading
from i2i.errors import DataError

BLACK = (0, 0, 0)
NAMED = 3
"""How many images without a mask an error names."""


@dataclass(frozen=True)
class Masks:
    """What the folder of masks holds.

    Attributes:
        folder: where they are.
        known: the masks of pairs, in the order of the pairs.
        images: the images of A of these pairs.
        missing: images of pairs that have none.
        lone: masks of no pair.
    """

    folder: Path
    known: Sequence[ImageFile]
    images: Sequence[ImageFile]
    missing: Sequence[Path]
    lone: Sequence[Path]

    def require_all(self) -> None:
        """Raises DataError where a pair has no mask: a name that was mistyped would else let all its pixels count."""
        if self.missing:
            more = f" and {len(self.missing) - NAMED:,} more" if len(self.missing) > NAMED else ""
            raise DataError(
                f"{self.folder} has no mask for {', '.join(map(str, self.missing[:NAMED]))}{more}: add a grey image of "
                f"the same name (white where all counts), or move {self.folder} away, or leave out --mask, to train "
                "without masks"
            )


def folder_of_masks(layout: Layout, part: str) -> Path | None:
    """Where the masks of a part of the pairs lie; None where it has no folder of them."""
    folder = layout.root / f"{part}Mask"
    if layout.kind == "folders A and B":
        return layout.masks.get(part)
    return folder if folder.is_dir() else None


def masks_of(
    layout: Layout, part: Literal["train", "test"], denied: list[str], max_pixels: int = MAX_PIXELS
) -> Masks | None:
    """The masks of a part of the pairs, if it has a folder of them; errors as ``find_masks``."""
    folder = folder_of_masks(layout, part)
    if folder is None:
        return None
    splits = {"train": layout.train, "test": layout.test}
    found = find_masks(folder, splits.pop(part).a, layout.folders[part][0], denied, max_pixels)
    for other, split in splits.items():
        if folder_of_masks(layout, other) == folder:
            lone = set(find_masks(folder, split.a, layout.folders[other][0], []).lone)
            found = replace(found, lone=[path for path in found.lone if path in lone])
    return found


def find_masks(
    folder: Path, images: Sequence[ImageFile], root: Path, denied: list[str], max_pixels: int = MAX_PIXELS
) -> Masks:
    """The masks in ``folder`` of the pairs whose images of A are ``images``, in ``root``.

    ``denied`` is as in ``list_images``.

    Raises:
        DataError: the folder is empty, or two masks have one name.
    """
    files = by_stem(folder, denied)
    if not files:
        raise DataError(f"{folder}: no images ({NAMES}) in it")
    pairs = {image.path.relative_to(root).with_suffix(""): image for image in images}
    masked = [stem for stem in pairs if stem in files]
    known = [ImageFile(files[stem], max_pixels=max_pixels) for stem in masked]
    missing = [image.path for stem, image in pairs.items() if stem not in files]
    return Masks(
        folder,
        known,
        [pairs[stem] for stem in masked],
        missing,
        [path for stem, path in files.items() if stem not in pairs],
    )


def mask_loading(size: int, fit: Fit) -> Loading:
    """How masks are decoded and brought to ``size``; what is transparent in them does not count."""
    return Loading(1, size, fit, BLACK)
