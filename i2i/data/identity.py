"""Identifies the images of a run, and detects changes to them: names, sizes, and digests of contents.

Names are relative to the folder of the data, so that it may move. Names and sizes are known when a run starts, at the
cost of one stat for each file. The digest of a file (BLAKE2b, 8 bytes) is taken when it is first read, and compared
whenever it is read again: by any loader worker, and after a resume. It is that of the bytes and not of the pixels,
which depend on the versions of decoders. Of several processes the first keeps the digests of what it has read itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from i2i.bounds import open_regular, size_of_regular
from i2i.data.shared import shared_zeros
from i2i.errors import DataError

GONE = -1
"""The size of a file that is not there, or was never readable: any contents may come in its place."""


class ChangedImage(DataError):
    """An image has other contents than those that the run has learnt from."""


class Identified(Protocol):
    """An image whose contents can be told from others."""

    @property
    def name(self) -> Path:
        """What tells it from the others, as a path below the data's root."""

    def size(self) -> int:
        """The size of its contents in bytes; raises DataError."""

    def digest(self) -> int:
        """``digest_of_bytes`` of its contents; raises DataError."""


def digest_of_bytes(*parts: bytes | memoryview) -> int:
    """BLAKE2b of the parts as a signed number of 8 bytes, which is never 0."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little", signed=True) or 1


def digest_of_file(path: Path) -> int:
    """``digest_of_bytes`` of a file's content.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return int.from_bytes(digest, "little", signed=True) or 1


def size_of_file(path: Path) -> int:
    """The size of a file in bytes.

    Raises:
        DataError: it is not there, not a regular file, or its folder cannot be entered.
    """
    try:
        return size_of_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


class Contents:
    """Size and digest of each image of a run, shared with loader workers.

    Args:
        sizes: of each image in bytes; GONE where it is not there.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._rows = shared_zeros(16 * len(sizes)).view(torch.int64).view(len(sizes), 2)
        self._rows[:, 0] = torch.tensor(sizes, dtype=torch.int64)

    def check(self, number: int, image: Identified) -> None:
        """Compares an image that has just been read, or takes its digest where it was never read before.

        Raises:
            ChangedImage: it has other contents than when it was first read.
        """
        digest, known = image.digest(), int(self._rows[number, 1])
        if known not in (0, digest):
            raise changed(image)
        if not known:
            self._rows[number] = torch.tensor([image.size(), digest])

    def state(self, unreadable: Sequence[int]) -> Tensor:
        """What a checkpoint keeps: (images, 2), int64, sizes and digests (0: never read).

        Args:
            unreadable: the numbers of images that cannot be read: those that never could be have no contents.
        """
        rows = self._rows.clone()
        numbers = torch.tensor(unreadable, dtype=torch.int64)
        numbers = numbers[rows[numbers, 1] == 0]
        rows[numbers, 0] = GONE
        return rows

    def differing(self, recorded: Tensor) -> list[int]:
        """The numbers of the images that are not what a ``state`` says."""
        sizes, digests = (self._rows != recorded).unbind(1)
        known = (self._rows != torch.tensor([GONE, 0])) & (recorded != torch.tensor([GONE, 0]))
        return torch.nonzero(sizes & known[:, 0] | digests & known[:, 1]).flatten().tolist()

    def load_state(self, recorded: Tensor) -> None:
        """Takes over what ``state`` gave, where it knows more."""
        known = recorded != torch.tensor([GONE, 0])
        self._rows.copy_(torch.where(known, recorded, self._rows))


def changed(image: Identified) -> ChangedImage:
    """The error for an image that has other contents."""
    return ChangedImage(
        f"{image.name}: its contents have changed since the run was started: restore it, or start a new run"
    )


@dataclass(frozen=True)
class ImageList:
    """The training images of a run in their order, as it keeps them.

    Attributes:
        names: of each domain, relative to its root.
        labels: the number of each image's label, where there are labels.
    """

    names: Mapping[str, Sequence[str]]
    labels: Sequence[int] = ()

    def digest(self) -> str:
        """A short hash of the names in order."""
        digest = hashlib.sha256()
        for names in self.names.values():
            for name in names:
                digest.update(os.fsencode(name) + b"|")
            digest.update(b"/")
        return digest.hexdigest()[:12]

    def to_json(self) -> bytes:
        """The list as a file has it."""
        return json.dumps({"names": self.names, "labels": self.labels}, indent=0).encode()

    @classmethod
    def from_json(cls, content: bytes) -> ImageList:
        """The inverse of ``to_json``.

        Raises:
            ValueError: something else.
        """
        tree: Any = json.loads(content)
        try:
            names = {str(domain): [str(name) for name in names] for domain, names in tree["names"].items()}
            return cls(names, [int(label) for label in tree["labels"]])
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a list of images ({error})") from None


def relative_names(root: Path, images: Sequence[Identified]) -> Iterator[str]:
    """The names of images below ``root``, with slashes."""
    prefix = os.path.join(root, "")
    for image in images:
        name = os.fspath(image.name)
        short = name.removeprefix(prefix) if name.startswith(prefix) else os.path.relpath(name, root)
        yield short.replace(os.sep, "/")
