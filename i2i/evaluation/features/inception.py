"""Inception-v3 (Szegedy et al. 2016) as FID's authors used it, by torch-fidelity, whose resizing is TensorFlow's.

Its weights are fetched on first use, because its name was given, into the folder where torch keeps such files; or they
are a file whose path is given in the place of the name. Other weights than the documented ones are named by their
digest, and their figures are figures of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from i2i.data.images import Pixels
from i2i.data.transforms import stack
from i2i.display import say
from i2i.errors import DataError
from i2i.evaluation.features.base import FeatureNetwork, state_dict_of
from i2i.evaluation.images import as_rgb
from i2i.storage.files import replacing

SHA256 = "6726825d"
"""What the digest of the documented weights begins with; it stands in the name of their file."""


class Inception(FeatureNetwork, name="inception"):
    """2,048 features."""

    packages = ("torch_fidelity",)

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__(device)
        path = weights or _documented()
        # Read by ourselves first: the library would run what a damaged or foreign file tells it to.
        _, self.sha256 = state_dict_of(path, "" if weights else SHA256)
        self.label = self.name if self.sha256.startswith(SHA256) else f"{self.name}-{self.sha256[:8]}"
        try:
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} does not hold Inception's weights ({reason})") from None
        self._network = network.to(device)

    def compute(self, images: Sequence[Pixels]) -> Tensor:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, pixels in enumerate(images):
            by_shape.setdefault(pixels.shape[:2], []).append(number)
        found: dict[int, Tensor] = {}
        for numbers in by_shape.values():
            batch = torch.from_numpy(stack([as_rgb(images[number]) for number in numbers])).to(self.device)
            found |= zip(numbers, self._network(batch)[0], strict=True)
        return torch.stack([found[number] for number in range(len(images))])


def _documented() -> Path:
    """The file of the documented weights, fetched where it is not there."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = Path(torch.hub.get_dir(), "checkpoints", URL_INCEPTION_V3.rpartition("/")[2])
    if path.is_file():
        return path
    say(f"fetching Inception's weights (91 MiB) into {path}")
    try:
        with replacing(path) as temporary:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(temporary), hash_prefix=SHA256, progress=False)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"Inception's weights cannot be fetched ({reason}): name their file with --features FILE, or use "
            "--features lite0"
        ) from None
    return path
