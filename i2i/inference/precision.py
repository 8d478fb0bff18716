"""Chooses how to translate: in fp32, or faster where real images show that to be close enough.

What the device can do and the images decide, or what `i2i bench` kept beside the run. What was measured by a clock is
kept, so that the same command gives the same files. A translation that goes on keeps what its report says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

import numpy as np

from i2i.config.schema import Precision
from i2i.data.depth import as_shown
from i2i.data.on_disk import DiskImage
from i2i.device import DTYPES, resolve_precision
from i2i.inference.translator import Translator
from i2i.inference.ways import Layers
from i2i.kinds import AnyPixels

MEAN, LARGEST = 1.0, 16
"""How far the outputs may be from those of fp32, of 255: on average, and anywhere."""
PROBED, SIDE = 4, 128
"""How many images are compared at most, and how many pixels from their middle, in each direction."""
ENOUGH, CLEAR = 2, 0.5
"""So many images are enough where the distance is at most this part of what is allowed. One is enough where it is more
than allowed somewhere: other images cannot make up for it."""
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

    @property
    def is_settled(self) -> bool:
        """Whether no more images need to be compared."""
        near = self.images >= ENOUGH and self.mean <= CLEAR * MEAN and self.largest <= CLEAR * LARGEST
        return near or self.largest > LARGEST or self.images >= PROBED

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

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> Choice:
        """The choice in a file that holds it as ``asdict`` gives it, other keys beside; no layers are the usual ones.

        Raises:
            KeyError, TypeError, ValueError: the file holds something else.
        """
        precision, distance, layers = content["precision"], content["distance"], content.get("layers")
        if precision not in DTYPES or layers not in (None, *get_args(Layers)):
            raise ValueError(f"{precision} with {layers} layers")
        return cls(precision, None if distance is None else Distance(**distance), layers)

    def __str__(self) -> str:
        return f"precision {self.precision}" + (f": {self.distance}" if self.distance and self.distance.images else "")


def choose(
    translator: Translator,
    direction: str,
    wanted: Precision,
    images: Iterable[AnyPixels | DiskImage],
    count: int,
    seed: int | None,
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
    # Where nothing depends on it, the user waits for one image alone.
    shown = images if wanted == "auto" else islice(images, 1)
    distance = measure(exact, other, direction, shown, seed)
    taken = other if wanted != "auto" or distance.is_small else exact
    return Choice(taken.precision, distance), taken


def measure(
    exact: Translator, other: Translator, direction: str, images: Iterable[AnyPixels | DiskImage], seed: int | None
) -> Distance:
    """How far ``other`` is from ``exact`` in the middle of the first images, of as many as the verdict needs."""
    depth = exact.depths(direction)[1]

    def both(image: AnyPixels | DiskImage) -> tuple[AnyPixels, AnyPixels]:
        one, two = (each.translate_pixels([middle(image, SIDE)], direction, seed=seed)[0] for each in (exact, other))
        return as_shown(one, depth), as_shown(two, depth)

    distance = Distance(other.precision, 0.0, 0, 0)
    for distance in _distances(other.precision, map(both, images)):
        if distance.is_settled:
            break
    return distance


def distance_of(precision: Precision, outputs: Iterable[tuple[AnyPixels, AnyPixels]]) -> Distance:
    """The distance of outputs in ``precision``, each given after that in fp32."""
    return [Distance(precision, 0.0, 0, 0), *_distances(precision, outputs)][-1]


def _distances(precision: Precision, outputs: Iterable[tuple[AnyPixels, AnyPixels]]) -> Iterator[Distance]:
    """The distance after each of the outputs."""
    total, values, largest = 0, 0, 0
    for count, (one, two) in enumerate(outputs, 1):
        apart = np.abs(one.astype(np.int16) - two)
        total, values, largest = total + int(apart.sum()), values + apart.size, max(largest, int(apart.max()))
        yield Distance(precision, round(total / values, 4), largest, count)


def kept(report: Mapping[str, Any], decisive: Mapping[str, Any]) -> Choice | None:
    """The choice in the ``report`` of an earlier translation, if that was by the same model and settings."""
    if not all(key in report and report[key] == value for key, value in decisive.items()):
        return None
    try:
        return Choice.parsed(report)
    except (KeyError, TypeError, ValueError):
        return None


def middle(image: AnyPixels | DiskImage, size: int) -> AnyPixels:
    """The square of ``size`` pixels in the middle of an image (H, W, C), or what there is of it."""
    top, left = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]
