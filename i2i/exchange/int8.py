"""Convolutions in 8-bit integers: an ONNX file whose ranges of values are measured on real images.

All else, the norms above all, stays in fp32. Weights take 7 of the 8 bits: CPUs without instructions for 8-bit products
(VNNI) saturate on 8, and a file should translate alike on all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from i2i.data.ranges import Values
from i2i.display import tracked
from i2i.kinds import AnyPixels
from i2i.runtime import KEY, About, inputs_for, pad_to, to_unit, without_telemetry

CONVOLUTIONS = ["Conv", "ConvTranspose"]


class _Inputs:
    """What onnxruntime calibrates on: the inputs of the graph for each image."""

    def __init__(self, about: About, images: Sequence[AnyPixels]) -> None:
        self._inputs = iter(tracked("calibrating", len(images))(self._each(about, images)))

    @staticmethod
    def _each(about: About, images: Sequence[AnyPixels]) -> Iterator[dict[str, Values]]:
        for pixels in images:
            yield inputs_for(about, pad_to(to_unit(pixels, about.given), about.multiple, about.minimum), about.seed)

    def get_next(self) -> dict[str, Values] | None:
        """The next inputs; None at the end."""
        return next(self._inputs, None)


def quantize(path: Path, about: About, images: Sequence[AnyPixels], output: Path) -> None:
    """Writes the ONNX file ``path`` to ``output`` with convolutions in 8-bit integers, calibrated on ``images``."""
    quantization = without_telemetry("onnxruntime.quantization")
    with _without_advice():
        quantization.quantize_static(
            path,
            output,
            _Inputs(about, images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=CONVOLUTIONS,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def describe_file(path: Path, about: About) -> None:
    """Lets the ONNX file say this of itself."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: about.to_json()})
    onnx.save(model, path)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Hides that onnxruntime proposes a pass of its own over the graph, through the root of all loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
