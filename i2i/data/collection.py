"""Finds the images of one domain in a data folder, and their labels: folders, IDX files, records, built-in sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.bounds import MAX_PIXELS
from i2i.data.builtin import BUILTIN_DRAWINGS, digits, openmoji, split_of
from i2i.data.heads import GREY_MODES, Head, head_sample
from i2i.data.identity import digest_of_bytes
from i2i.data.idx import read_idx
from i2i.data.images import NAMES, Pixels, from_pil, list_images, to_pil
from i2i.data.layout import ImageFile
from i2i.data.records import RecordFiles, find_records, read_names, read_records
from i2i.data.stored import Held
from i2i.errors import DataError
from i2i.kinds import AnyPixels, Kind

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class ArrayImage:
    """An image, grey (H, W) or RGB (H, W, 3), that came as a part of a larger file."""

    name: Path
    pixels: Pixels

    @property
    def mode(self) -> Literal["L", "RGB"]:
        """The image's mode, as Pillow calls it."""
        return "L" if self.pixels.ndim == 2 else "RGB"

    def head(self) -> Head:
        """The image's size and mode."""
        return Head(self.pixels.shape[1], self.pixels.shape[0], self.mode)

    def size(self) -> int:
        """How many bytes its pixels take."""
        return self.pixels.nbytes

    def digest(self) -> int:
        """The digest of its pixels as they were stored."""
        return digest_of_bytes(str(self.pixels.shape).encode(), self.pixels.tobytes())

    def read(self, channels: int, background: tuple[int, int, int], least: int | None = None) -> Pixels:
        """The image as (H, W, channels), whatever ``least``: there is nothing to decode."""
        return from_pil(to_pil(self.pixels), channels, background)

    def values(self, kind: Kind, channels: int) -> AnyPixels:
        """Raises DataError: these are 8-bit images."""
        raise DataError(f"{self.name}: holds 8-bit pixels, and {Held(kind, channels)} are needed")


@dataclass(frozen=True)
class Part:
    """A split: images, and the number of each one's label where the collection has labels."""

    images: Sequence[ImageFile | ArrayImage]
    labels: list[int]


@dataclass(frozen=True)
class Collection:
    """What a folder of one domain holds.

    Attributes:
        root: the folder.
        train: what to train on.
        test: what is held out.
        labels: the names of the labels, none where there are none.
        denied: a line for each folder in it that cannot be entered.
    """

    root: Path
    train: Part
    test: Part
    labels: tuple[str, ...]
    denied: Sequence[str] = ()

    def is_grey(self) -> bool:
        """Whether no image of ``head_sample`` that can be opened has colours, by its header."""
        return all(_is_grey(image) for image in head_sample(self.train.images))


def find_collection(data: str, *, size: int, max_pixels: int = MAX_PIXELS) -> Collection:
    """Finds the images of a built-in name or a folder.

    Args:
        data: ``digits``, ``openmoji`` (its coloured drawings), or a folder: IDX files as MNIST has them, records
            as CIFAR has them, ``train/<label>/*`` and ``test/<label>/*``, ``train/`` and ``test/`` without labels, or
            any folder.
        size: the side at which drawings are rendered, in pixels.
        max_pixels: of an image that is read; those in IDX files and records have bounds of their own.

    Raises:
        DataError: no such folder, no images, a folder of two domains, or one with several sets.
    """
    root = Path(data)
    if data in BUILTIN_DRAWINGS and not root.is_dir():
        return _digits() if data == "digits" else _unlabelled(openmoji(size), "trainB", "testB", max_pixels)
    if not root.is_dir():
        raise DataError(f"{root} is a file; give a folder" if root.exists() else f"{root}: no such data folder")
    idx, records = any(_idx_file(root, name) for name in IDX_FILES["train"]), find_records(root)
    in_train = list_images(root / "train")
    kinds = {"IDX files": idx, "records": records, "images in train/": in_train}
    there = [kind for kind, found in kinds.items() if found]
    if len(there) > 1:
        raise DataError(f"{root} holds several sets, {' and '.join(there)}: give each a folder of its own")
    if idx:
        return _idx(root)
    if records is not None:
        return _records(root, records)
    if (root / "trainA").is_dir() and (root / "trainB").is_dir():
        raise DataError(f"{root} holds two domains, and this recipe learns one: give {root / 'trainA'} or trainB")
    if not (root / "train").is_dir():
        return _unlabelled(root, ".", None, max_pixels)
    folders = sorted(path for path in (root / "train").iterdir() if path.is_dir() and list_images(path))
    in_folders = sum(len(list_images(folder)) for folder in folders)
    if len(folders) < 2 or in_folders < len(in_train):
        return _unlabelled(root, "train", "test", max_pixels)
    names = tuple(folder.name for folder in folders)
    denied = list[str]()
    train, test = (_labelled(root / part, names, max_pixels, denied) for part in ("train", "test"))
    return Collection(root, train, test, names, denied)


