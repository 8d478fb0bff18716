"""Finds the images of a data folder: unpaired, paired and side-by-side layouts, each searched to any depth."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from i2i.bounds import MAX_PIXELS
from i2i.data.heads import Head, read_head
from i2i.data.identity import digest_of_file, size_of_file
from i2i.data.images import NAMES, Pixels, list_images, read_image, read_values
from i2i.errors import DataError
from i2i.kinds import AnyPixels, Kind

Half = Literal["whole", "left", "right"]


@dataclass(frozen=True)
class ImageFile:
    """A file, or one half of a side-by-side file; one with more than ``max_pixels`` is not read."""

    path: Path
    half: Half = "whole"
    max_pixels: int = MAX_PIXELS

    @property
    def name(self) -> Path:
        """What tells this image from the others of its folder."""
        return self.path

    def head(self) -> Head:
        """Its size and mode, read without decoding.

        Raises:
            DataError: the file is not there, does not begin as an image, or is too large.
        """
        head = read_head(self.path, self.max_pixels)
        if self.half == "whole":
            return head
        if head.width < 2:
            raise DataError(f"{self.path}: too narrow to hold two images side by side")
        return head._replace(width=head.width // 2)

    def size(self) -> int:
        """The size of its file in bytes; errors as ``size_of_file``."""
        return size_of_file(self.path)

    def digest(self) -> int:
        """The digest of its file; errors as ``digest_of_file``."""
        return digest_of_file(self.path)

    def read(self, channels: int, background: tuple[int, int, int], least: int | None = None) -> Pixels:
        """Decodes to (H, W, channels), uint8, perhaps at a part of its size, as ``read_image``.

        Raises:
            DataError: the image cannot be read.
        """
        whole = least if least is None or self.half == "whole" else 2 * least
        return self._part(read_image(self.path, channels, background, self.max_pixels, whole))

    def values(self, kind: Kind, channels: int) -> AnyPixels:
        """Reads the values that are stored: (H, W, channels) of ``kind``.

        Raises:
            DataError: it cannot be read, or holds others.
        """
        return self._part(read_values(self.path, kind, channels, self.max_pixels))

    def _part(self, pixels: AnyPixels) -> AnyPixels:
        middle = pixels.shape[1] // 2
        if self.half == "whole":
            return pixels
        if middle == 0:
            raise DataError(f"{self.path}: too narrow to hold two images side by side")
        return pixels[:, :middle] if self.half == "left" else pixels[:, -middle:]


@dataclass(frozen=True)
class Split:
    """The images of both domains. Where ``paired``, the i-th of A and the i-th of B are one item."""

    a: Sequence[ImageFile]
    b: Sequence[ImageFile]
    paired: bool


@dataclass(frozen=True)
class Layout:
    """What a data folder holds. ``unmatched``: files of a folder pair that lack a partner of the same stem.

    ``denied``: a line for each folder in it that cannot be entered.
    ``folders``: those of A and B, for training and for testing; ``roots``: what nothing may be written into.
    ``masks``: the folders of masks that have names of their own.
    """

    root: Path
    kind: Literal["two folders", "side by side", "folders A and B"]
    train: Split
    test: Split
    unmatched: list[Path]
    folders: dict[str, tuple[Path, Path]]
    roots: tuple[Path, ...]
    denied: list[str]
    held_out: float = 0.0
    masks: Mapping[str, Path] = field(default_factory=dict)


def find_layout(root: Path, *, paired: bool, max_pixels: int = MAX_PIXELS) -> Layout:
    """Finds the layout of ``root``.

    Args:
        root: a folder with ``trainA`` and ``trainB`` (``testA``, ``testB``), or with ``train`` (``test``) of
            side-by-side images.
        paired: whether items must be matched by file stem; unmatched files are then left out and listed.
        max_pixels: of an image that is read.

    Raises:
        DataError: no such folder, no known layout, an empty domain, no pairs, or two files of one stem in a domain of
            pairs; says what was expected.
    """
    if not root.exists():
        raise DataError(f"{root}: no such data folder, and not a built-in set")
    if not root.is_dir():
        raise DataError(f"{root} is a file; --data takes a folder with trainA/ and trainB/")
    if (root / "trainA").is_dir() or (root / "trainB").is_dir():
        return _two_folders(root, paired, max_pixels)
    if (root / "train").is_dir():
        return _side_by_side(root, max_pixels)
    raise DataError(f"{root}: found neither trainA/ and trainB/ nor train/ with side-by-side images")


def _two_folders(root: Path, paired: bool, max_pixels: int) -> Layout:
    for name in ("trainA", "trainB"):
        if not (root / name).is_dir():
            raise DataError(f"{root}: {name}/ is missing; a set of two domains needs trainA/ and trainB/")
    folders, denied = {name: (root / f"{name}A", root / f"{name}B") for name in ("train", "test")}, list[str]()
    train, test = (_pair_up(folders[name], paired, max_pixels, denied) for name in ("train", "test"))
    _require_images(folders["train"], train)
    return Layout(root, "two folders", train[0], test[0], train[1] + test[1], folders, (root,), denied)


def find_folders(
    a: Path,
    b: Path,
    test_a: Path | None,
    test_b: Path | None,
    mask: Path | None = None,
    test_mask: Path | None = None,
    *,
    held_out: float,
    paired: bool,
    max_pixels: int = MAX_PIXELS,
) -> Layout:
    """The layout of two folders of any name.

    Args:
        a: the images of domain A, at any depth.
        b: those of domain B.
        test_a: held-out images of A; None: a part of ``a``.
        test_b: held-out images of B.
        mask: the masks of pairs in ``a`` and ``b``.
        test_mask: those of pairs in ``test_a`` and ``test_b``.
        held_out: the fraction of names that is held out where there are no test folders.
        paired: as in ``find_layout``.
        max_pixels: as in ``find_layout``.

    Raises:
        DataError: a folder is missing, empty, given twice or inside another one, or there are no pairs.
    """
    given = [folder for folder in (a, b, test_a, test_b, mask, test_mask) if folder is not None]
    for folder in given:
        if not folder.is_dir():
            raise DataError(f"{folder} is a file; give a folder" if folder.exists() else f"{folder}: no such folder")
    for one, other in itertools.permutations(given, 2):
        if one.resolve() == other.resolve() or one.resolve() in other.resolve().parents:
            raise DataError(
                f"{other} is {one} or inside it: each domain, each test part and masks need a folder of their own"
            )
    denied = list[str]()
    train, unmatched = _pair_up((a, b), paired, max_pixels, denied)
    _require_images((a, b), (train, unmatched))
    folders = {"train": (a, b), "test": (a, b) if test_a is None or test_b is None else (test_a, test_b)}
    of_parts = {"train": mask, "test": mask if test_a is None else test_mask}
    masks = {part: folder for part, folder in of_parts.items() if folder is not None}
    found = Layout(a.parent, "folders A and B", train, train, unmatched, folders, tuple(given), denied, held_out, masks)
    if test_a is not None:
        test, others = _pair_up(folders["test"], paired, max_pixels, denied)
        return replace(found, test=test, unmatched=unmatched + others, held_out=0.0)
    parts = [_part_held_out(images, folder, held_out) for images, folder in ((train.a, a), (train.b, b))]
    splits = [Split(parts[0][i], parts[1][i], paired) for i in range(2)]
    return replace(found, train=splits[0], test=splits[1])


def _part_held_out(
    images: Sequence[ImageFile], folder: Path, fraction: float
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Those to train on and those held out: by a hash of each name alone, so that new files move no others."""
    parts: tuple[list[ImageFile], list[ImageFile]] = ([], [])
    for image in images:
        stem = image.path.relative_to(folder).with_suffix("").as_posix()
        digest = hashlib.sha256(os.fsencode(stem)).digest()
        parts[int.from_bytes(digest[:4], "big") / 2**32 < fraction].append(image)
    return parts if parts[0] else (list(images), [])


