"""Chooses the precision of a translation: fp32, or a faster one that real images show to be close enough.

What the device can do and the images decide, and never a clock, so that the same command gives the same files. A
translation that goes on keeps what its report says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from i2i.config.schema import Precision
from i2i.data.images import Pixels
from i2i.device import resolve_precision
from i2i.inference.translator import Translator

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
    """A precision, and the distance that it was chosen by."""

    precision: Precision
    distance: Distance | None = None

    def __str__(self) -> str:
        return f"precision {self.precision}" + (f": {self.distance}" if self.distance else "")


def choose(
    translator: Translator, direction: str, wanted: Precision, images: Iterable[Pixels], count: int, seed: int | None
) -> Choice:
    """The precision of a translation.

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
        return Choice("fp32")
    distance = measure(translator, direction, fast, islice(images, PROBED), seed)
    return Choice(fast if wanted != "auto" or distance.is_small else "fp32", distance)


def measure(
    translator: Translator, direction: str, precision: Precision, images: Iterable[Pixels], seed: int | None
) -> Distance:
    """The distance of ``precision`` from fp32 in the middle of some images."""
    exact, other = (translator.faster(direction, each) for each in ("fp32", precision))
    total, values, largest, count = 0, 0, 0, 0
    for image in images:
        one, two = (each.translate_pixels([_middle(image)], direction, seed=seed)[0] for each in (exact, other))
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
        return Choice(report["precision"], None if distance is None else Distance(**distance))
    except (KeyError, TypeError):
        return None


def _middle(image: Pixels) -> Pixels:
    top, left = (max(0, (side - SIDE) // 2) for side in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]
