"""Masks of training pairs: one grey image for each pair, which says how much each pixel counts: black 0, white 1.

They lie in ``trainMask/``, beside the folders of the images, each under the name of its pair. They are resized by the
same filter as the images, so that they stay aligned with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import Fit
from i2i.data.images import NAMES
from i2i.data.layout import ImageFile, Layout, by_stem
from i2i.data.store import Loading
from i2i.errors import DataError

MASKS = "trainMask"
BLACK = (0, 0, 0)
NAMED = 3
"""How many images without a mask an error names."""


@dataclass(frozen=True)
class Masks:
    """What the folder of masks holds.

    Attributes:
        folder: where they are.
        known: the masks of pairs, in the order of the pairs.
        missing: images of pairs that have none.
        lone: masks of no pair.
    """

    folder: Path
    known: Sequence[ImageFile]
    missing: Sequence[Path]
    lone: Sequence[Path]

    def require_all(self) -> None:
        """Raises DataError where a pair has no mask: a name that was mistyped would else let all its pixels count."""
        if self.missing:
            more = f" and {len(self.missing) - NAMED:,} more" if len(self.missing) > NAMED else ""
            raise DataError(
                f"{self.folder} has no mask for {', '.join(map(str, self.missing[:NAMED]))}{more}: add a grey image of "
                f"the same name (white where all counts), or move {self.folder} away to train without masks"
            )


def find_masks(layout: Layout, denied: list[str], max_pixels: int = MAX_PIXELS) -> Masks | None:
    """The masks of the training pairs of ``layout``; None where it has no folder of them.

    Raises:
        DataError: the folder is empty, or two masks have one name.
    """
    folder = layout.root / MASKS
    if layout.kind == "folders A and B" or not folder.is_dir():
        return None
    files = by_stem(folder, denied)
    if not files:
        raise DataError(f"{folder}: no images ({NAMES}) in it")
    images = {image.path.relative_to(layout.folders["train"][0]).with_suffix(""): image for image in layout.train.a}
    known = [ImageFile(files[stem], max_pixels=max_pixels) for stem in images if stem in files]
    missing = [image.path for stem, image in images.items() if stem not in files]
    return Masks(folder, known, missing, [path for stem, path in files.items() if stem not in images])


def mask_loading(size: int, fit: Fit) -> Loading:
    """How masks are decoded and brought to ``size``; what is transparent in them does not count."""
    return Loading(1, size, fit, BLACK)
