"""Features of real images, kept in the user's cache folder: they are the same at every evaluation of every model.

A file for each set of images. Its name is a digest of all that the features follow from: the pixels as the network is
given them, the network's weights, and the versions and the kind of device that compute. Whatever is wrong with a file,
the features are computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from i2i.errors import UserError
from i2i.evaluation.features.base import FeatureNetwork
from i2i.evaluation.images import ImageSet, Values
from i2i.needs import version
from i2i.storage.cache import cache_folder
from i2i.storage.files import remove_temporaries
from i2i.storage.weights import load_tree, save_tree

MOST_BYTES = 2**28
"""Of all files together; those that were used least recently go first."""


def kept_features(network: FeatureNetwork, images: ImageSet) -> Values:
    """The features (N, D) of a set of real images, from the cache where they are there."""
    folder = cache_folder() / "features"
    path = folder / f"{_digest(network, images)}.safetensors"
    known = _read(path, len(images))
    if known is not None:
        return known
    features = network.features(images)
    with suppress(UserError, OSError):  # a folder that cannot be written costs time at the next evaluation
        save_tree(path, {"features": torch.from_numpy(features.astype(np.float32))}, {}, kind="features")
        _forget_oldest(folder)
    return features


def _digest(network: FeatureNetwork, images: ImageSet) -> str:
    """Of everything that decides the features."""
    about = {
        "network": [network.name, network.sha256, network.device.type, torch.backends.cpu.get_cpu_capability()],
        "packages": {name: version(name) for name in ("torch", "pillow", *network.packages)},
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for pixels in images:
        digest.update(f"{pixels.shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _read(path: Path, count: int) -> Values | None:
    """The features in a file; None where it is not there, damaged, or holds something else."""
    try:
        features = load_tree(path, kind="features")[0]["features"].double().numpy()
        os.utime(path)
    except (UserError, OSError, KeyError, AttributeError):
        return None
    return features if features.ndim == 2 and len(features) == count else None


def _forget_oldest(folder: Path) -> None:
    """Removes the files that are beyond the limit, and what a killed process has left."""
    remove_temporaries({folder})
    files = sorted(((path.stat(), path) for path in folder.glob("*.safetensors")), key=lambda file: -file[0].st_mtime)
    total = 0
    for status, path in files:
        total += status.st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
