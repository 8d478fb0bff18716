"""Augmentation with albumentations: random crop and flip as in the papers, and any of its transforms by name.

Geometry is shared by both sides of a pair; photometric changes touch the input of a pair only. Unpaired images are
augmented one by one. Every draw is a function of the seed that the caller gives.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np

from i2i.errors import ConfigError, did_you_mean
from i2i.kinds import AnyPixels
from i2i.seeding import derive_seed

if TYPE_CHECKING:
    import albumentations as A

# Imported where it is used: it is slow to import, and translating does without it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the network for a newer version


class Crop(NamedTuple):
    """Where the crop of an image begins, and whether it is mirrored."""

    top: int
    left: int
    mirrored: bool


class Augmenter:
    """Brings images at the load size to training crops.

    Args:
        image_size: the side of the crop, in pixels.
        flip: mirror every second image.
        extra: albumentations transforms, each a mapping of ``name`` and parameters.
        input_side: which side of a pair is translated: 0 or 1. Its colours change, and those of its partner do not.

    Raises:
        ConfigError: a transform or a parameter that albumentations does not have.
    """

    def __init__(
        self, image_size: int, *, flip: bool, extra: Sequence[Mapping[str, Any]] = (), input_side: int = 0
    ) -> None:
        self.size, self._flip, self._input_side = image_size, flip, input_side
        self._geometry: A.Compose | None = None
        self._photometry: A.Compose | None = None
        self._extra = [_named_transform(settings) for settings in extra]
        if not extra:
            return
        import albumentations as A

        geometry: list[Any] = []
        photometry: list[Any] = []
        for transform in self._extra:
            (photometry if isinstance(transform, A.ImageOnlyTransform) else geometry).append(transform)
        if geometry:
            self._geometry = A.Compose(geometry, additional_targets={"other": "image"})
        if photometry:
            self._photometry = A.Compose(photometry)

    def check(self, samples: Iterable[AnyPixels]) -> None:
        """Runs every extra transform once on each of the samples: 8-bit pixels, or float32 in [0, 1].

        Raises:
            ConfigError: one that fails, or gives something else than pixels of the same type and shape.
        """
        if not self._extra:
            return
        import albumentations as A

        for transform in self._extra:
            for pixels in samples:
                kind = "8-bit" if pixels.dtype == np.uint8 else str(pixels.dtype)
                problem = f"it does not give {kind} pixels of the same size"
                try:
                    changed = A.Compose([_always(transform)], seed=0)(image=pixels)["image"]
                    fits = changed.dtype == pixels.dtype and changed.shape == pixels.shape
                except Exception as error:  # whatever a transform of another package raises
                    problem, fits = " ".join(str(error).split())[:160] or type(error).__name__, False
                if not fits:
                    name = type(transform).__name__
                    count = pixels.shape[2]
                    raise ConfigError(f"data.augment: {name} cannot be used on {count} channels: {problem}")

    def single(self, pixels: AnyPixels, seed: int) -> AnyPixels:
        """Augments one image (H, W, C) to (image_size, image_size, C), which may be a view of it."""
        pixels = self.cropped(pixels, seed)
        if self._geometry is not None:
            pixels = self._at(self._geometry, seed)(image=np.ascontiguousarray(pixels))["image"]
        return self._photometric(pixels, seed)

    def pair(self, source: AnyPixels, target: AnyPixels, *mask: AnyPixels, seed: int) -> list[AnyPixels]:
        """Augments both sides of a pair, and its mask if it has one, all of one size, with the same geometry.

        In transforms of albumentations a mask is what they call one: it keeps its values, and is black where they fill.
        """
        images = [self.cropped(image, seed) for image in (source, target, *mask)]
        if self._geometry is not None:
            given = dict(zip(("image", "other", "mask"), map(np.ascontiguousarray, images), strict=False))
            changed = self._at(self._geometry, seed)(**given)
            images = [changed[name] for name in given]
        return [
            self._photometric(image, seed) if side == self._input_side else image for side, image in enumerate(images)
        ]

    def crop_of(self, shape: Sequence[int], seed: int) -> Crop:
        """Draws the crop of an image (H, W, ...), and a flip apart from it; without the cost of a pipeline."""
        down, across = (side - self.size for side in shape[:2])
        if not (down or across or self._flip):
            return Crop(0, 0, mirrored=False)
        draws = Random(seed % 2**32)  # half of the time of a crop, but other draws would change crops of resumed runs
        top, left = (int((free + 1) * draws.random()) for free in (down, across))
        return Crop(top, left, mirrored=self._flip and draws.random() < 0.5)

    def cropped(self, pixels: AnyPixels, seed: int) -> AnyPixels:
        """The crop of an image (H, W, C) that ``crop_of`` draws: (image_size, image_size, C), a view of it."""
        top, left, mirrored = self.crop_of(pixels.shape, seed)
        crop = pixels[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if mirrored else crop

    def _photometric(self, pixels: AnyPixels, seed: int) -> AnyPixels:
        if self._photometry is None:
            return pixels
        changed: AnyPixels = self._at(self._photometry, seed)(image=np.ascontiguousarray(pixels))["image"]
        return changed

    @staticmethod
    def _at(pipeline: A.Compose, seed: int) -> A.Compose:
        pipeline.set_random_seed(seed % 2**32)
        for number, transform in enumerate(pipeline.transforms):  # which would all draw the same
            transform.set_random_seed(derive_seed(seed, type(transform).__name__, number) % 2**32)
        return pipeline


def require_transforms(extra: Sequence[Mapping[str, Any]]) -> None:
    """Refuses transforms that albumentations does not have; errors as ``Augmenter``."""
    for settings in extra:
        _named_transform(settings)


def stack(images: Sequence[AnyPixels]) -> AnyPixels:
    """Stacks (H, W, C) images to (N, C, H, W)."""
    height, width, channels = images[0].shape
    stacked = np.empty((len(images), channels, height, width), images[0].dtype)
    for place, image in zip(stacked, images, strict=True):
        place[...] = image.transpose(2, 0, 1)
    return stacked


def _always(transform: A.BasicTransform) -> A.BasicTransform:
    certain = copy.deepcopy(transform)
    certain.p = 1.0
    return certain


def _is_transform(value: Any) -> TypeGuard[type[Any]]:
    import albumentations as A

    return inspect.isclass(value) and issubclass(value, A.ImageOnlyTransform | A.DualTransform)


def _named_transform(settings: Mapping[str, Any]) -> A.BasicTransform:
    import albumentations as A

    name, parameters = settings["name"], {key: value for key, value in settings.items() if key != "name"}
    transform = getattr(A, name, None)
    if not _is_transform(transform):
        names = [each for each, kind in vars(A).items() if _is_transform(kind)]
        raise ConfigError(f"data.augment: albumentations has no transform {name!r}{did_you_mean(name, names)}")
    known = inspect.signature(transform.__init__).parameters
    for key in parameters:
        if key not in known:
            raise ConfigError(f"data.augment: {name} has no parameter {key!r}; it takes {', '.join(list(known)[1:])}")
    try:
        built: A.BasicTransform = transform(**parameters)
    except Exception as error:  # albumentations raises several kinds, pydantic's among them
        reason = str(error).split("[type=")[0]
        raise ConfigError(f"data.augment: {name}: {' '.join(reason.split())[:200]}") from None
    return built
