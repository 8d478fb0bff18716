"""Translates images with an exported ONNX file; needs onnxruntime, NumPy and Pillow, and no PyTorch.

Images are read, padded, scaled and written as by ``i2i translate``, at any depth, and random layers draw what PyTorch
would draw.

usage: python -m i2i.runtime MODEL.onnx INPUT [-o OUTPUT] [--seed N] [--tile N] [--tile-statistics exact|thumbnail]
       [--alpha] [--max-pixels N] [--overwrite]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from i2i.bounds import MAX_PIXELS, open_regular
from i2i.data.carried import Carried, carried_by, require_alpha
from i2i.data.images import (
    MODES,
    Pixels,
    TooLittleMemory,
    alpha_in,
    image_in,
    list_images,
    opened,
    values_in,
    write_image,
)
from i2i.data.ranges import Values, clipped, fractions, from_unit_array
from i2i.data.stored import MAX_CHANNELS, usual_suffix, values_of
from i2i.data.targets import require_apart, target_of
from i2i.errors import ConfigError, DataError, UserError, WeightsError
from i2i.kinds import NUMPY_TYPES, AnyPixels, Kind
from i2i.seeding import derive_seed
from i2i.tiling.boxes import Box
from i2i.tiling.draws import require_drawable
from i2i.tiling.graph import (
    LARGEST_SIDE,
    Compute,
    CutGraph,
    GraphNorm,
    GraphPart,
    PaddedImage,
    TiledGraph,
    UnitWindows,
    reduced,
    require_parts,
)
from i2i.tiling.onnx_file import OnnxFile
from i2i.tiling.settings import Tiles, TileStatistics

IMAGES, TRANSLATED = "images", "translated"
"""The names of a graph's first input and of its output, (N, C, H, W) in [-1, 1]."""
KEY = "i2i"
"""Under which a file says what it is."""
FORMAT = 2
FATAL = 4
"""A level of onnxruntime's log."""
EXTERNAL = b"\x0a\x08location"
"""In ONNX, the key of the name of another file that holds weights."""


@dataclass(frozen=True)
class ValueRange:
    """The values of images, of which ``low`` to ``high`` are -1 to 1 in the graph."""

    kind: Kind = "8-bit"
    low: float = 0.0
    high: float = 255.0

    @property
    def is_plain(self) -> bool:
        """Whether images are those that programs show."""
        return self.kind == "8-bit"

    def require(self, channels: int) -> None:
        """Raises ValueError for values that no image has."""
        if self.kind not in get_args(Kind) or not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise ValueError("impossible values of images")
        if channels not in MODES if self.is_plain else channels > MAX_CHANNELS:
            raise ValueError(f"images of {channels} channels")


PLAIN = ValueRange()