def _require_images(folders: tuple[Path, Path], found: tuple[Split, list[Path]]) -> None:
    split, unmatched = found
    for folder, images in zip(folders, (split.a, split.b), strict=True):
        if not images and not any(path.is_relative_to(folder) for path in unmatched):
            raise DataError(f"{folder}: no images ({NAMES}) in it")
    if not split.a or not split.b:
        raise DataError(f"no file in {folders[0]} has a partner of the same name in {folders[1]}")


def _pair_up(folders: tuple[Path, Path], paired: bool, max_pixels: int, denied: list[str]) -> tuple[Split, list[Path]]:
    if not paired:
        files = [list_images(folder, denied) for folder in folders]
        a, b = ([ImageFile(path, max_pixels=max_pixels) for path in side] for side in files)
        return Split(a, b, paired=False), []
    stems = [by_stem(folder, denied) for folder in folders]
    common = stems[0].keys() & stems[1].keys()
    a, b = ([ImageFile(side[stem], max_pixels=max_pixels) for stem in sorted(common)] for side in stems)
    unmatched = [path for side in stems for stem, path in side.items() if stem not in common]
    return Split(a, b, paired=True), unmatched


def by_stem(folder: Path, denied: list[str]) -> dict[Path, Path]:
    """The images of ``folder`` by what pairs are matched by; errors as ``images_by_stem``."""
    images = [ImageFile(path) for path in list_images(folder, denied)]
    return {stem: image.path for stem, image in images_by_stem(images, folder).items()}


def images_by_stem(images: Sequence[ImageFile], folder: Path) -> dict[Path, ImageFile]:
    """Images in ``folder`` by what pairs are matched by.

    Raises:
        DataError: two of them have one stem.
    """
    found: dict[Path, ImageFile] = {}
    for image in images:
        stem = image.path.relative_to(folder).with_suffix("")
        if stem in found:
            raise DataError(
                f"{found[stem].path} and {image.path} would both be the partner of {stem}: remove or rename one"
            )
        found[stem] = image
    return found


def _side_by_side(root: Path, max_pixels: int) -> Layout:
    splits, denied = [], list[str]()
    for name in ("train", "test"):
        files = list_images(root / name, denied)
        left = [ImageFile(path, "left", max_pixels) for path in files]
        right = [ImageFile(path, "right", max_pixels) for path in files]
        splits.append(Split(left, right, paired=True))
    if not splits[0].a:
        raise DataError(f"{root / 'train'}: no images ({NAMES}) in it")
    folders = {name: (root / name, root / name) for name in ("train", "test")}
    return Layout(root, "side by side", splits[0], splits[1], [], folders, (root,), denied)
