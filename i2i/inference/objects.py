"""Images as Python objects: what a translator takes of PIL images, arrays and tensors, and the same kind made of it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from i2i.config.schema import Depth
from i2i.data.images import Pixels, alpha_of, from_pil, to_pil
from i2i.data.stored import values_of
from i2i.errors import DataError
from i2i.kinds import AnyPixels

FARTHEST = 1.5
"""From 0, of the values of a tensor: those of [-1, 1] get no farther where an image has been resized by splines."""
AnyImage = TypeVar("AnyImage", Image.Image, AnyPixels, Tensor)
Shown = TypeVar("Shown", Image.Image, AnyPixels)


def batch_of(image: Tensor, channels: int) -> Tensor:
    """A tensor (C, H, W) or (N, C, H, W) as (N, C, H, W), float32.

    Raises:
        DataError: another shape, no floats, nothing in it, or values that are far from [-1, 1] or no numbers.
    """
    if image.ndim not in (3, 4) or image.shape[-3] != channels or not image.is_floating_point():
        raise DataError(f"a float tensor ({channels}, H, W) in [-1, 1] is needed, not {tuple(image.shape)}")
    if 0 in image.shape:
        raise DataError(f"an image of {tuple(image.shape)} is empty")
    largest = float(image.abs().max())
    if not largest <= FARTHEST:  # nor is NaN
        raise DataError(f"a float tensor in [-1, 1] is needed, and this one has values as far from 0 as {largest:g}")
    return (image if image.ndim == 4 else image[None]).float()


def tensor_like(given: Tensor, batch: Tensor) -> Tensor:
    """A batch (N, C, H, W) in the form and the precision of the tensor ``given``, and where it is."""
    return (batch if given.ndim == 4 else batch[0]).to(given)


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
    elif not isinstance(image, np.ndarray):
        raise DataError(f"cannot translate {type(image).__name__}: give a PIL image, an array or a float tensor")
    elif not is_plain:
        return values_of(image, depths[0].kind, channels), None
    elif not (image.dtype == np.uint8 and _is_image(image)):
        raise DataError(
            "an array (H, W) or (H, W, C) of uint8, with 1, 3 or 4 channels, is needed, "
            f"and not {image.dtype} {image.shape}"
        )
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
