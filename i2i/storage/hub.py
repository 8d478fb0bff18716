"""Models on the Hugging Face hub: names that begin with ``hf:``, and those alone, reach the network.

Of a repository one file is fetched, its weights in safetensors; what else it holds, code and pickles too, is never
read. The commit and the SHA-256 of the file are kept in the cache folder: a kept commit needs no network, a branch that
cannot be asked for is what it was the last time, and a commit whose file has another content than before is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.bounds import open_regular, read_regular
from i2i.display import say, warn
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.needs import require_packages
from i2i.storage.cache import cache_folder
from i2i.storage.files import write_atomically
from i2i.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

PREFIX = "hf:"
NAME = re.compile(r"hf:(?P<repository>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>\w[\w./-]{0,199}))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"[0-9a-f]{64}")
NEWEST = "main"
WEIGHTS = ("best.safetensors", "model.safetensors")
"""The files that may be fetched; the first that is there is taken, as of a run."""
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MAX_BYTES = 2**34
TIMEOUT = 15.0
LARGEST_RECORD = 2**24


@dataclass(frozen=True)
class HubName:
    """A repository of the hub, and the commit, branch or tag of it that is meant."""

    repository: str
    revision: str = NEWEST

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Raises ConfigError for another text than hf:owner/name or hf:owner/name@revision."""
        match = NAME.fullmatch(text)
        if match is None or ".." in text:
            raise ConfigError(f"{text[:120]}: names of the hub are hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
        return cls(match["repository"], match["revision"] or NEWEST)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision != NEWEST else "")


@dataclass
class Kept:
    """What was fetched of a repository before: the file of each commit with its SHA-256, and where revisions led."""

    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Kept:
        """What the record at ``path`` says, or nothing.

        Raises:
            WeightsError: it is damaged, and no digest could be compared.
        """
        try:
            tree = json.loads(read_regular(path, LARGEST_RECORD))
            kept = cls({commit: (name, digest) for commit, (name, digest) in tree["files"].items()}, tree["revisions"])
            sound = all(name in WEIGHTS and DIGEST.fullmatch(digest) for name, digest in kept.files.values())
            if not sound or not all(map(COMMIT.fullmatch, [*kept.files, *kept.revisions.values()])):
                raise ValueError
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise WeightsError(f"{path}: the record of what was fetched is damaged: delete it to fetch anew") from None
        return kept


def is_hub_name(model: object) -> bool:
    """Whether ``model`` names a repository of the hub, and no file."""
    return str(model).startswith(PREFIX)


def hub_weights(text: str) -> Path:
    """The weight file of a name of the hub, fetched where it is not kept; one line says commit and digest.

    Raises:
        ConfigError: not a name of the hub.
        DataError: huggingface_hub is missing, or the hub cannot be reached or refuses.
        WeightsError: the repository has no weights of i2i, or others than before.
    """
    return _hub_weights(HubName.parse(text), cache_folder() / "hub")


@cache
def _hub_weights(name: HubName, folder: Path) -> Path:
    require_packages(str(name), "huggingface_hub", extra="hub")
    place = folder / name.repository.replace("/", "--")
    record = place.with_name(f"{place.name}.json")
    kept = Kept.read(record)
    commit = name.revision if name.revision in kept.files else _commit_of(name, kept)
    if commit in kept.files and (place / commit / kept.files[commit][0]).is_file():
        file, expected = kept.files[commit]
        path = place / commit / file
    else:
        path, expected = _fetch(name, commit, place / commit, kept)
    digest = _digest(path)
    if expected and digest != expected:
        raise WeightsError(
            f"{name}: {path.name} of commit {commit} has the SHA-256 {digest}, and {expected} is expected: it is "
            f"refused; delete {path.parent} to fetch it again"
        )
    kept.files[commit] = path.name, digest
    if not COMMIT.fullmatch(name.revision):
        kept.revisions[name.revision] = commit
    write_atomically(record, json.dumps(asdict(kept), indent=1).encode())
    say(f"{name}: {path.name} of commit {commit}, SHA-256 {digest}")
    return path


def _commit_of(name: HubName, kept: Kept) -> str:
    """The commit that a revision leads to now, or, where the hub cannot be reached, led to the last time."""
    try:
        commit = _info(name).sha
    except Unreachable as error:
        if name.revision not in kept.revisions:
            raise
        say(f"{error}; taking what {name} was the last time")
        return kept.revisions[name.revision]
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise DataError(f"{name}: the hub names no commit of it")
    before = kept.revisions.get(name.revision, commit)
    if before != commit:
        say(f"{name} has changed: it was commit {before}, which {PREFIX}{name.repository}@{before} still is")
    return commit


def _fetch(name: HubName, commit: str, folder: Path, kept: Kept) -> tuple[Path, str]:
    """The weights of a commit, and the SHA-256 that they should have, empty where neither hub nor record says it."""
    found = {sibling.rfilename: sibling for sibling in _info(HubName(name.repository, commit)).siblings or ()}
    file = next((file for file in WEIGHTS if file in found), None)
    if file is None:
        pickled = next((other for other in sorted(found) if other.lower().endswith(PICKLES)), None)
        others = f"; {pickled} is pickled and could run code, and is not read" if pickled else ""
        raise WeightsError(f"{name} holds no {' or '.join(reversed(WEIGHTS))}{others}")
    size, lfs = found[file].size or 0, found[file].lfs
    if size > MAX_BYTES:
        raise WeightsError(f"{name}: {file} has {size:,} bytes, more than the {MAX_BYTES:,} that are fetched")
    say(f"fetching {file} of {name}, {size / 1e6:,.1f} MB")
    with asking(name):
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        hub().hf_hub_download(name.repository, file, revision=commit, local_dir=folder)
    expected = kept.files.get(commit, (file, lfs.sha256 if lfs else ""))[1]
    return folder / file, expected


def _info(name: HubName) -> ModelInfo:
    with asking(name):
        return hub().model_info(name.repository, revision=name.revision, files_metadata=True, timeout=TIMEOUT)


def hub() -> HfApi:
    """The hub, or the one at ``HF_ENDPOINT``."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="i2i", library_version=__version__)


class Unreachable(DataError):
    """The hub did not answer."""


@contextmanager
def asking(name: HubName) -> Iterator[None]:
    """Turns what goes wrong with the hub into one line."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("ignore")  # of the client about its own ways
            warnings.simplefilter("always", UserWarning)
            yield
        for warning in met:
            warn(f"{name}: {_one_line(warning.message)}")
    except RevisionNotFoundError:
        raise DataError(f"{name}: there is no such revision") from None
    except RepositoryNotFoundError:
        raise DataError(f"{name}: no such repository, or it is private: log in with hf auth login") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind: type[DataError] = Unreachable if status >= 500 else DataError
        raise kind(f"{name}: the hub answers {status}: {_one_line(error)}") from None
    except Exception as error:  # its client raises those of several libraries
        raise Unreachable(f"{name}: the hub cannot be reached ({_one_line(error.__cause__ or error)})") from None


def _one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
