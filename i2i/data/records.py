"""The binary records of CIFAR-10 and CIFAR-100 (Krizhevsky 2009): bytes of labels, then the bytes of a 32x32 image.

The pixels come in three planes, red, green and blue, each row by row. CIFAR-100 has two labels, of which the second and
finer one is used. The releases as Python pickles are not read: a pickle can run code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i.bounds import MAX_ARRAY_BYTES, read_regular
from i2i.data.images import Pixels
from i2i.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
MAX_NAMES_BYTES = 2**20
"""Bytes of the file with the names of labels."""


@dataclass(frozen=True)
class RecordFiles:
    """How a release is laid out: its files, the file with a label's name in each line, and labels in a record."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    labels: int


RELEASES = (
    RecordFiles(tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",), "batches.meta.txt", 1),
    RecordFiles(("train.bin",), ("test.bin",), "fine_label_names.txt", 2),
)


def find_records(root: Path) -> RecordFiles | None:
    """The release that a folder holds, by its training files; None for another folder."""
    return next((files for files in RELEASES if any((root / name).exists() for name in files.train)), None)


def read_names(path: Path) -> tuple[str, ...]:
    """The names of the labels.

    Raises:
        DataError: no such file, or no names in it.
    """
    try:
        lines = read_regular(path, MAX_NAMES_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the names of the labels cannot be read ({reason})") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names) or not names:
        raise DataError(f"{path} does not hold the names of the labels, one in a line")
    return names


def read_records(path: Path, files: RecordFiles, count: int) -> tuple[Pixels, list[int]]:
    """The images (N, 32, 32, 3) and labels of a file of whole records.

    Args:
        path: the file.
        files: its release.
        count: how many labels have names.

    Raises:
        DataError: the file is missing or cut, or a label has no name.
    """
    try:
        content = np.frombuffer(read_regular(path, MAX_ARRAY_BYTES), np.uint8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a set of records needs all its files") from None
    except MemoryError:
        raise DataError(f"{path}: not enough memory to read it") from None
    length = files.labels + PIXELS
    if not len(content) or len(content) % length:
        raise DataError(f"{path} has {len(content):,} bytes, not a multiple of a record's {length:,}: fetch it again")
    records = content.reshape(-1, length)
    labels = records[:, files.labels - 1]
    if labels.max() >= count:
        raise DataError(f"{path} has the label {labels.max()}, and only {count} have names: fetch it again")
    pixels = np.ascontiguousarray(records[:, files.labels :].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return pixels, labels.tolist()
