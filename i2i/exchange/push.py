"""Puts the model of a run on the Hugging Face hub: its weights, configuration and card, and nothing else of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from i2i.bounds import read_regular
from i2i.config import yaml_text
from i2i.config.schema import PLACES, Config, to_yaml
from i2i.display import warn
from i2i.errors import ConfigError, DataError
from i2i.needs import is_built_in, require_packages
from i2i.report.card import LARGEST, MARK
from i2i.storage.hub import PREFIX, HubName, asking, hub
from i2i.storage.runs import RunFolder, weight_file
from i2i.storage.weights import load_weights

FENCE = "---\n"


@dataclass(frozen=True)
class Parcel:
    """What goes to a repository of the hub.

    Attributes:
        name: of the repository.
        files: their content by name.
        public: whether everybody may see them.
    """

    name: HubName
    files: Mapping[str, bytes]
    public: bool

    def lines(self) -> Iterator[str]:
        """It for people."""
        yield f"{self.name}, {'public' if self.public else 'private'}:"
        for file, content in self.files.items():
            yield f"  {file:<20} {len(content):>12,} bytes, SHA-256 {sha256(content).hexdigest()}"


MESSAGE = "Model trained with i2i"
"""Of the commit."""


def push(run: str | Path, name: str, *, licence: str | None = None, public: bool = False) -> str:
    """Puts the model of a run on the Hugging Face hub.

    Its weights, settings without paths, and card, in one commit; nothing else of the run.

    Args:
        run: the folder.
        name: hf:owner/name.
        licence: of the weights, as the hub names it, where the card does not say it.
        public: whether everybody may see the repository.

    Returns:
        The name of what was pushed, with its commit, which ``load`` takes: hf:owner/name@commit.

    Raises:
        ConfigError: not a name of a repository, or that is public already and ``public`` is not said.
        DataError: not a run folder, or it has no card; or the hub cannot be reached or refuses.
        WeightsError: its weights cannot be read.
    """
    parcel = pack(RunFolder(Path(run)), name, licence=licence, public=public)
    return f"{parcel.name}@{send(parcel)}"


def pack(run: RunFolder, name: str, *, licence: str | None = None, public: bool = False) -> Parcel:
    """What of a run is pushed; arguments as ``push``, and its errors but those of the hub."""
    run.require()
    require_packages("a push to the hub", "huggingface_hub", extra="hub")
    parsed = HubName.parse(name)
    if str(parsed) != f"{PREFIX}{parsed.repository}":
        raise ConfigError(f"{name}: a push makes a new revision; leave out @{parsed.revision}")
    weights, config = weight_file(run.root), run.read_config()
    load_weights(weights)  # nobody else should find out that they are damaged
    try:
        card = read_regular(run.card, LARGEST)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{run.card}: {reason}: i2i report {run.root} writes the card of a run") from None
    readme = hub_card(card.decode(errors="replace"), parsed, weights.name, licence)
    files = {
        weights.name: weights.read_bytes(),
        run.config.name: to_yaml(without_paths(config)).encode(),
        "README.md": readme.encode(),
    }
    return Parcel(parsed, files, public)


def send(parcel: Parcel) -> str:
    """Sends a parcel, to a repository that is made where there is none, and returns the commit.

    Raises:
        DataError: the hub cannot be reached or refuses.
        ConfigError: the repository is public, and the parcel is not.
    """
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import RepositoryNotFoundError

    name = parcel.name
    with asking(name):
        api = hub()
        try:
            private = api.model_info(name.repository).private
        except RepositoryNotFoundError:
            private = None
        if private is None:
            api.create_repo(name.repository, private=not parcel.public, exist_ok=True)
    if private is False and not parcel.public:
        raise ConfigError(f"{name} is there and public: to push to it, add --public")
    with asking(name):
        added = [CommitOperationAdd(file, content) for file, content in parcel.files.items()]
        commit = api.create_commit(name.repository, added, commit_message=MESSAGE)
    return str(commit.oid)


def without_paths(config: Config) -> Config:
    """The configuration with names of folders and files in the place of their paths, which are nobody's business."""
    data = {key: _name(value) for key in PLACES if (value := getattr(config.data, key))}
    sections: dict[str, Any] = {"data": config.data.model_copy(update=data)}
    if config.training.start_from:
        sections["training"] = config.training.model_copy(update={"start_from": _name(config.training.start_from)})
    if config.evaluation.features:
        sections["evaluation"] = config.evaluation.model_copy(update={"features": _name(config.evaluation.features)})
    return config.model_copy(update=sections)


def _name(path: str) -> str:
    return path if is_built_in(path) else Path(path).name or path


def hub_card(card: str, name: HubName, weights: str, licence: str | None) -> str:
    """A model card as the hub shows it: with its metadata in front, and commands that take the model from there.

    Raises:
        ConfigError: the card's own metadata is no YAML of keys and values.
    """
    front, body = "", card
    if card.startswith(FENCE) and f"\n{FENCE}" in card[len(FENCE) :]:
        front, _, body = card[len(FENCE) :].partition(f"\n{FENCE}")
    try:
        own = yaml_text.parse(front) or {}
    except yaml_text.NotSettings as error:
        raise ConfigError(f"the metadata of MODEL_CARD.md: {error}") from None
    if not isinstance(own, dict):
        raise ConfigError("the metadata of MODEL_CARD.md has to be keys and values")
    given = {key: value for key, value in own.items() if value is not None}
    metadata = {"library_name": "i2i", "pipeline_tag": "image-to-image", "tags": ["gan", "i2i"], **given}
    if licence:
        metadata["license"] = licence
    if "license" not in metadata:
        warn("the card names no licence of the weights: add --license NAME, or fill it in in MODEL_CARD.md")
    body = MARK.sub(b"", body.encode()).decode().rstrip() + "\n"
    for before, after in ((f"--model {weights}", f"--model {name}"), (f'i2i.load("{weights}")', f'i2i.load("{name}")')):
        body = body.replace(before, after)
    return f"{FENCE}{yaml_text.dump(metadata)}{FENCE}{body}"
