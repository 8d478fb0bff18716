"""Images as Python objects: what a translator takes of PIL images, arrays and tensors, and the same kind made of it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from i2i.config.schema import Depth
from i2i.data.images import Pixels, alpha_of, from_pil, to_pil
from i2i.data.stored import Held
from i2i.errors import DataError
from i2i.kinds import NUMPY_TYPES, AnyPixels

AnyImage = TypeVar("AnyImage", Image.Image, AnyPixels, Tensor)
Shown = TypeVar("Shown", Image.Image, AnyPixels)


def batch_of(image: Tensor, channels: int) -> Tensor:
    """A tensor (C, H, W) or (N, C, H, W) as (N, C, H, W), float32.

    Raises:
        DataError: another shape, no floats, or nothing in it.
    """
    if image.ndim not in (3, 4) or image.shape[-3] != channels or not image.is_floating_point():
        raise DataError(f"a float tensor ({channels}, H, W) in [-1, 1] is needed, not {tuple(image.shape)}")
    if 0 in image.shape:
        raise DataError(f"an image of {tuple(image.shape)} is empty")
    return (image if image.ndim == 4 else image[None]).float()


def tensor_like(given: Tensor, batch: Tensor) -> Tensor:
    """A batch (N, C, H, W) in the form of the tensor ``given``, and where it is."""
    return (batch if given.ndim == 4 else batch[0]).to(given.device)


def pixels_of(
    image: Image.Image | AnyPixels,
    channels: int,
    depths: tuple[Depth, Depth],
    background: tuple[int, int, int],
    *,
    alpha: bool,
) -> tuple[AnyPixels, Pixels | None]:
    """The pixels (H, W, C) of a PIL image or an array, and its alpha where it has one and that is asked for.

    Args:
        image: of 8 bits, or an array of the depth of inputs.
        channels: of inputs.
        depths: of inputs and outputs.
        background: under transparent images.
        alpha: whether it is asked for, for which both depths are plain.

    Raises:
        DataError: another kind of object, or wrong channels.
    """
    is_plain = all(depth.is_plain for depth in depths)
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise DataError(f"an image of {image.size} is empty")
        if not is_plain:
            raise DataError("this model has a depth that PIL images do not have in general: give an array")
    elif not isinstance(image, np.ndarray) or (is_plain and not (image.dtype == np.uint8 and _is_image(image))):
        raise DataError(f"cannot translate {type(image).__name__}: give a PIL image, a uint8 array or a float tensor")
    elif not is_plain:
        return _values(image, channels, depths[0]), None
    shown = image if isinstance(image, Image.Image) else to_pil(image)
    return from_pil(shown, channels, background), alpha_of(shown) if alpha else None


def image_like(given: Shown, made: AnyPixels, alpha: Pixels | None) -> Shown:
    """An image (H, W, C) as the kind of object that ``given`` is, with ``alpha`` (H, W) as one more channel."""
    made = made if alpha is None else np.dstack((made, alpha))
    if isinstance(given, Image.Image):
        return to_pil(made)
    return made[..., 0] if given.ndim == 2 and made.shape[2] == 1 else made


def _is_image(array: Pixels) -> bool:
    return bool(array.size) and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)))


def _values(image: AnyPixels, channels: int, depth: Depth) -> AnyPixels:
    """An array (H, W, C) or (H, W) as an image (H, W, C)."""
    values = image[..., None] if image.ndim == 2 else image
    if image.dtype != NUMPY_TYPES[depth.kind] or values.ndim != 3 or not values.size or values.shape[2] != channels:
        raise DataError(
            f"{Held(depth.kind, channels)} are needed, as an array (H, W, C), and not {image.dtype} {image.shape}"
        )
    if not np.isfinite(values).all():
        raise DataError("the array holds values that are no numbers (NaN or infinity)")
    return values
