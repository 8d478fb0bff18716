"""The public data sets of ``i2i data get``: one short description each, ``datasets/<name>.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from i2i.config import yaml_text
from i2i.errors import DataError, did_you_mean
from i2i.shipped import shipped


class Description(BaseModel):
    """What a public set is, where it lies and on what terms.

    ``counts`` are the images of each folder or split of the archive, empty where no source states them. ``megabytes``
    is about the size of the archive. ``archive`` None: no permanent address is known, and ``note`` says where to look.
    ``a`` and ``b`` are the domains of sets for translation; ``direction`` is that of the paper's training, for paired
    ones. ``sha256`` is the publicly documented checksum of the archive. Where the set is several files, ``files`` has
    the checksum of each by its name, and ``archive`` is the address of their folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    task: Literal["paired", "unpaired", "labelled"]
    layout: Literal["side by side", "two folders", "IDX", "records"]
    a: str = ""
    b: str = ""
    direction: Literal["AtoB", "BtoA"] | None = None
    counts: dict[str, int]
    megabytes: int | None
    archive: str | None
    sha256: str | None = None
    files: dict[str, str] = {}
    home: str
    licence: str
    note: str = ""

    def training_options(self) -> list[str]:
        """The options of ``i2i train`` that suit the set, without its folder."""
        if self.task == "labelled":
            return ["--arch", "cgan", *(["--image-size", "32"] if self.layout == "records" else [])]
        if self.task == "unpaired":
            return ["--arch", "cyclegan"]
        return ["--arch", "pix2pix", *(["--set", "method.direction=BtoA"] if self.direction == "BtoA" else [])]

    def line(self) -> str:
        """The set in one line: what it is, pairs or labels or neither, its size."""
        size = "no permanent address" if self.archive is None else f"about {self.megabytes:,} MB"
        return f"{self.name:<23} {self.about} ({self.task}, {size})"


def dataset_names() -> list[str]:
    """The names that ``i2i data get`` takes."""
    return list(shipped("datasets"))


def describe(name: str) -> Description:
    """The description of the set ``name``.

    Raises:
        DataError: there is no such set.
    """
    sets = shipped("datasets")
    if name not in sets:
        raise DataError(f"unknown data set {name!r}{did_you_mean(name, list(sets))}; known: {', '.join(sets)}")
    return Description(name=name, **yaml_text.parse(sets[name].read_text(encoding="utf-8")))
