"""Exports a generator as a file that runs without i2i's networks: ONNX, TorchScript, or PyTorch's own PT2.

What is drawn at random (dropout masks, noise) is an input of the graph, so that every size gets what the model itself
would draw. A file is kept only if, read again, it translates real images as the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from i2i.data.images import Pixels
from i2i.display import say, tracked
from i2i.errors import ConfigError
from i2i.exchange.graphs import Format, Graph, read, traced
from i2i.inference.load import load_translator
from i2i.inference.outputs import digest_of_file
from i2i.inference.translator import Translator
from i2i.needs import require_packages
from i2i.runtime import About, Values, to_unit
from i2i.storage.files import require_free, write_atomically
from i2i.storage.runs import weight_file

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
LARGEST_DIFFERENCE = 1e-3
"""Between an exported file and the model, in [-1, 1]: an eighth of a step of 8 bits."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what it says of itself."""

    path: Path
    about: About


def export_model(
    model: Path | None,
    images: Sequence[Pixels],
    *,
    form: Format = "onnx",
    output: Path | None = None,
    direction: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a generator as a graph, and compares it with the model.

    Args:
        model: a run folder or a weight file; the newest run by default.
        images: real images (H, W, C), on which the two are compared.
        form: of the file.
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
    weights = weight_file(model)
    translator = load_translator(model, device="cpu", fastest=False)
    direction = translator.check_direction(direction)
    if not translator.config.images.is_plain:
        raise ConfigError(f"{weights}: exported models take 8-bit images, and this one does not: use i2i translate")
    output = output or weights.with_name(f"{direction}{SUFFIXES[form]}")
    require_free(output, overwrite=overwrite)
    graph = Graph(translator.method.directions()[direction])
    about = describe(translator, direction, graph, digest_of_file(weights)[1])
    say(f"tracing {direction} of {translator.config.arch}")
    save = traced(graph, form, about)
    with TemporaryDirectory(prefix="i2i-export-") as folder:
        file = Path(folder) / output.name
        save(file, about)
        worst = largest_difference(translator, direction, read(file, form, about), images)
        if not worst <= LARGEST_DIFFERENCE:  # nor where it is NaN
            raise ConfigError(
                f"{form} translates otherwise than the model, by up to {worst:.2g} where {LARGEST_DIFFERENCE:g} is "
                "allowed: nothing was written, try another --format"
            )
        about = replace(about, largest_difference=worst, compared=len(images))
        save(file, about)
        write_atomically(output, file.read_bytes(), overwrite=overwrite)
    return Exported(output, about)


def describe(translator: Translator, direction: str, graph: Graph, weights: str) -> About:
    """What an exported file says of itself; ``weights`` is the SHA-256 of the file that it comes from."""
    config = translator.config
    return About(
        arch=config.arch,
        direction=direction,
        step=translator.step,
        weights=weights,
        channels=graph.channels,
        multiple=graph.multiple,
        minimum=graph.minimum,
        background=config.images.background,
        seed=config.inference.seed,
        draws=graph.draws,
    )


def largest_difference(
    translator: Translator, direction: str, exported: Callable[[Values], Values], images: Sequence[Pixels]
) -> float:
    """The largest difference between model and exported file in [-1, 1], on images that are cut to four sizes."""
    worst = 0.0
    for number, pixels in enumerate(tracked("comparing", len(images))(images)):
        height, width = (side - number % 4 * side // 7 for side in pixels.shape[:2])
        unit = to_unit(pixels[:height, :width])
        whole = translator.translate(torch.from_numpy(unit), direction).numpy()
        worst = float(np.maximum(worst, np.abs(exported(unit) - whole).max()))
    return worst
