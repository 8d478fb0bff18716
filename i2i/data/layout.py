"""Which pictures a data folder holds: the unpaired, paired and side-by-side layouts, each walked to any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.data.heads import Head, read_head
from i2i.data.images import Pixels, list_images, read_image
from i2i.errors import DataError

Half = Literal["whole", "left", "right"]


@dataclass(frozen=True)
class Picture:
    """A file, or one half of a side-by-side file."""

    path: Path
    half: Half = "whole"

    @property
    def name(self) -> Path:
        """What tells this picture from the others of its folder."""
        return self.path

    def head(self) -> Head:
        """Its size and mode, read without decoding.

        Raises:
            DataError: the file is not there, or does not begin as an image.
        """
        width, height, mode = read_head(self.path)
        if self.half == "whole":
            return Head(width, height, mode)
        if width < 2:
            raise DataError(f"{self.path}: too narrow to hold two pictures side by side")
        return Head(width // 2, height, mode)

    def read(self, channels: int, background: tuple[int, int, int]) -> Pixels:
        """Decodes to (H, W, channels), uint8.

        Raises:
            DataError: the picture cannot be read.
        """
        pixels = read_image(self.path, channels, background)
        middle = pixels.shape[1] // 2
        if self.half == "whole":
            return pixels
        if middle == 0:
            raise DataError(f"{self.path}: too narrow to hold two pictures side by side")
        return pixels[:, :middle] if self.half == "left" else pixels[:, -middle:]


@dataclass(frozen=True)
class Split:
    """The pictures of both domains. Where ``paired``, the i-th of A and the i-th of B are one item."""

    a: Sequence[Picture]
    b: Sequence[Picture]
    paired: bool


@dataclass(frozen=True)
class Layout:
    """What a data folder holds. ``unmatched``: files of a folder pair that lack a partner of the same stem."""

    root: Path
    kind: Literal["two folders", "side by side"]
    train: Split
    test: Split
    unmatched: list[Path]


def find_layout(root: Path, *, paired: bool) -> Layout:
    """Finds the layout of ``root``.

    Args:
        root: a folder with ``trainA`` and ``trainB`` (``testA``, ``testB``), or with ``train`` (``test``) of
            side-by-side pictures.
        paired: whether items must be matched by file stem; unmatched files are then left out and listed.

    Raises:
        DataError: no such folder, no known layout, an empty domain, no pairs, or two files of one stem in a domain of
            pairs; says what was expected.
    """
    if not root.exists():
        raise DataError(f"{root}: no such data folder, and not a built-in set")
    if not root.is_dir():
        raise DataError(f"{root} is a file; --data takes a folder with trainA/ and trainB/")
    if (root / "trainA").is_dir() or (root / "trainB").is_dir():
        return _two_folders(root, paired)
    if (root / "train").is_dir():
        return _side_by_side(root)
    raise DataError(f"{root}: found neither trainA/ and trainB/ nor train/ with side-by-side pictures")


def _two_folders(root: Path, paired: bool) -> Layout:
    for name in ("trainA", "trainB"):
        if not (root / name).is_dir():
            raise DataError(f"{root}: {name}/ is missing; a set of two domains needs trainA/ and trainB/")
        if not list_images(root / name):
            raise DataError(f"{root / name}: no pictures (jpg, png, webp, bmp, tiff) in it")
    train, test = _pair_up(root, "train", paired), _pair_up(root, "test", paired)
    if paired and not train[0].a:
        raise DataError(f"{root}: no file in trainA/ has a partner of the same name in trainB/")
    return Layout(root, "two folders", train[0], test[0], train[1] + test[1])


def _pair_up(root: Path, split: str, paired: bool) -> tuple[Split, list[Path]]:
    if not paired:
        files = [list_images(root / f"{split}{domain}") for domain in "AB"]
        return Split([Picture(p) for p in files[0]], [Picture(p) for p in files[1]], paired=False), []
    a, b = (_by_stem(root / f"{split}{domain}") for domain in "AB")
    common = a.keys() & b.keys()
    items = sorted(common)
    unmatched = [path for side in (a, b) for stem, path in side.items() if stem not in common]
    return Split([Picture(a[stem]) for stem in items], [Picture(b[stem]) for stem in items], paired=True), unmatched


def _by_stem(folder: Path) -> dict[Path, Path]:
    """The pictures of ``folder`` by what pairs are matched by."""
    found: dict[Path, Path] = {}
    for path in list_images(folder):
        stem = path.relative_to(folder).with_suffix("")
        if stem in found:
            raise DataError(f"{found[stem]} and {path} would both be the partner of {stem}: remove or rename one")
        found[stem] = path
    return found


def _side_by_side(root: Path) -> Layout:
    splits = []
    for name in ("train", "test"):
        files = list_images(root / name)
        left, right = [Picture(p, "left") for p in files], [Picture(p, "right") for p in files]
        splits.append(Split(left, right, paired=True))
    if not splits[0].a:
        raise DataError(f"{root / 'train'}: no pictures (jpg, png, webp, bmp, tiff) in it")
    return Layout(root, "side by side", splits[0], splits[1], [])
