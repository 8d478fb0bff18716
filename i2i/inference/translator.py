"""A trained translator as a Python object: images in, the same kind and size out."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from i2i.config.schema import ModelConfig, Precision
from i2i.data.batches import to_pixels, to_unit
from i2i.data.images import Pixels, from_pil, to_pil
from i2i.data.transforms import stack
from i2i.device import DTYPES
from i2i.errors import ConfigError, DataError
from i2i.inference.fast_layers import speed_up
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.networks.at_inference import SeededLayer, drawn_from
from i2i.storage.weights import digest_of

Layers = Literal["torch", "channels last", "fast"]
"""A generator's layers: torch's, the same with channels last in memory, or those of ``fast_layers``."""
AnyImage = TypeVar("AnyImage", Image.Image, Pixels, Tensor)


class Translator:
    """Runs the generators of a method that is ready for inference: the same input gives the same output.

    Attributes:
        method: the method, from a weight file or a live training run.
        config: the configuration of the model.
        step: number of training steps.
        device: where it computes.
        precision: of the products in its convolutions.
        layers: of its generators.
    """

    precision: Precision = "fp32"
    layers: Layers = "torch"

    def __init__(self, method: Method, config: ModelConfig, step: int, device: torch.device) -> None:
        """Raises ConfigError for a method that does not translate."""
        if not isinstance(method, TranslationMethod):
            raise ConfigError(f"{config.arch} generates images from noise and does not translate: use i2i sample")
        self.method, self.config, self.step, self.device = method, config, step, device

    def faster(self, direction: str, precision: Precision, layers: Layers | None = None) -> Translator:
        """A copy that translates in ``direction`` alone, in another way that differs by rounding, also in fp32.

        Args:
            direction: one of ``directions``.
            precision: of the copy.
            layers: of the copy; by default the fast ones on a CPU, and torch's elsewhere.
        """
        copied = copy.copy(self)
        copied.precision = precision
        copied.layers = layers or ("fast" if self.device.type == "cpu" else "torch")
        if copied.layers == "torch":
            return copied
        copied.method = self._with_own_generator(direction, shares_weights=copied.layers == "fast")
        generator = copied.method.directions()[direction].generator
        if copied.layers == "fast":
            speed_up(generator, DTYPES[precision])
        else:
            generator.to(memory_format=torch.channels_last)
        return copied

    def _with_own_generator(self, direction: str, *, shares_weights: bool) -> TranslationMethod:
        """The method with a copy of the generator of ``direction``; it shares the other networks."""
        generator = self.method.directions()[direction].generator
        shared: dict[int, Any] = {
            id(network): network
            for network in self.method.children()
            if all(module is not generator for module in network.modules())
        }
        if shares_weights:
            shared |= {id(tensor): tensor for tensor in (*generator.parameters(), *generator.buffers())}
        return copy.deepcopy(self.method, shared)

    def _computing(self) -> AbstractContextManager[Any]:
        """The context in which torch's layers compute in ``precision``; fast ones do so by themselves."""
        if self.layers == "fast" or self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    @property
    def digest(self) -> str:
        """The digest of the model: of its weights, and the configuration that builds it."""
        weights = {name: tensor.detach().cpu() for name, tensor in self.method.inference_state().items()}
        return digest_of({"model": self.config.model_dump(mode="json"), "step": self.step}, weights)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of this translator; the first is the default."""
        return tuple(self.method.directions())

    @property
    def has_noise(self) -> bool:
        """Whether the seed changes the translation."""
        return any(isinstance(layer, SeededLayer) for layer in self.method.modules())

    def channels(self, direction: str) -> tuple[int, int]:
        """Input and output channels in ``direction``."""
        offered = self.method.directions()[direction]
        return offered.in_channels, offered.out_channels

    def check_direction(self, direction: str | None) -> str:
        """``direction``, or the default for None.

        Raises:
            ConfigError: a direction that was not trained.
        """
        return self.method.choose_direction(direction)

    @torch.inference_mode()
    def translate(self, images: Tensor, direction: str | None = None, *, seed: int | None = None) -> Tensor:
        """Translates images: (N, C, H, W) in [-1, 1], any H and W from 1 up, to (N, C', H, W) in [-1, 1].

        ``seed`` is the seed of the noise of a translator with noise, instead of the seed in its file.
        """
        direction = self.check_direction(direction)
        generator = self.method.directions()[direction].generator
        height, width = images.shape[2:]
        padded = pad_to(images.to(self.device), generator.multiple, generator.minimum)
        with drawn_from(self.method, seed), self._computing():
            return self.method.translate(padded, direction)[..., :height, :width]

    def translate_pixels(
        self, images: list[Pixels], direction: str | None = None, *, seed: int | None = None
    ) -> list[Pixels]:
        """Translates images (H, W, C), uint8, all of one size; ``seed`` as in ``translate``."""
        batch = to_unit(torch.from_numpy(stack(images)), self.device)
        return to_pixels(self.translate(batch, direction, seed=seed))

    def __call__(self, image: AnyImage, direction: str | None = None, *, seed: int | None = None) -> AnyImage:
        """Translates one image.

        Args:
            image: a PIL image; or an array (H, W, C) or (H, W), uint8; or a tensor (C, H, W) or (N, C, H, W),
                float in [-1, 1].
            direction: one of ``directions``; the first by default.
            seed: seed of the noise of a translator with noise; by default the seed in its file.

        Returns:
            The same kind of object, of the same height and width.

        Raises:
            DataError: another kind of object, or wrong channels.
        """
        direction = self.check_direction(direction)
        channels = self.channels(direction)[0]
        if isinstance(image, Image.Image):
            if 0 in image.size:
                raise DataError(f"an image of {image.size} is empty")
            pixels = from_pil(image, channels, self.config.images.background)
            return to_pil(self.translate_pixels([pixels], direction, seed=seed)[0])
        if isinstance(image, Tensor):
            if image.ndim not in (3, 4) or image.shape[-3] != channels or not image.is_floating_point():
                raise DataError(f"a float tensor ({channels}, H, W) in [-1, 1] is needed, not {tuple(image.shape)}")
            if 0 in image.shape:
                raise DataError(f"an image of {tuple(image.shape)} is empty")
            batch = (image if image.ndim == 4 else image[None]).float()
            translated = self.translate(batch, direction, seed=seed).to(image.device)
            return translated if image.ndim == 4 else translated[0]
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and _is_image(image):
            pixels = from_pil(to_pil(image), channels, self.config.images.background)
            translated_pixels = self.translate_pixels([pixels], direction, seed=seed)[0]
            flat = image.ndim == 2 and translated_pixels.shape[2] == 1
            return translated_pixels[..., 0] if flat else translated_pixels
        raise DataError(f"cannot translate {type(image).__name__}: give a PIL image, a uint8 array or a float tensor")


def _is_image(array: Pixels) -> bool:
    return bool(array.size) and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)))


def pad_to(images: Tensor, multiple: int, minimum: int) -> Tensor:
    """Pads images (N, C, H, W) at the bottom and right to a multiple, by reflection if they are large enough.

    If an image is smaller than the padding that it needs, its edge is repeated.
    """
    height, width = images.shape[2:]
    bottom, right = ((-(side // -multiple) * multiple) for side in (height, width))
    bottom, right = max(bottom, minimum) - height, max(right, minimum) - width
    if not (bottom or right):
        return images
    mode = "reflect" if bottom < height and right < width else "replicate"
    return pad(images, (0, right, 0, bottom), mode=mode)
