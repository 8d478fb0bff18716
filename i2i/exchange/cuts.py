"""Where the graph of a generator is cut, so that a file translates by tiles.

The generator is traced part by part (``Translator.parts_for_tiles``), which is the same function. The maps between
parts, and what norms over the whole map are given and make, become outputs, so that the values have names; as outputs
they are removed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from i2i.inference.whole_layers import WholeNorm, whole_norm
from i2i.networks.base import IMAGE, Translator
from i2i.runtime import IMAGES, TRANSLATED
from i2i.tiling.graph import GraphNorm, GraphPart

if TYPE_CHECKING:
    import onnx_ir


class Cuts:
    """A generator that is called part by part, and the names of the values between them.

    Attributes:
        parts: those of the last call.
        values: those of the last call that have names, but for input and output.
    """

    def __init__(self, generator: Translator) -> None:
        self.parts = list[GraphPart]()
        self.values = list[Tensor]()
        self._norms = list[GraphNorm]()
        layers = [(parent, name, layer) for parent in generator.modules() for name, layer in parent.named_children()]
        norms = [(parent, name, whole) for parent, name, layer in layers if (whole := whole_norm(layer)) is not None]
        for number, (parent, name, whole) in enumerate(norms):
            parent.register_module(name, _NamedNorm(whole, number, self))
        self._generator = generator

    def __call__(self, images: Tensor) -> Tensor:
        """What the generator makes of images: (N, C, H, W)."""
        self.parts, self.values = [], []
        maps, names, made = {IMAGE: images}, {IMAGE: IMAGES}, images
        parts = self._generator.parts_for_tiles()
        for part in parts:
            self._norms = []
            made = part.compute(*(maps[name] for name in part.inputs))
            inputs = tuple(names[name] for name in part.inputs)
            maps[part.output] = made
            names[part.output] = TRANSLATED if part is parts[-1] else self.name(made)
            self.parts.append(GraphPart(inputs, names[part.output], part.margin, part.grid, tuple(self._norms)))
        return made

    @property
    def names(self) -> list[str]:
        """Those of ``values``."""
        return [_name(number) for number in range(len(self.values))]

    def take_back(self, model: onnx_ir.Model) -> None:
        """Removes the named values from the outputs of ``model``, and calls them in ``parts`` as they are called there.

        Where parts compute the same, the exporter has merged it: there is one value for several names.
        """
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        found = {str(value.name): str(_origin(value).name) for value in model.graph.outputs[1:]}
        del model.graph.outputs[1:]
        RemoveUnusedNodesPass()(model)
        self.parts = [part.renamed(found) for part in self.parts]
        self.values = []

    def name(self, value: Tensor) -> str:
        """The name of a value."""
        number = next((number for number, other in enumerate(self.values) if other is value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return _name(number)

    def normalised(self, norm: WholeNorm, number: int, given: Tensor, made: Tensor) -> None:
        """Notes that a norm makes ``made`` from ``given``, before its factors."""
        self._norms.append(GraphNorm(number, self.name(given), self.name(made), norm.eps, norm.over_channels))


class _NamedNorm(nn.Module):
    """A norm that tells what it normalises, and what that becomes without its factors."""

    def __init__(self, norm: WholeNorm, number: int, cuts: Cuts) -> None:
        super().__init__()
        self.norm, self._number, self._cuts = norm, number, cuts

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to the same shape."""
        norm = self.norm
        y = _normalised(x, norm.eps, over_channels=norm.over_channels)
        self._cuts.normalised(norm, self._number, x, y)
        if norm.weight is not None and norm.bias is not None:
            y = y * norm.weight[:, None, None] + norm.bias[:, None, None]
        return y


def _normalised(x: Tensor, eps: float, *, over_channels: bool) -> Tensor:
    """The norm by means over rows, and then over those.

    onnxruntime's own sums a whole map in float32, one value after the other: of 1,536 x 1,536 pixels it is far off.
    """

    def mean(values: Tensor) -> Tensor:
        of_maps = values.mean(3, keepdim=True).mean(2, keepdim=True)
        return of_maps.mean(1, keepdim=True) if over_channels else of_maps

    apart = x - mean(x)
    return apart * (mean(apart.square()) + eps).rsqrt()


def _origin(value: onnx_ir.Value) -> onnx_ir.Value:
    """What a value is a copy of."""
    node = value.producer()
    copied = node.inputs[0] if node is not None and node.op_type == "Identity" else None
    return value if copied is None else _origin(copied)


def _name(number: int) -> str:
    return f"map_{number}"
