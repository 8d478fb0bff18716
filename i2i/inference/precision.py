"""Chooses how to translate: in fp32, or faster where real images show that to be close enough.

What the device can do and the images decide, or what `i2i bench` kept beside the run. What was measured by a clock is
kept, so that the same command gives the same files. A translation that goes on keeps what its report says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from i2i.config.schema import Precision
from i2i.data.depth import as_shown
from i2i.device import resolve_precision
from i2i.inference.translator import Layers, Translator
from i2i.kinds import AnyPixels

MEAN, LARGEST = 1.0, 16
"""How far the outputs may be from those of fp32, of 255: on average, and anywhere."""
PROBED, SIDE = 4, 128
"""How many images are compared, and how many pixels from their middle, in each direction."""
FEW = 8
"""Of fewer images the comparison costs more time than it saves."""


@dataclass(frozen=True)
class Distance:
    """How far outputs in ``precision`` are from those in fp32, of 255, on ``images`` images."""

    precision: Precision
    mean: float
    largest: int
    images: int

    @property
    def is_small(self) -> bool:
        """Whether the one may take the place of the other."""
        return self.images > 0 and self.mean <= MEAN and self.largest <= LARGEST

    def __str__(self) -> str:
        return (
            f"{self.precision} differs from fp32 by {self.mean:.2f} of 255 on average and {self.largest} at most, "
            f"on {self.images} of the images; allowed: {MEAN:g} and {LARGEST}"
        )


@dataclass(frozen=True)
class Choice:
    """A precision and the distance that it was chosen by; and layers, where they are not the device's usual ones."""

    precision: Precision
    distance: Distance | None = None
    layers: Layers | None = None

    def __str__(self) -> str:
        return f"precision {self.precision}" + (f": {self.distance}" if self.distance else "")


def choose(
    translator: Translator, direction: str, wanted: Precision, images: Iterable[AnyPixels], count: int, seed: int | None
) -> tuple[Choice, Translator]:
    """The precision of a translation, and what translates in it.

    Args:
        translator: the model, in fp32.
        direction: one of its directions.
        wanted: "auto" takes the fast precision of the device if it is close to fp32.
        images: the first images that can be read, lazily.
        count: how many images there are in all.
        seed: as in ``Translator.translate``.

    Raises:
        ConfigError: ``wanted`` is not possible on the device.
    """
    fast = resolve_precision(wanted, translator.device)
    if fast == "fp32" or (wanted == "auto" and count < FEW):
        return Choice("fp32"), translator.faster(direction, "fp32")
    exact, other = (translator.faster(direction, each) for each in ("fp32", fast))
    compared = PROBED if wanted == "auto" else 1  # where nothing depends on them, the user waits for fewer
    distance = measure(exact, other, direction, islice(images, compared), seed)
    taken = other if wanted != "auto" or distance.is_small else exact
    return Choice(taken.precision, distance), taken


def measure(
    exact: Translator, other: Translator, direction: str, images: Iterable[AnyPixels], seed: int | None
) -> Distance:
    """How far ``other`` is from ``exact`` in the middle of some images."""
    depth = exact.depths(direction)[1]

    def both(image: AnyPixels) -> tuple[AnyPixels, AnyPixels]:
        one, two = (each.translate_pixels([middle(image, SIDE)], direction, seed=seed)[0] for each in (exact, other))
        return as_shown(one, depth), as_shown(two, depth)

    return distance_of(other.precision, map(both, images))


def distance_of(precision: Precision, outputs: Iterable[tuple[AnyPixels, AnyPixels]]) -> Distance:
    """The distance of outputs in ``precision``, each given after that in fp32."""
    total, values, largest, count = 0, 0, 0, 0
    for one, two in outputs:
        apart = np.abs(one.astype(np.int16) - two)
        total, values, largest = total + int(apart.sum()), values + apart.size, max(largest, int(apart.max()))
        count += 1
    return Distance(precision, round(total / max(values, 1), 4), largest, count)


def kept(report: Mapping[str, Any], decisive: Mapping[str, Any]) -> Choice | None:
    """The choice in the ``report`` of an earlier translation, if that was by the same model and settings."""
    if not all(key in report and report[key] == value for key, value in decisive.items()):
        return None
    try:
        distance = report["distance"]
        return Choice(report["precision"], None if distance is None else Distance(**distance), report.get("layers"))
    except (KeyError, TypeError):
        return None


def middle(image: AnyPixels, size: int) -> AnyPixels:
    """The square of ``size`` pixels in the middle of an image (H, W, C), or what there is of it."""
    top, left = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]
