"""Exports a generator as a file that runs without i2i's networks: ONNX, TorchScript, or PyTorch's own PT2.

What is drawn at random (dropout masks, noise) is an input of the graph, so that every size gets what the model itself
would draw. A file is kept only if, read again, it translates real images as the model does. With convolutions in 8-bit
integers it cannot quite: what that costs is measured, and stands in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from i2i.data.ranges import Values
from i2i.display import say, tracked
from i2i.errors import ConfigError
from i2i.exchange.graphs import Format, Graph, read, traced
from i2i.exchange.int8 import describe_file, quantize
from i2i.inference.load import load_translator
from i2i.inference.outputs import read_with_digest
from i2i.inference.translator import Translator
from i2i.kinds import AnyPixels
from i2i.needs import require_packages
from i2i.runtime import About, ValueRange, to_unit
from i2i.storage.files import require_free, write_atomically
from i2i.storage.runs import weight_file
from i2i.timing import in_turns

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
LARGEST_DIFFERENCE = 1e-3
"""Between an exported file and the model, in [-1, 1]: an eighth of a step of 8 bits."""
LARGEST_MEAN_OF_INT8 = 8.0
"""Between outputs of the model and of 8-bit integers, of 255 on average; with more, they are other images."""
FEWEST = 4
"""Images for 8-bit integers: half of them are calibrated on, and the others compared."""
ROOM = 1.6
"""So many times the memory of the tensors was the most that onnxruntime took for a whole image (ResNet and U-Net)."""
TIMED_SIDE, WARM_UP, TURNS = 256, 2, 5
Translate = Callable[[Values], Values]
"""Translates images (N, C, H, W) in [-1, 1], any H and W."""


@dataclass(frozen=True)
class Apart:
    """How far the outputs of two forms of a model are apart on some images, of the 2 that there are from -1 to 1."""

    largest: float
    mean: float
    images: int

    def __str__(self) -> str:
        return f"{255 / 2 * self.mean:.2g} of 255 on average and {255 / 2 * self.largest:.2g} at most"


@dataclass(frozen=True)
class Price:
    """What 8-bit integers change: bytes and milliseconds for an image, before and after."""

    bytes: tuple[int, int]
    milliseconds: tuple[float, float]


@dataclass(frozen=True)
class Exported:
    """A file that was written, what it says of itself, and the price of 8-bit integers where it has them."""

    path: Path
    about: About
    apart: Apart
    price: Price | None = None


def export_model(
    model: Path | None,
    images: Sequence[AnyPixels],
    *,
    form: Format = "onnx",
    int8: bool = False,
    output: Path | None = None,
    direction: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a generator as a graph, and compares it with the model.

    Args:
        model: a run folder or a weight file; the newest run by default.
        images: real images (H, W, C), on which the two are compared.
        form: of the file.
        int8: whether convolutions compute in 8-bit integers, calibrated on every second image.
        output: its name; by default that of the direction, beside the weights.
        direction: of the translation; the first by default.
        overwrite: whether an existing file is replaced.

    Raises:
        WeightsError: the model cannot be read.
        ConfigError: it does not translate, or not in this direction; or the graph translates otherwise than the model.
        DataError: the file exists or cannot be written, or packages are missing.
    """
    if form == "onnx":
        require_packages("an export to ONNX", "onnx", "onnxscript", "onnxruntime", extra="export")
    elif int8:
        raise ConfigError(f"8-bit integers are for ONNX files, and not for {form}: use --format onnx")
    if int8 and len(images) < FEWEST:
        raise ConfigError(
            f"8-bit integers are calibrated on real images, {FEWEST} at least, and here are {len(images)}"
        )
    weights = weight_file(model)
    translator, digest = read_with_digest(weights, lambda: load_translator(model, device="cpu", fastest=False))
    direction = translator.check_direction(direction)
    output = output or weights.with_name(f"{direction}{'-int8' if int8 else ''}{SUFFIXES[form]}")
    require_free(output, overwrite=overwrite)
    with TemporaryDirectory(prefix="i2i-export-") as folder:
        plain = write_graph(translator, direction, form, digest, images, Path(folder) / "plain")
        done = write_int8(translator, direction, plain, images, Path(folder) / "int8") if int8 else plain
        write_atomically(output, done.path.read_bytes(), overwrite=overwrite)
    return replace(done, path=output)