@dataclass(frozen=True)
class Draw:
    """A random input of a graph, for all images of a size: (channels, H / division, W / division).

    A latent is for all images of all sizes: (channels, 1, 1).

    Attributes:
        name: of the input.
        path: the place of its layer in the network, part of its seed.
        kind: a mask of zeros and ones, Gaussian noise, or a latent of such.
        channels: how many.
        division: of the padded height and width.
        rate: the share of zeros in a mask.
    """

    name: str
    path: str
    kind: Literal["dropout", "noise", "latent"]
    channels: int
    division: int
    rate: float = 0.0

    def drawn(self, seed: int, height: int, width: int) -> Values:
        """What the layer draws with this seed for padded images of (height, width)."""
        seed = derive_seed(seed, "inference", self.path)
        if self.kind == "latent":
            return normal(seed, max(16, self.channels))[: self.channels, None, None]
        shape = (self.channels, height // self.division, width // self.division)
        count = int(np.prod(shape))
        if self.kind == "noise":
            return normal(seed, count).reshape(shape)
        return (uniform(seed, count).reshape(shape) >= np.float32(self.rate)).astype(np.float32)


@dataclass(frozen=True)
class About:
    """What an exported file says of itself.

    Attributes:
        arch: the recipe.
        direction: the translation.
        step: how long it was trained.
        weights: the SHA-256 of the weight file that it comes from.
        image_size: the side of the images that it was trained on.
        channels: of inputs and outputs.
        given: the values of inputs.
        made: those of outputs.
        multiple: height and width are padded to a multiple of it,
        minimum: and to at least this.
        background: under transparent inputs.
        seed: of random layers, unless another is given.
        draws: the random inputs.
        precision: of the convolutions.
        bytes_of_a_pixel: of the memory that a whole image takes; 0 where nobody knows.
        parts: of the graph, for tiles; none where it takes whole images only, and None in a file that says nothing.
        largest_difference: to the model that was exported, in [-1, 1],
        mean_difference: and on average, on as many
        compared: real images.
    """

    arch: str
    direction: str
    step: int
    weights: str
    image_size: int
    channels: tuple[int, int]
    given: ValueRange
    made: ValueRange
    multiple: int
    minimum: int
    background: tuple[int, int, int]
    seed: int
    draws: tuple[Draw, ...] = ()
    precision: Literal["fp32", "int8"] = "fp32"
    bytes_of_a_pixel: float = 0.0
    parts: tuple[GraphPart, ...] | None = None
    largest_difference: float = 0.0
    mean_difference: float = 0.0
    compared: int = 0

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> About:
        """Raises ValueError or TypeError for text that is something else."""
        tree = json.loads(text)
        if not isinstance(tree, dict) or tree.pop("format", None) != FORMAT:
            raise ValueError("of another version of i2i")
        parts: dict[str, Any] = {key: tuple(tree[key]) for key in ("channels", "background")}
        parts |= {key: ValueRange(**tree[key]) for key in ("given", "made")}
        parts["draws"] = tuple(Draw(**draw) for draw in tree["draws"])
        if tree.get("parts") is not None:
            parts["parts"] = tuple(_part(part) for part in tree["parts"])
        about = cls(**tree | parts)
        if type(about.step) is not int or about.step < 0:
            raise ValueError("an impossible number of steps")
        sizes = [about.image_size, about.multiple, about.minimum, *about.channels]
        sizes += [size for draw in about.draws for size in (draw.channels, draw.division)]
        if not all(type(size) is int and 1 <= size <= LARGEST_SIDE for size in sizes):
            raise ValueError("impossible sizes")
        for values, channels in zip((about.given, about.made), about.channels, strict=True):
            values.require(channels)
        require_parts(about.parts or (), IMAGES, TRANSLATED, about.multiple)
        return about


def _part(tree: Mapping[str, Any]) -> GraphPart:
    norms = tuple(GraphNorm(**norm) for norm in tree["norms"])
    return GraphPart(**{**tree, "inputs": tuple(tree["inputs"]), "norms": norms})


class OnnxTranslator:
    """Runs an exported graph: an image in, an image of the same height and width out.

    Attributes:
        about: what the file says of itself.
        digest: the SHA-256 of the file.
    """

    def __init__(self, path: Path | str, *, threads: int = 0) -> None:
        """Reads the file; ``threads`` compute, or as many as onnxruntime takes.

        Raises:
            WeightsError: it is missing, damaged, or was not exported by i2i.
            DataError: onnxruntime is not installed.
        """
        path = Path(path)
        self._path, self._threads = path, threads
        content = _content(path)
        try:
            self._session = self._session_of(content)
            said = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        except DataError:
            raise
        except Exception as error:  # a damaged file can fail in any way
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(f"{path}: damaged, or no ONNX file ({reason})") from None
        if said is None:
            raise WeightsError(f"{path}: not exported by i2i: export a run with i2i export")
        try:
            self.about = About.from_json(said)
        except (ValueError, TypeError, KeyError) as error:
            raise WeightsError(f"{path}: what it says of itself cannot be read ({error}): export it again") from None
        self.digest = sha256(content).hexdigest()
        self._content = content if self.about.parts else b""

    def _session_of(self, content: bytes) -> Any:
        """What computes an ONNX file."""
        onnxruntime = without_telemetry("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = FATAL  # what it logs besides stands in the error that it raises
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def translate(self, images: Values, *, seed: int | None = None) -> Values:
        """Translates images (N, C, H, W) in [-1, 1], any H and W from 1 up, to (N, C', H, W) in [-1, 1].

        Raises:
            TooLittleMemory: the image does not fit.
            DataError: the graph is not what the file says.
        """
        about = self.about
        height, width = images.shape[2:]
        way_out = "translate it by tiles (--tile)" if about.parts else "use a smaller image"
        try:
            with _said(f"{width}x{height} pixels: {way_out}"):
                padded = pad_to(images, about.multiple, about.minimum)
                inputs = inputs_for(about, padded, about.seed if seed is None else seed)
                self._session = self._session or self._session_of(self._content)
                (translated,) = self._session.run([TRANSLATED], inputs)
        except TooLittleMemory:
            if about.parts:
                self._session = None  # it would keep what it has allocated, which tiles need
            raise
        cropped: Values = translated[..., :height, :width]
        return cropped

    def __call__(
        self,
        pixels: AnyPixels,
        *,
        seed: int | None = None,
        tile: int | None = None,
        tile_statistics: TileStatistics = "exact",
    ) -> AnyPixels:
        """Translates an image (H, W, C), or a grey one (H, W): uint8, or the values that the model has learnt from.

        Args:
            pixels: the image.
            seed: of random layers, instead of that in the file.
            tile: translates an image that is larger by tiles of this side, in pixels.
            tile_statistics: of norms over the whole image; those of a thumbnail are an approximation.

        Raises:
            DataError: the array has another type or shape; or there is too little memory, or no room on the disk, or
                the graph is not what the file says.
            ConfigError: tiles are asked for, and the file takes whole images only.
        """
        pixels = values_of(pixels, self.about.given.kind, self.about.channels[0])
        if tile is None or max(pixels.shape[:2]) <= tile:
            return to_pixels(self.translate(to_unit(pixels, self.about.given), seed=seed), self.about.made)
        image = _InMemory(pixels, self.about)
        for _ in self.tiled(image, Tiles(tile, statistics=tile_statistics), seed=seed).work():
            pass
        return image.output

    def tiled(self, image: UnitWindows, tiles: Tiles, *, seed: int | None = None) -> TiledGraph:
        """What translates an image by tiles.

        Args:
            image: is read, and its translation written, window by window.
            tiles: by which.
            seed: as in a call.

        Raises:
            DataError: what is drawn for the whole image is large.
            ConfigError: the file takes whole images only.
        """
        self.require_tiles()
        multiple = self.about.multiple
        side = -(-tiles.side // multiple) * multiple
        graph = CutGraph(IMAGES, self.about.parts or (), partial(self._cut, OnnxFile(self._content)))
        small = self._padded(reduced(image, side), seed) if tiles.statistics == "thumbnail" else None
        return TiledGraph(graph, self._padded(image, seed), side, tiles.overlap, small)

    def _padded(self, image: UnitWindows, seed: int | None) -> PaddedImage:
        """An image as the graph takes it."""
        height, width, about = image.height, image.width, self.about
        bottom, right, mode = padding(height, width, about.multiple, about.minimum)
        rows, columns = (np.pad(np.arange(n), (0, more), mode) for n, more in ((height, bottom), (width, right)))
        return PaddedImage(image, rows, columns, self._drawn(seed, len(rows), len(columns)))

    def require_tiles(self) -> None:
        """Raises ConfigError for a file that takes whole images only."""
        if self.about.parts:
            return
        if self.about.parts is None:
            reason = "it does not say how its graph is cut for tiles: export it again"
        elif self.about.precision == "int8":
            reason = "in 8-bit integers: translate by tiles with a file that was exported without them"
        else:
            reason = "its generator has no parts for tiles"
        raise ConfigError(f"{self._path}: takes whole images only: {reason}")

    def _drawn(self, seed: int | None, height: int, width: int) -> dict[str, Values]:
        """What is drawn for padded images of this size."""
        for draw in self.about.draws:
            if draw.kind != "latent":
                require_drawable(draw.channels * (height // draw.division) * (width // draw.division))
        own = self.about.seed if seed is None else seed
        return {draw.name: draw.drawn(own, height, width) for draw in self.about.draws}

    def _cut(self, file: OnnxFile, given: Collection[str], made: str) -> tuple[Sequence[str], Compute]:
        """What computes the value ``made`` of the graph from those of ``given`` that it needs, which come first."""
        content, inputs = file.part(given, made)
        try:
            session = self._session_of(content)
        except Exception as error:  # as above
            raise DataError(f"cannot be translated by tiles ({' '.join(str(error).split())[:200]})") from None

        def compute(values: Mapping[str, Values]) -> Values:
            with _said("a tile: use smaller ones"):
                (computed,) = session.run([made], values)
            value: Values = computed
            return value

        return inputs, compute


class _InMemory:
    """An image in memory and its translation, (H, W, C) of the depths of the model."""

    def __init__(self, pixels: AnyPixels, about: About) -> None:
        self._pixels, self._about = pixels, about
        self.height, self.width = pixels.shape[:2]
        self.output: AnyPixels = np.empty((self.height, self.width, about.channels[1]), NUMPY_TYPES[about.made.kind])

    def read(self, box: Box) -> Values:
        return to_unit(self._pixels[box.top : box.bottom, box.left : box.right], self._about.given)

    def write(self, box: Box, made: Values) -> None:
        self.output[box.top : box.bottom, box.left : box.right] = to_pixels(made, self._about.made)


@contextmanager
def _said(too_large: str) -> Iterator[None]:
    """Raises DataError for whatever fails in the context; of memory, it says what there is not enough for."""
    try:
        yield
    except Exception as error:  # onnxruntime has kinds of its own
        reason = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "alloc" in reason:
            raise TooLittleMemory(f"not enough memory for {too_large}") from None
        raise DataError(f"cannot be translated ({reason[:200]})") from None


def without_telemetry(module: str) -> Any:
    """A module of onnxruntime, which from 1.29 on tells its makers of every use unless this is set before its import.

    Raises:
        DataError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module(module)
    except ImportError:
        raise DataError("ONNX files need onnxruntime: pip install onnxruntime") from None


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from None
    if EXTERNAL in content:
        raise WeightsError(f"{path}: has weights in other files, which are not read")
    return content


def inputs_for(about: About, padded: Values, seed: int) -> dict[str, Values]:
    """All inputs of a graph, by name: padded images (N, C, H, W) and what is drawn for them."""
    return {IMAGES: padded} | {draw.name: draw.drawn(seed, *padded.shape[2:]) for draw in about.draws}


def pad_to(images: Values, multiple: int, minimum: int) -> Values:
    """Pads images (N, C, H, W) at the bottom and right to a multiple, as the model does."""
    height, width = images.shape[2:]
    bottom, right, mode = padding(height, width, multiple, minimum)
    return np.pad(images, ((0, 0), (0, 0), (0, bottom), (0, right)), mode=mode)


def padding(height: int, width: int, multiple: int, minimum: int) -> tuple[int, int, Literal["reflect", "edge"]]:
    """How many pixels an image lacks at the bottom and right, and how they are made."""
    bottom, right = (max(-(side // -multiple) * multiple, minimum) - side for side in (height, width))
    return bottom, right, "reflect" if bottom < height and right < width else "edge"


def to_unit(pixels: AnyPixels, values: ValueRange = PLAIN) -> Values:
    """An image (H, W, C) as (1, C, H, W) in [-1, 1]."""
    planes = pixels.transpose(2, 0, 1)[None]
    if values.is_plain:
        return planes.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return fractions(planes, values) * np.float32(2) - np.float32(1)


def to_pixels(images: Values, values: ValueRange = PLAIN) -> AnyPixels:
    """The first of images (N, C, H, W) in [-1, 1] as (H, W, C), rounded where values are integers, and clipped."""
    if not values.is_plain:
        return from_unit_array(images[0], values)
    scaled: Values = np.rint((images[0] + np.float32(1)) * np.float32(127.5)).clip(0, 255)
    return scaled.astype(np.uint8).transpose(1, 2, 0)


def uniform(seed: int, count: int) -> Values:
    """The numbers that a CPU generator of PyTorch draws for ``rand``: 24 bits of a Mersenne Twister each."""
    words = np.random.RandomState(seed & 0xFFFFFFFF).randint(0, 2**32, size=count, dtype=np.uint32)
    return _fractions(words)


def normal(seed: int, count: int) -> Values:
    """The numbers that it draws for ``randn``, to rounding: Box and Muller's method on blocks of 16; 16 at least."""
    random = np.random.RandomState(seed & 0xFFFFFFFF)
    drawn = _fractions(random.randint(0, 2**32, size=count, dtype=np.uint32))
    whole = count // 16 * 16
    drawn[:whole] = _box_muller(drawn[:whole])
    if count > whole:
        drawn[-16:] = _box_muller(_fractions(random.randint(0, 2**32, size=16, dtype=np.uint32)))
    return drawn


def _fractions(words: NDArray[np.uint32]) -> Values:
    return (words & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)


def _box_muller(drawn: Values) -> Values:
    first, second = drawn.reshape(-1, 2, 8).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log1p(-first)), np.float32(2 * np.pi) * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def run(
    translated: Callable[[AnyPixels], AnyPixels],
    about: About,
    jobs: Mapping[Path, Path],
    max_pixels: int,
    *,
    alpha: bool = False,
) -> list[str]:
    """Writes what files are ``translated`` to, with their ``alpha`` or opaque; returns a line for each that failed."""
    failed = []
    for number, (source, target) in enumerate(jobs.items(), 1):
        try:
            pixels, kept, carried = read(source, about, max_pixels, alpha=alpha)
            made = translated(pixels)
            options = carried.options(target.suffix.lower(), made.shape[-1])
            write_image(target, made, kept, options=options, flush=False)
        except DataError as error:
            reason = str(error)
            failed.append(reason if str(source) in reason or str(target) in reason else f"{source}: {reason}")
        if sys.stderr.isatty():
            print(f"\rtranslating {number:,}/{len(jobs):,}", end="\n" if number == len(jobs) else "", file=sys.stderr)
    return failed


def read(source: Path, about: About, max_pixels: int, *, alpha: bool) -> tuple[AnyPixels, Pixels | None, Carried]:
    """An input (H, W, C), its ``alpha`` (H, W) where that is kept, and what its output takes over besides.

    A line says which of its values are clipped.

    Raises:
        DataError: it cannot be read, or holds others.
    """
    kept = None
    with opened(source, max_pixels) as file:
        if about.given.is_plain:
            kept = alpha_in(file) if alpha else None
            values: AnyPixels = image_in(file, about.channels[0], about.background)
        else:
            values = values_in(file, source, about.given.kind, about.channels[0])
        carried = carried_by(file)
    if said := clipped(values, about.given):
        print(f"warning: {source}: {said}", file=sys.stderr)
    return values, kept, carried


def suffix_for(about: About) -> str:
    """Of outputs: that of ``i2i translate``, but for colours of 16 bits, which PNG needs OpenCV for."""
    channels = about.channels[1]
    return ".npy" if about.made.kind == "uint16" and channels > 1 else f".{usual_suffix(about.made.kind, channels)}"


def jobs_for(source: Path, output: Path | None, suffix: str = ".png", *, overwrite: bool) -> dict[Path, Path]:
    """Input and output of every file; ``suffix`` of those that have no name yet.

    Raises:
        DataError: there is no input or no image, two would get one name, or an output exists already or would be
            inside or replace the input.
    """
    if source.is_dir():
        folder = output or source.parent / f"{source.resolve().name}-translated"
        jobs = {path: (folder / path.relative_to(source)).with_suffix(suffix) for path in list_images(source)}
        require_apart(source, jobs.keys(), [folder, *jobs.values()])
    else:
        if not source.exists():
            raise DataError(f"{source}: no such file or folder")
        jobs = {source: target_of(source, output, suffix)}
        require_apart(source, jobs.keys(), jobs.values())
    if not jobs:
        raise DataError(f"{source} contains no images")
    names = Counter(jobs.values())
    twice = next((target for target, count in names.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{twice} would be the output of several images: rename them")
    there = next((target for target in names if target.exists()), None)
    if there is not None and not overwrite:
        raise DataError(f"{there} exists: choose another output with -o, or replace files with --overwrite")
    return jobs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code, as ``i2i translate``."""
    parser = argparse.ArgumentParser(prog="python -m i2i.runtime", description="Translate images with an ONNX file.")
    parser.add_argument("model", type=Path, help="file that i2i export wrote")
    parser.add_argument("source", type=Path, metavar="INPUT", help="image, or folder of images")
    parser.add_argument("-o", "--output", type=Path, help="output image or folder; INPUT-translated by default")
    parser.add_argument("--seed", type=int, help="seed of a model with noise")
    parser.add_argument("--tile", type=int, metavar="N", help="translate larger images by tiles of N x N pixels")
    parser.add_argument(
        "--tile-statistics",
        choices=get_args(TileStatistics),
        default="exact",
        help="of norms over a whole image, by tiles: exact ones, or of a reduced copy, an approximation",
    )
    parser.add_argument("--alpha", action="store_true", help="take over the alpha channel of inputs that have one")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="largest image that is read, in pixels")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    given = parser.parse_args(arguments)
    try:
        translator = OnnxTranslator(given.model)
        if given.tile is not None:
            translator.require_tiles()
        elif given.tile_statistics != "exact":
            parser.error("--tile-statistics is of translation by tiles: give --tile N too")
        about = translator.about
        if given.seed is not None and given.seed < 0:
            parser.error("--seed: give a number from 0 up")
        if given.seed is not None and not about.draws:
            print("warning: --seed changes nothing: this model draws no noise", file=sys.stderr)
        jobs = jobs_for(given.source, given.output, suffix_for(about), overwrite=given.overwrite)
        if given.alpha:
            require_alpha(jobs.values(), about.channels[1], plain=about.given.is_plain and about.made.is_plain)
        translated = partial(translator, seed=given.seed, tile=given.tile, tile_statistics=given.tile_statistics)
        failed = run(translated, about, jobs, given.max_pixels, alpha=given.alpha)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    for line in failed:
        print(f"warning: skipped: {line}", file=sys.stderr)
    print(f"translated {len(jobs) - len(failed)} of {len(jobs)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
