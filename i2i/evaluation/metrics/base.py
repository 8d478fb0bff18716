"""What a metric is: a class that says what it needs, which way is better, and how it is measured.

Floor and ceiling of a figure are the same metric with other images in the place of the outputs: real ones, and the
inputs. No metric computes them itself.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from i2i.config.components import Component
from i2i.evaluation.evaluated import Evaluated, Figure, Need
from i2i.needs import installing, missing_packages

REASONS: dict[Need, str] = {
    "sources": "samples have no inputs",
    "truth": "no pairs are known: the held-out names of both domains do not match",
    "training": "no images are held out from training",
    "training pairs": "no pairs are known among the training images",
    "labels": "neither the model nor its images have labels",
    "network": "no feature network is at hand",
    "frames": "the images are not the frames of one clip",
}


class Metric(Component, family="metric"):
    """Measures outputs.

    Attributes:
        lower_is_better: whether smaller values are better.
        ranks: whether one of two values is better at all.
        needs: what has to be known.
        real: which real images stand in for outputs where real is held against real: the true partners, as many
            training images as there are outputs, or the held-out images themselves.
        masked: whether only what the masks of pairs show counts, where there are masks.
        packages: modules that it needs, of the extra ``eval``.
        by_default: whether it is measured where no metrics are named.
        of_sets: whether the figure is one of whole sets and not a mean over images: differences below its spread are
            then none.
        task: the value of ``--task`` that asks for it.
    """

    lower_is_better: ClassVar[bool] = False
    ranks: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ()
    real: ClassVar[Literal["truth", "training", "target"]] = "training"
    masked: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    by_default: ClassVar[bool] = True
    of_sets: ClassVar[bool] = False
    task: ClassVar[str | None] = None

    def title(self, images: Evaluated) -> str:
        """The figure's name: of features, with that of their network, so that no two networks share a column."""
        if "network" not in self.needs or images.network is None:
            return self.name
        return f"{self.name}_{images.network.label}"

    def lacking(self, images: Evaluated) -> str | None:
        """Why this cannot be measured of ``images``; None where it can."""
        for need in self.needs:
            if not images.has(need):
                return REASONS[need]
        missing = missing_packages(*self.packages)
        return f"it needs {' and '.join(missing)}: {installing('eval')}" if missing else None

    def caution(self, images: Evaluated) -> str | None:
        """What has to be said beside the figure, which is then measured only where it was named; None for nothing."""
        return None

    @abstractmethod
    def measure(self, images: Evaluated) -> Figure:
        """The figure of ``images``, of which nothing is lacking."""
