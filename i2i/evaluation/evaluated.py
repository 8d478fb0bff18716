"""What a metric is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from i2i.evaluation.features.kept import kept_features
from i2i.evaluation.images import ImageSet, RealImages, Values

if TYPE_CHECKING:
    from i2i.evaluation.features.base import FeatureNetwork

Need = Literal["sources", "truth", "training", "training pairs", "labels", "network", "frames"]


@dataclass(frozen=True)
class Evaluated:
    """The outputs of one direction of a model, or its samples, and what they are held against.

    Attributes:
        outputs: what the model made; with labels, those that were asked for.
        target: held-out real images of the target domain.
        sources: the input of each output; None for samples.
        truth: the true partner of each output, where pairs are known.
        training: the target domain's training images.
        training_sources: their partners, item by item, where pairs are known.
        network: whose features images are compared by.
        seed: decides what a metric draws.
        frames: whether the inputs are the frames of one clip, in their order.
        masks: how much each pixel of true partners counts, (H, W, 1), black to white; None where there are no masks.
    """

    outputs: ImageSet
    target: ImageSet
    sources: ImageSet | None = None
    truth: ImageSet | None = None
    training: RealImages | None = None
    training_sources: RealImages | None = None
    network: FeatureNetwork | None = None
    seed: int = 0
    frames: bool = False
    masks: ImageSet | None = None

    def with_outputs(self, outputs: ImageSet) -> Evaluated:
        """The same with other images in the place of the outputs."""
        return replace(self, outputs=outputs)

    def has(self, need: Need) -> bool:
        """Whether this is known."""
        match need:
            case "training pairs":
                return self.training is not None and self.training_sources is not None
            case "labels":
                return bool(self.outputs.labels and self.target.labels)
            case "frames":
                return self.frames
        return getattr(self, need) is not None

    def features(self, images: ImageSet) -> Values:
        """The features (N, D) of a set."""
        if self.network is None:
            raise ValueError("this metric compares features, and no network was given")
        if images.whole is not None:
            whole, numbers = images.whole
            return self.features(whole)[numbers]
        network = self.network
        return images.once(
            network.label, lambda own: kept_features(network, own) if own.real else network.features(own)
        )


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        value: the number.
        n: of how many outputs.
        spread: one standard error of the value; None where there is no honest one.
        per_image: (n,), what each output contributes; their mean is the value.
        per_target: (m,), the same for the real images, of a figure that depends on which those are.
        details: other numbers that belong to it.
    """

    value: float
    n: int
    spread: float | None = None
    per_image: Values | None = None
    per_target: Values | None = None
    details: Mapping[str, float] = field(default_factory=dict)


def mean_of(per_image: Values, **details: float) -> Figure:
    """The figure that is the mean over outputs of (n,)."""
    return Figure(float(per_image.mean()), len(per_image), standard_error(per_image), per_image, details=details)


def standard_error(values: Values) -> float | None:
    """That of the mean of (n,); None for fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
