"""A trained translator as a Python object: images in, the same kind and size out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor

from i2i.config.schema import Depth, ModelConfig, Precision
from i2i.data.batches import to_pixels, unit_batch
from i2i.data.carried import require_alpha
from i2i.data.depth import from_unit_values
from i2i.data.images import TooLittleMemory
from i2i.data.on_disk import DiskImage
from i2i.device import is_out_of_memory
from i2i.display import say, tracked
from i2i.errors import ConfigError
from i2i.inference.memory import MemoryForImages
from i2i.inference.objects import AnyImage, batch_of, image_like, pixels_of, tensor_like
from i2i.inference.padding import pad_to
from i2i.inference.tiles import TiledImage
from i2i.inference.ways import Layers, computing, in_layers, usual_layers
from i2i.inference.whole_layers import whole_norm
from i2i.inference.windows import PixelWindows, TensorWindows, Windows
from i2i.kinds import AnyPixels
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.networks.at_inference import SeededLayer, drawn_from
from i2i.storage.weights import digest_of
from i2i.tiling.settings import Tile, Tiles, TileStatistics

if TYPE_CHECKING:
    from i2i.inference.fastest import Fastest

Made = TypeVar("Made")
THE_IMAGE = "the image"
"""The name of one that has none."""


class Translator:
    """Runs the generators of a method that is ready for inference: the same input gives the same output.

    Attributes:
        method: the method, from a weight file or a live training run.
        config: the configuration of the model.
        step: number of training steps.
        device: where it computes.
        precision: of the products in its convolutions.
        layers: of its generators.
        memory: what its translations take.
        fastest: what it takes instead of these, by direction, where ``i2i bench`` has found that to be fastest.
    """

    precision: Precision = "fp32"
    layers: Layers = "torch"
    fastest: Fastest | None = None
    is_fixed: ClassVar[bool] = False
    """Whether how it computes is not to be chosen."""

    def __init__(self, method: Method, config: ModelConfig, step: int, device: torch.device) -> None:
        """Raises ConfigError for a method that does not translate."""
        if not isinstance(method, TranslationMethod):
            raise ConfigError(f"{config.arch} generates images from noise and does not translate: use i2i sample")
        self.method, self.config, self.step, self.device = method, config, step, device
        self.memory = MemoryForImages(method, device)
        self._ways: dict[str, Translator] = {}

    def faster(self, direction: str, precision: Precision, layers: Layers | None = None) -> Translator:
        """A copy that translates in ``direction`` alone, in another way that differs by rounding, also in fp32.

        Args:
            direction: one of ``directions``.
            precision: of the copy.
            layers: of the copy; by default the fast ones on a CPU, and torch's elsewhere.
        """
        copied = copy.copy(self)
        copied.fastest, copied._ways = None, {}
        copied.precision = precision
        copied.layers = layers or usual_layers(self.device)
        copied.method = in_layers(self.method, direction, copied.layers, precision)
        return copied

    def _fastest_way(self, direction: str) -> Translator | None:
        """What translates in ``direction`` in its place."""
        choice = None if self.fastest is None else self.fastest.choices.get(direction)
        if choice is not None and direction not in self._ways:
            with torch.inference_mode(False):
                self._ways[direction] = self.faster(direction, choice.precision, choice.layers)
        return self._ways.get(direction)

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

    def require_noise(self) -> None:
        """Raises ConfigError for a model that has one answer for an image."""
        if not self.has_noise:
            raise ConfigError(
                f"{self.config.arch} draws no noise at translation, so that it has one answer for an image: "
                "leave out the number of samples"
            )

    def seed_of_sample(self, number: int, seed: int | None = None) -> int:
        """The seed of the answer with this ``number``, from 1, where the first is that of ``seed`` or of the file."""
        return (self.config.inference.seed if seed is None else seed) + number - 1

    def channels(self, direction: str) -> tuple[int, int]:
        """Input and output channels in ``direction``."""
        offered = self.method.directions()[direction]
        return offered.in_channels, offered.out_channels

    def depths(self, direction: str) -> tuple[Depth, Depth]:
        """The depths of inputs and outputs in ``direction``."""
        offered, images = self.method.directions()[direction], self.config.images
        of = {"A": images.depth_a, "B": images.depth_b}
        return of[offered.source], of[offered.target]

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
        if way := self._fastest_way(direction):
            return way.translate(images, direction, seed=seed)
        generator = self.method.directions()[direction].generator
        height, width = images.shape[2:]
        padded = pad_to(images.to(self.device), generator.multiple, generator.minimum)
        with drawn_from(self.method, seed), computing(self.layers, self.precision, self.device):
            translated = self.method.translate(padded, direction)
        _require_size(translated, padded, direction)
        return translated[..., :height, :width]

    def translate_pixels(
        self, images: list[AnyPixels], direction: str | None = None, *, seed: int | None = None
    ) -> list[AnyPixels]:
        """Translates images (H, W, C) of the depth of inputs, all of one size; ``seed`` as in ``translate``."""
        given, made = self.depths(self.check_direction(direction))
        outputs = self.translate(unit_batch(images, given, self.device), direction, seed=seed)
        return list(to_pixels(outputs) if made.is_plain else from_unit_values(outputs, made))

    def translate_by_tiles(
        self,
        image: Tensor,
        direction: str | None,
        tiles: Tiles,
        *,
        seed: int | None = None,
        name: str = THE_IMAGE,
    ) -> Tensor:
        """Translates an image of any size by tiles, to what ``translate`` gives, up to rounding.

        Args:
            image: (C, H, W), float in [-1, 1].
            direction: as in ``translate``.
            tiles: by which; smaller images too.
            seed: as in ``translate``.
            name: of the image, beside the progress.

        Returns:
            (C', H, W), float, on the CPU.

        Raises:
            ConfigError: the generator takes whole images only.
            DataError: the disk has no room for feature maps.
        """
        windows = TensorWindows(image)
        self._by_tiles(windows, self.check_direction(direction), tiles, seed, name)
        return windows.output

    def _by_tiles(self, image: Windows, direction: str, tiles: Tiles, seed: int | None, name: str) -> None:
        """``translate_by_tiles`` of an image wherever it is."""
        self._require_parts(direction)
        if way := self._fastest_way(direction):
            way._by_tiles(image, direction, tiles, seed, name)
            return
        generator = self.method.directions()[direction].generator
        with torch.inference_mode(), drawn_from(self.method, seed), computing(self.layers, self.precision, self.device):
            tiled = TiledImage(generator, image, tiles, self.device)
            for _ in tracked(f"tiles of {name}", tiled.steps)(tiled.work()):
                pass

    def translate_images(
        self,
        images: Sequence[AnyPixels | DiskImage],
        direction: str,
        tiles: Tiles,
        *,
        seed: int | None = None,
        names: Sequence[str],
    ) -> tuple[Sequence[AnyPixels | DiskImage], int | None]:
        """Translates images (H, W, C) of the depth of inputs, all of one size: whole, or by tiles where they take them.

        Returns:
            The translations, by tiles where the images are, and the side of the tiles.

        Raises:
            RuntimeError: of the device, for example that there is too little memory.
            DataError: there is too little memory for an exported file, or the disk has no room for the maps of tiles.
        """

        def by_tiles(image: AnyPixels | DiskImage, name: str) -> AnyPixels | DiskImage:
            windows = PixelWindows(image, *self.depths(direction), self.channels(direction)[1])
            self._by_tiles(windows, direction, tiles, seed, name)
            return windows.output

        return self._whole_or_by_tiles(
            images[0].shape[:2],
            direction,
            tiles,
            names[0],
            lambda: self.translate_pixels([image[:, :] for image in images], direction, seed=seed),
            lambda: list(map(by_tiles, images, names)),
        )

    def _whole_or_by_tiles(
        self,
        size: Sequence[int],
        direction: str,
        tiles: Tiles,
        name: str,
        whole: Callable[[], Made],
        by_tiles: Callable[[], Made],
    ) -> tuple[Made, int | None]:
        """What one of the two gives for images of a height and width, and the side of tiles; says why by tiles."""
        height, width = size
        if not self.takes_tiles(height, width, direction, tiles):
            try:
                return whole(), None
            except (RuntimeError, TooLittleMemory) as error:
                if tiles.tile != "auto" or not is_out_of_memory(error) or not self.has_parts(direction):
                    raise
            say(f"{name}: does not fit into memory: translated by tiles of {tiles.side} pixels")
        elif tiles.tile == "auto":
            needed, room = self.memory.needed(direction, height * width), self.memory.room
            say(
                f"{name}: {width:,}x{height:,} pixels would take {needed / 2**30:,.1f} GiB of memory, more than the "
                f"{room / 2**30:,.1f} GiB that are for it on {self.device.type}: translated by tiles of {tiles.side} "
                "pixels"
            )
        return by_tiles(), tiles.side

    def takes_tiles(self, height: int, width: int, direction: str, tiles: Tiles) -> bool:
        """Whether an image of this size is translated by tiles, as far as that can be known before."""
        if tiles.tile != "auto":
            return max(height, width) > tiles.tile
        return self.has_parts(direction) and self.memory.needed(direction, height * width) > self.memory.room

    def require_tiles(self, direction: str, tiles: Tiles) -> None:
        """Raises ConfigError for tiles that this translator has no parts for, or a thumbnail that changes nothing."""
        if tiles.tile != "auto" or tiles.statistics == "thumbnail":
            self._require_parts(direction)
        if tiles.statistics == "thumbnail" and not self._has_whole_norms(direction):
            raise ConfigError(
                f"{self.config.arch}: its generator has no norms over the whole image, so that a thumbnail changes "
                "nothing: leave out --tile-statistics"
            )

    def has_parts(self, direction: str) -> bool:
        """Whether the generator of ``direction`` can be computed by tiles."""
        return bool(self.method.directions()[direction].generator.parts_for_tiles())

    def _has_whole_norms(self, direction: str) -> bool:
        """Whether the generator of ``direction`` has norms by the statistics of the image."""
        return any(map(whole_norm, self.method.directions()[direction].generator.modules()))

    def _require_parts(self, direction: str) -> None:
        if not self.has_parts(direction):
            kind = type(self.method.directions()[direction].generator).__name__
            raise ConfigError(
                f"{self.config.arch} takes whole images only: its generator ({kind}) has no parts for tiles"
            )

    def __call__(
        self,
        image: AnyImage,
        direction: str | None = None,
        *,
        seed: int | None = None,
        tile: Tile = "auto",
        overlap: int | None = None,
        tile_statistics: TileStatistics = "exact",
        alpha: bool = False,
    ) -> AnyImage:
        """Translates one image.

        Args:
            image: a PIL image; or an array (H, W, C) or (H, W), uint8, or what the model has learnt from; or a tensor
                (C, H, W) or (N, C, H, W), float in [-1, 1].
            direction: one of ``directions``; the first by default.
            seed: seed of the noise of a translator with noise; by default the seed in its file.
            tile: translates images that are larger by tiles of this side; by default those that do not fit into memory.
            overlap: by how many pixels a tile is computed larger on each side; by default by as many as it depends on.
            tile_statistics: of norms over the whole image; those of a thumbnail are faster, and an approximation.
            alpha: whether the translation of a transparent image or array takes over its alpha, as one more channel.

        Returns:
            The same kind of object, of the same height and width.

        Raises:
            DataError: another kind of object, or wrong channels; or the disk has no room for the feature maps of tiles.
            ConfigError: tiles are asked for, and the generator takes whole images only; or a thumbnail, and it has no
                norms over the whole image; or alpha, and translations cannot have that of their inputs.
        """
        direction = self.check_direction(direction)
        tiles = Tiles(tile, overlap, tile_statistics)
        self.require_tiles(direction, tiles)
        channels, made_channels = self.channels(direction)
        depths = self.depths(direction)
        if alpha:
            require_alpha([], made_channels, plain=all(depth.is_plain for depth in depths))
        if isinstance(image, Tensor):
            if alpha:
                raise ConfigError("alpha: tensors have the channels of the model alone: give an image or an array")
            return tensor_like(image, self._translate_batch(batch_of(image, channels), direction, tiles, seed))
        pixels, kept = pixels_of(image, channels, depths, self.config.images.background, alpha=alpha)
        (made,), _ = self.translate_images([pixels], direction, tiles, seed=seed, names=[THE_IMAGE])
        return image_like(image, made[:, :], kept)

    def samples(
        self,
        image: AnyImage,
        count: int,
        direction: str | None = None,
        *,
        seed: int | None = None,
        tile: Tile = "auto",
        overlap: int | None = None,
        tile_statistics: TileStatistics = "exact",
        alpha: bool = False,
    ) -> list[AnyImage]:
        """Several translations of one image, by a model with noise: of ``seed``, ``seed + 1``, and so on.

        The same number is the same noise for all images. Arguments and errors as of a call, and ConfigError for a model
        without noise.
        """
        self.require_noise()
        seeds = [self.seed_of_sample(number, seed) for number in range(1, count + 1)]
        one = partial(self, image, direction, tile=tile, overlap=overlap, tile_statistics=tile_statistics, alpha=alpha)
        return [one(seed=each) for each in seeds]

    def _translate_batch(self, batch: Tensor, direction: str, tiles: Tiles, seed: int | None) -> Tensor:
        """``translate_images`` of (N, C, H, W)."""
        images, _ = self._whole_or_by_tiles(
            batch.shape[2:],
            direction,
            tiles,
            THE_IMAGE,
            lambda: self.translate(batch, direction, seed=seed),
            lambda: torch.stack([self.translate_by_tiles(one, direction, tiles, seed=seed) for one in batch]),
        )
        return images


def _require_size(translated: Tensor, images: Tensor, direction: str) -> None:
    """Refuses a generator that changes the size.

    Raises:
        ConfigError: says which sizes.
    """
    if translated.shape[2:] != images.shape[2:]:
        (height, width), (given_height, given_width) = translated.shape[2:], images.shape[2:]
        raise ConfigError(
            f"the generator of {direction} makes {width}x{height} from {given_width}x{given_height}: outputs have to "
            "have the size of their inputs"
        )
