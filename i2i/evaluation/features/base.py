"""What a feature network is: a judge that maps images to vectors, and took no part in any training."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from i2i.config.components import Component
from i2i.config.explain import leaves
from i2i.config.schema import ModelConfig
from i2i.data.images import Pixels
from i2i.display import tracked
from i2i.errors import ConfigError, DataError
from i2i.evaluation.images import Values, in_chunks
from i2i.needs import missing_packages, require_packages

BATCH = 32
DEFAULT, BY_FILE = "lite0", "inception"


class FeatureNetwork(Component, family="feature network"):
    """Maps images to features, on ``device``, in float32.

    Attributes:
        packages: modules that it needs, of the extra ``eval``.
        label: the end of the names of figures that it gives.
        sha256: of the file that its weights came from. Features of real images are kept under it, so whatever computes
            others from the same weights needs another one.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    label: str
    sha256: str

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        """Loads the network; ``weights``: another file than its own.

        Raises:
            DataError: the weights cannot be had or read.
        """
        self.device = device

    @abstractmethod
    def compute(self, images: Sequence[Pixels]) -> Tensor:
        """The features (N, D) of a few images (H, W, C)."""

    @torch.inference_mode()
    def features(self, images: Sequence[Pixels]) -> Values:
        """The features (N, D), float64."""
        parts = tracked(f"features by {self.label}", -(-len(images) // BATCH))(in_chunks(images, BATCH))
        return np.concatenate([self.compute(part).double().cpu().numpy() for part in parts])


def default_network(device: torch.device) -> FeatureNetwork | None:
    """lite0, where its packages are installed."""
    default = FeatureNetwork.named(DEFAULT)
    return None if missing_packages(*default.packages) else default(device)


def find_network(name: str, device: torch.device) -> FeatureNetwork:
    """The network that is meant by a name or by a file of Inception's weights.

    Raises:
        ConfigError: no network of that name.
        DataError: its packages are missing, or its weights cannot be had or read.
    """
    by_file = name not in FeatureNetwork.found() and Path(name).is_file()
    network = FeatureNetwork.named(BY_FILE if by_file else name)
    require_packages(f"the feature network {network.name}", *network.packages, extra="eval")
    return network(device, Path(name)) if by_file else network(device)


def require_impartial(network: FeatureNetwork, config: ModelConfig) -> None:
    """Refuses a judge that took part in training: it would be pleased by what was made to please it.

    Raises:
        ConfigError: a setting of the method or of its networks has the name of ``network``.
    """
    settings: dict[str, Any] = {"method": config.method, "networks": config.networks}
    for path, value in leaves(settings):
        if value == network.name:
            raise ConfigError(
                f"{config.arch} was trained with {network.name} ({path}), which cannot judge it: name another network "
                "with --features"
            )


def state_dict_of(path: Path, sha256: str = "") -> tuple[dict[str, Tensor], str]:
    """The tensors of a file of weights, and the SHA-256 of it; nothing in such a file is run.

    Args:
        path: what ``torch.save`` wrote.
        sha256: what its digest has to begin with.

    Raises:
        DataError: no such file, or something else in it.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(sha256):
            raise DataError(f"{path} is damaged: its SHA-256 begins with {digest[:8]}, and {sha256} is documented")
        return torch.load(path, map_location="cpu", weights_only=True), digest
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is not a file of weights that can be read safely ({reason})") from None
