"""``i2i data get``: downloads a classic public data set, unpacks it safely, and checks it.

Nothing appears under the target's name before all of it is there: the archive comes into ``<target>.partial``, which a
later try goes on with, and is unpacked into a hidden folder beside the target that is renamed at the end. Sets of
several files, such as MNIST's, come in the same way, each into a ``.partial`` of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from i2i.data.check import CheckReport, check_data
from i2i.data.collection import find_collection
from i2i.data.layout import find_layout
from i2i.errors import DataError
from i2i.fetch.catalogue import Description, describe
from i2i.fetch.download import Download
from i2i.fetch.unpack import MAX_BYTES, MAX_FILES, ArchiveError, unpack
from i2i.storage.files import require_free

SPLITS = frozenset(f"{split}{domain}" for split in ("train", "val", "test") for domain in ("", "A", "B"))


@dataclass(frozen=True)
class Fetched:
    """A set that is now in ``root``.

    Attributes:
        root: the folder.
        description: what it is.
        renamed: what the archive calls otherwise than i2i does.
        unlike: files whose checksum is not the documented one, which only other addresses may have.
        report: what the check found.
    """

    root: Path
    description: Description
    renamed: list[str]
    unlike: list[str]
    report: CheckReport

    def lines(self) -> list[str]:
        """Where it is, on what terms, what the archive should hold, and what the check found."""
        described = self.description
        facts = {
            "licence": described.licence,
            "note": described.note,
            "A and B": f"{described.a}, {described.b}" if described.a else "",
            "documented": ", ".join(f"{count:,} in {folder}" for folder, count in described.counts.items()),
            "renamed": ", ".join(self.renamed),
            "checksum": self._checksum(),
        }
        lines = [f"{described.name} is in {self.root}"]
        lines += [f"{label:<10} {text}" for label, text in facts.items() if text]
        return lines + self.report.lines

    def _checksum(self) -> str:
        if self.unlike:
            return f"not the documented SHA-256, so another packing or other images: {', '.join(self.unlike)}"
        known = self.description.sha256 is not None or self.description.files
        return "the documented SHA-256" if known else ""


@dataclass(frozen=True)
class Source:
    """A file that a set is made of: an archive, or one of several files that are kept by their names."""

    address: str
    name: str | None
    sha256: str | None

    @property
    def shown(self) -> str:
        """What to call it in a message."""
        return self.name or "the archive"


@dataclass(frozen=True)
class Limits:
    """What an archive may become; beyond that it is taken for a bomb."""

    bytes: int = MAX_BYTES
    files: int = MAX_FILES


def get_dataset(name: str, to: Path | None = None, url: str | None = None, *, limits: Limits | None = None) -> Fetched:
    """Fetches a public set.

    Args:
        name: a set of the catalogue.
        to: the folder that it becomes; by default ``name`` in the current one.
        url: another address of the archive (http or https), or a local archive (a path, or a file address); of the
            folder that holds them, where the set is several files. Its checksum is compared, and may differ.
        limits: how large the archive may be, packed and unpacked.

    Raises:
        DataError: the name is unknown, the folder exists, or the archive cannot be fetched, unpacked or used, or it is
            not the documented one. Nothing is left then but, where a later try can go on with it, the download.
    """
    description, limits = describe(name), limits or Limits()
    target = Path(name) if to is None else to
    address = url or description.archive
    if address is None:
        raise DataError(f"{name} has no permanent address: {description.note}")
    require_free(target, folders=True, way_out=f"i2i data check {target} looks at it, --to names another folder")
    sources = _sources(description, address)
    downloads: list[Download] = []
    files = [_bring(source, target, name, limits, downloads) for source in sources]
    try:
        unlike = _compare(sources, files, required=url is None)
        renamed = _install(files, target, address, description, limits)
    except ArchiveError:
        _remove(downloads)
        raise
    _remove(downloads)
    report = check_data(str(target), 64, unpaired=description.task == "unpaired")
    return Fetched(target, description, renamed, unlike, report)


def _sources(description: Description, address: str) -> list[Source]:
    if not description.files:
        return [Source(address, None, description.sha256)]
    folder = address.rstrip("/")
    return [Source(f"{folder}/{name}", name, sha256) for name, sha256 in description.files.items()]


def _bring(source: Source, target: Path, label: str, limits: Limits, downloads: list[Download]) -> Path:
    """The file of ``source`` on this machine; one that has to be downloaded is added to ``downloads``."""
    archive = _local_archive(source.address)
    if archive is not None:
        return archive
    whole = Path(os.path.abspath(target))
    suffix = ".partial" if source.name is None else f".{source.name}.partial"
    download = Download(source.address, whole.with_name(whole.name + suffix), label=label, max_bytes=limits.bytes)
    download.fetch()
    downloads.append(download)
    return download.path


def _remove(downloads: Sequence[Download]) -> None:
    for download in downloads:
        download.remove()


def _compare(sources: Sequence[Source], files: Sequence[Path], *, required: bool) -> list[str]:
    """The files whose checksum is not the documented one.

    Raises:
        ArchiveError: there is one, and ``required``: it is from the documented address.
    """
    unlike = []
    for source, path in zip(sources, files, strict=True):
        if source.sha256 is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != source.sha256 and required:
            raise ArchiveError(
                f"{source.address}: its SHA-256 is {found} and not the documented {source.sha256}: damaged on the way, "
                "or no longer the same file; try again, or give another address with --url"
            )
        if found != source.sha256:
            unlike.append(source.shown)
    return unlike


def _local_archive(source: str) -> Path | None:
    """The file that ``source`` names, or None where it is an address on the web."""
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise DataError(f"{source}: no valid address ({error})") from None
    if parts.scheme in ("http", "https"):
        return None
    if len(parts.scheme) > 1 and parts.scheme != "file":
        raise DataError(f"{source}: only http and https addresses and local archives can be fetched")
    path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(source)
    if not path.is_file():
        raise DataError(f"{source}: no such archive; an address begins with http:// or https://")
    return path


def _install(files: Sequence[Path], target: Path, source: str, description: Description, limits: Limits) -> list[str]:
    """Unpacks the archive, brings its folders to our names, and moves them to ``target``; single files are copied."""
    try:
        whole = Path(os.path.abspath(target))
        whole.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=whole.parent, prefix=f".{whole.name}-") as scratch:
            root = Path(scratch, "all")
            if description.files:
                root.mkdir()
                for name, file in zip(description.files, files, strict=True):
                    shutil.copyfile(file, root / name)
            else:
                unpack(files[0], root, max_bytes=limits.bytes, max_files=limits.files)
                root = _without_top_folder(root)
            renamed = _val_to_test(root)
            _require_layout(root, description)
            if whole.is_dir():
                whole.rmdir()
            root.rename(whole)
    except ArchiveError as error:
        raise ArchiveError(f"{source}: {error}") from None
    except OSError as error:
        raise DataError(
            f"cannot write {target}: {error.strerror or error}; {', '.join(map(str, files))} keeps the archive for "
            "another try"
        ) from None
    return renamed


def _without_top_folder(folder: Path) -> Path:
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in SPLITS:
        return inside[0]
    return folder


def _val_to_test(root: Path) -> list[str]:
    """Renames ``val`` to ``test`` where there is no ``test``; i2i has no third split."""
    renamed = []
    for domain in ("", "A", "B"):
        held_out, ours = root / f"val{domain}", root / f"test{domain}"
        if held_out.is_dir() and not ours.exists():
            held_out.rename(ours)
            renamed.append(f"{held_out.name} to {ours.name}")
    return renamed


def _require_layout(root: Path, description: Description) -> None:
    try:
        if description.task != "labelled":
            find_layout(root, paired=False)
        elif not find_collection(str(root), size=64).labels:
            raise DataError(f"{root} has no labels")
    except DataError as error:
        raise ArchiveError(f"no data set: {str(error).replace(str(root), 'the archive')}") from None