def write_graph(
    translator: Translator, direction: str, form: Format, weights: str, images: Sequence[AnyPixels], path: Path
) -> Exported:
    """Writes a graph to ``path``; ``weights`` is the SHA-256 of the file that it comes from.

    Raises:
        ConfigError: it translates otherwise than the model.
    """
    graph = Graph(translator.method.directions()[direction], cut=form == "onnx")
    about = describe(translator, direction, graph, weights)
    say(f"tracing {direction} of {translator.config.arch}")
    save = traced(graph, form, about)
    if form == "onnx":
        parts = tuple(graph.cuts.parts) if graph.cuts else ()
        about = replace(about, parts=parts, bytes_of_a_pixel=ROOM * translator.memory.of_a_pixel(direction))
    save(path, about)
    found = difference(translator, direction, read(path, form, about), images)
    if not found.largest <= LARGEST_DIFFERENCE:  # nor where it is NaN
        raise ConfigError(
            f"{form} translates otherwise than the model, by up to {found.largest:.2g} where {LARGEST_DIFFERENCE:g} is "
            "allowed: nothing was written, try another --format"
        )
    about = compared(about, found)
    save(path, about)
    return Exported(path, about, found)


def write_int8(
    translator: Translator, direction: str, plain: Exported, images: Sequence[AnyPixels], path: Path
) -> Exported:
    """Writes the ONNX file ``plain`` to ``path`` in 8-bit integers.

    Raises:
        ConfigError: outputs are too far from those of the model to be of use.
    """
    quantize(plain.path, plain.about, images[::2], path)
    about = replace(plain.about, precision="int8", parts=())  # it has other values between its layers
    describe_file(path, about)
    forms = {"fp32": read(plain.path, "onnx", about), "int8": read(path, "onnx", about)}
    found = difference(translator, direction, forms["int8"], images[1::2])
    if not 255 / 2 * found.mean <= LARGEST_MEAN_OF_INT8:
        raise ConfigError(
            f"8-bit integers differ from the model by {found}, where {LARGEST_MEAN_OF_INT8:g} on average is allowed: "
            "nothing was written, export without --int8"
        )
    about = compared(about, found)
    describe_file(path, about)
    times = milliseconds(forms, about.channels[0])
    sizes = plain.path.stat().st_size, path.stat().st_size
    return Exported(path, about, found, Price(sizes, (times["fp32"], times["int8"])))


def describe(translator: Translator, direction: str, graph: Graph, weights: str) -> About:
    """What an exported file says of itself; ``weights`` is the SHA-256 of the file that it comes from."""
    config = translator.config
    given, made = (ValueRange(depth.kind, depth.low, depth.high) for depth in translator.depths(direction))
    return About(
        arch=config.arch,
        direction=direction,
        step=translator.step,
        weights=weights,
        image_size=config.image_size,
        channels=graph.channels,
        given=given,
        made=made,
        multiple=graph.multiple,
        minimum=graph.minimum,
        background=config.images.background,
        seed=config.inference.seed,
        draws=graph.draws,
    )


def compared(about: About, found: Apart) -> About:
    """The same with how far it is from the model."""
    return replace(about, largest_difference=found.largest, mean_difference=found.mean, compared=found.images)


def difference(translator: Translator, direction: str, other: Translate, images: Sequence[AnyPixels]) -> Apart:
    """How far another form of the model is from it, on images that are cut to four sizes."""
    depth = translator.depths(direction)[0]
    largest, total, values = 0.0, 0.0, 0
    for number, pixels in enumerate(tracked("comparing", len(images))(images)):
        height, width = (side - number % 4 * side // 7 for side in pixels.shape[:2])
        unit = to_unit(pixels[:height, :width], ValueRange(depth.kind, depth.low, depth.high))
        apart = np.abs(other(unit) - translator.translate(torch.from_numpy(unit), direction).numpy())
        largest = float(np.maximum(largest, apart.max()))  # keeps a NaN
        total, values = total + float(apart.sum(dtype=np.float64)), values + apart.size
    return Apart(largest, total / max(values, 1), len(images))


def milliseconds(forms: Mapping[str, Translate], channels: int) -> dict[str, float]:
    """What an image of 256 x 256 pixels takes in each form: the shortest of some turns."""
    image = np.random.default_rng(0).uniform(-1, 1, (1, channels, TIMED_SIDE, TIMED_SIDE)).astype(np.float32)

    def translating(translate: Translate) -> Callable[[int], Values]:
        for _ in range(WARM_UP):
            translate(image)
        return lambda turn: translate(image)

    seconds = in_turns({name: translating(form) for name, form in forms.items()}, TURNS, label="timing")
    return {name: 1000 * min(each) for name, each in seconds.items()}
