"""LPIPS (Zhang et al. 2018, arXiv:1801.03924) by torchmetrics, on AlexNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from i2i.data.transforms import stack
from i2i.evaluation.evaluated import Evaluated, Figure, mean_of
from i2i.evaluation.images import as_rgb, smallest_side
from i2i.evaluation.metrics.base import Metric

WEIGHTS = "alexnet-owt-7be5be79.pth"
SMALLEST = 63
"""Below this side AlexNet's last maps would be empty."""


class Lpips(Metric, name="lpips"):
    """A learned distance to the true partner. Only where AlexNet's weights lie where torch keeps them."""

    lower_is_better = True
    needs = ("truth",)
    real = "truth"
    packages = ("torchmetrics",)

    def lacking(self, images: Evaluated) -> str | None:
        if reason := super().lacking(images):
            return reason
        path = Path(torch.hub.get_dir(), "checkpoints", WEIGHTS)
        if not path.is_file():
            return f"AlexNet's weights are not at hand, and nothing is fetched: put them into {path}"
        smallest = smallest_side(images.outputs)
        return f"it needs images from {SMALLEST} px up, and these have {smallest}" if smallest < SMALLEST else None

    def measure(self, images: Evaluated) -> Figure:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        network = LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="mean").eval()
        values = []
        for pair in zip(images.outputs, images.truth or (), strict=True):
            output, true = (torch.from_numpy(stack([as_rgb(p)])).float() / 127.5 - 1 for p in pair)
            with torch.inference_mode():
                values.append(float(network.net(output, true)))
        return mean_of(np.array(values))
