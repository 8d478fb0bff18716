"""All forms of a translator side by side: what each takes on the disk and in time, and how far it is from the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from i2i.config.schema import Precision
from i2i.data.ranges import Values
from i2i.device import machine
from i2i.display import counted, warn
from i2i.errors import ConfigError
from i2i.exchange.export import (
    FEWEST,
    SUFFIXES,
    TIMED_SIDE,
    Apart,
    Exported,
    Translate,
    difference,
    milliseconds,
    write_graph,
    write_int8,
)
from i2i.exchange.graphs import Format, read
from i2i.inference.load import load_translator
from i2i.inference.outputs import digest_of_file
from i2i.inference.translator import Translator
from i2i.kinds import AnyPixels
from i2i.needs import require_packages
from i2i.storage.runs import weight_file

WEIGHTS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Row:
    """A form: its bytes on the disk, the milliseconds of an image, and its distance to torch's layers in fp32."""

    form: str
    bytes: int
    milliseconds: float
    apart: Apart


@dataclass(frozen=True)
class Forms:
    """The forms of a translator in one direction."""

    title: str
    rows: Sequence[Row]

    def lines(self) -> Iterator[str]:
        """It for people: a table in Markdown."""
        yield f"{self.title}; {machine()}, CPU threads: {torch.get_num_threads()}"
        yield ""
        yield f"| | MB | ms an image of {TIMED_SIDE} px | difference of 255: mean | largest |"
        yield "|---|---|---|---|---|"
        for row in self.rows:
            mean, largest = (f"{255 / 2 * value:.2g}" for value in (row.apart.mean, row.apart.largest))
            yield f"| {row.form} | {row.bytes / 1e6:.2f} | {row.milliseconds:.0f} | {mean} | {largest} |"

    def content(self) -> dict[str, Any]:
        """It for programs."""
        return {"title": self.title, "machine": machine(), "rows": [asdict(row) for row in self.rows]}

    def to_json(self) -> bytes:
        """``content`` as a file."""
        return json.dumps(self.content(), indent=1).encode()


def compare_forms(model: Path | None, images: Sequence[AnyPixels], direction: str | None = None) -> Forms:
    """Exports a model in every form to a folder that is removed, and compares them.

    Args:
        model: a run folder or a weight file; the newest run by default.
        images: real images (H, W, C); every second of them is compared for 8-bit integers, calibrated on the others.
        direction: of the translation; the first by default.

    Raises:
        WeightsError: the model cannot be read.
        ConfigError: it does not translate, or not in this direction.
        DataError: packages are missing.
    """
    require_packages("the comparison of forms", "onnx", "onnxscript", "onnxruntime", extra="export")
    weights = weight_file(model)
    translator = load_translator(model, device="cpu", fastest=False)
    direction = translator.check_direction(direction)
    with TemporaryDirectory(prefix="i2i-forms-") as folder:
        found = [_by_weights(translator, direction, precision, weights, images) for precision in WEIGHTS]
        found += _exported(translator, direction, weights, images, Path(folder))
        times = milliseconds({form.name: form.translate for form in found}, translator.channels(direction)[0])
    rows = [Row(form.name, form.bytes, times[form.name], form.apart) for form in found]
    return Forms(f"{direction} of {translator.config.arch}, compared on {counted(len(images), 'image')}", rows)


@dataclass(frozen=True)
class _Form:
    name: str
    bytes: int
    apart: Apart
    translate: Translate


def _by_weights(
    translator: Translator, direction: str, precision: Precision, weights: Path, images: Sequence[AnyPixels]
) -> _Form:
    """The weight file, of all directions, as ``i2i translate`` computes with it."""
    fast = translator.faster(direction, precision)

    def translate(unit: Values) -> Values:
        return fast.translate(torch.from_numpy(unit), direction).numpy()

    apart = difference(translator, direction, translate, images)
    return _Form(f"safetensors, {precision}", weights.stat().st_size, apart, translate)


def _exported(
    translator: Translator, direction: str, weights: Path, images: Sequence[AnyPixels], folder: Path
) -> Iterator[_Form]:
    digest = digest_of_file(weights)[1]
    for form, suffix in SUFFIXES.items():
        try:
            done = write_graph(translator, direction, form, digest, images, folder / f"graph{suffix}")
            yield _of_file(form, form, done)
            if form == "onnx" and len(images) >= FEWEST:
                int8 = write_int8(translator, direction, done, images, folder / f"int8{suffix}")
                yield _of_file("onnx, int8", form, int8)
        except ConfigError as error:
            warn(f"left out: {error}")


def _of_file(name: str, form: Format, done: Exported) -> _Form:
    return _Form(name, done.path.stat().st_size, done.apart, read(done.path, form, done.about))
