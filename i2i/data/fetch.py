"""``i2i data get``: downloads a classic public data set, unpacks it safely, and checks it.

Nothing appears under the target's name before all of it is there: the archive comes into ``<target>.partial``, which a
later try goes on with, and is unpacked into a hidden folder beside the target that is renamed at the end.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from i2i.data.catalogue import Description, describe
from i2i.data.check import CheckReport, check_data
from i2i.data.download import Download
from i2i.data.layout import find_layout
from i2i.data.unpack import MAX_BYTES, MAX_FILES, ArchiveError, unpack
from i2i.errors import DataError

SPLITS = frozenset(f"{split}{domain}" for split in ("train", "val", "test") for domain in ("", "A", "B"))


@dataclass(frozen=True)
class Fetched:
    """A set that is now in ``root``; ``renamed`` lists what the archive calls otherwise than i2i does."""

    root: Path
    description: Description
    renamed: list[str]
    report: CheckReport

    def lines(self) -> list[str]:
        """Where it is, on what terms, what the archive should hold, and what the check found."""
        described = self.description
        facts = {
            "licence": described.licence,
            "note": described.note,
            "A and B": f"{described.a}, {described.b}",
            "documented": ", ".join(f"{count:,} in {folder}" for folder, count in described.counts.items()),
            "renamed": ", ".join(self.renamed),
        }
        lines = [f"{described.name} is in {self.root}"]
        lines += [f"{label:<10} {text}" for label, text in facts.items() if text]
        return lines + self.report.lines


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
        url: another address of the archive (http or https), or a local archive (a path, or a file address).
        limits: how large the archive may be, packed and unpacked.

    Raises:
        DataError: the name is unknown, the folder exists, or the archive cannot be fetched, unpacked or used. Nothing
            is left then but, where a later try can go on with it, the download.
    """
    description, limits = describe(name), limits or Limits()
    target = Path(name) if to is None else to
    source = url or description.archive
    if source is None:
        raise DataError(f"{name} has no lasting address: {description.note}")
    _require_free(target)
    archive = _local_archive(source)
    if archive is not None:
        renamed = _install(archive, target, source, limits)
    else:
        renamed = _download_and_install(source, target, name, limits)
    report = check_data(str(target), 64, unpaired=description.task == "unpaired")
    return Fetched(target, description, renamed, report)


def _require_free(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise DataError(f"{target} is there already: i2i data check {target} looks at it, --to names another folder")


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


def _download_and_install(url: str, target: Path, name: str, limits: Limits) -> list[str]:
    whole = Path(os.path.abspath(target))
    download = Download(url, whole.with_name(f"{whole.name}.partial"), label=name, max_bytes=limits.bytes)
    download.fetch()
    try:
        renamed = _install(download.path, target, url, limits)
    except ArchiveError:
        download.remove()
        raise
    download.remove()
    return renamed


def _install(archive: Path, target: Path, source: str, limits: Limits) -> list[str]:
    """Unpacks the archive, brings its folders to our names, and moves them to ``target``."""
    try:
        whole = Path(os.path.abspath(target))
        whole.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=whole.parent, prefix=f".{whole.name}-") as scratch:
            unpack(archive, Path(scratch, "all"), max_bytes=limits.bytes, max_files=limits.files)
            root = _without_top_folder(Path(scratch, "all"))
            renamed = _val_to_test(root)
            _require_layout(root)
            if whole.is_dir():
                whole.rmdir()
            root.rename(whole)
    except ArchiveError as error:
        raise ArchiveError(f"{source}: {error}") from None
    except OSError as error:
        raise DataError(
            f"cannot write {target}: {error.strerror or error}; {archive} keeps the archive for another try"
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


def _require_layout(root: Path) -> None:
    try:
        find_layout(root, paired=False)
    except DataError as error:
        raise ArchiveError(f"no data set: {str(error).replace(str(root), 'the archive')}") from None