def _unlabelled(root: Path, train: str, test: str | None, max_pixels: int) -> Collection:
    denied = list[str]()
    parts = [[] if part is None else list_images(root / part, denied) for part in (train, test)]
    if not parts[0]:
        raise DataError(f"{root / train}: no images ({NAMES}) in it")
    found = [Part([ImageFile(path, max_pixels=max_pixels) for path in files], []) for files in parts]
    return Collection(root, found[0], found[1], (), denied)


def _labelled(folder: Path, names: tuple[str, ...], max_pixels: int, denied: list[str]) -> Part:
    files = [(path, number) for number, name in enumerate(names) for path in list_images(folder / name, denied)]
    return Part([ImageFile(path, max_pixels=max_pixels) for path, _ in files], [number for _, number in files])


def _digits() -> Collection:
    """scikit-learn's 1,797 digits of 8x8 pixels; a hash of the number decides the split."""
    images, labels = digits()
    parts: dict[str, tuple[list[ArrayImage], list[int]]] = {"train": ([], []), "test": ([], [])}
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        names, numbers = parts[split_of(f"digit-{number}")]
        names.append(ArrayImage(Path(f"digits/{number:04}"), pixels))
        numbers.append(int(label))
    return Collection(Path("digits"), Part(*parts["train"]), Part(*parts["test"]), tuple("0123456789"))


def _idx(root: Path) -> Collection:
    parts = []
    for split, (image_file, label_file) in IDX_FILES.items():
        files = [_idx_file(root, name) for name in (image_file, label_file)]
        if files[0] is None or files[1] is None:
            if split == "test":
                parts.append(Part([], []))
                continue
            raise DataError(f"{root}: IDX files come in pairs; {image_file} or {label_file} is missing")
        pixels, numbers = read_idx(files[0]), read_idx(files[1])
        if pixels.ndim != 3 or numbers.ndim != 1 or len(pixels) != len(numbers):
            raise DataError(f"{files[0]} holds {pixels.shape} and {files[1]} {numbers.shape}: not images and labels")
        names = [Path(f"{files[0]}#{number:06}") for number in range(len(pixels))]
        images = [ArrayImage(name, grey) for name, grey in zip(names, pixels, strict=True)]
        parts.append(Part(images, numbers.tolist()))
    train, test = parts
    if not train.images:
        raise DataError(f"{root}: no images in its IDX files")
    labels = tuple(map(str, range(max(train.labels) + 1)))
    if max(test.labels, default=0) >= len(labels):
        raise DataError(
            f"{root}: test images have the label {max(test.labels)}, and those of train end at {labels[-1]}"
        )
    return Collection(root, train, test, labels)


def _records(root: Path, files: RecordFiles) -> Collection:
    names = read_names(root / files.names)
    train, test = (_records_of(root, split, files, len(names)) for split in (files.train, files.test))
    return Collection(root, train, test, names)


def _records_of(root: Path, split: Sequence[str], files: RecordFiles, count: int) -> Part:
    images, labels = [], []
    for path in (root / name for name in split):
        pixels, numbers = read_records(path, files, count)
        images += [ArrayImage(Path(f"{path}#{i:06}"), image) for i, image in enumerate(pixels)]
        labels += numbers
    return Part(images, labels)


def _idx_file(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / f"{name}.gz") if path.exists()), None)


def _is_grey(image: ImageFile | ArrayImage) -> bool:
    try:
        head = image.head()
        return head.mode in GREY_MODES or head.held.channels == 1
    except DataError:
        return True  # it will be named, with its reason, when it is read
