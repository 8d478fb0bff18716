"""Exported files of a few nodes; torch's exporter would take more time than the tests of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import NodeProto, TensorProto, save_model
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info

from i2i.data.images import WHITE
from i2i.exchange.int8 import describe_file
from i2i.runtime import IMAGES, TRANSLATED, About, ValueRange
from i2i.tiling.graph import GraphPart

WHOLE = GraphPart((IMAGES,), TRANSLATED, margin=0, grid=1, norms=())
"""The only part of a graph in which each pixel depends on itself alone."""


def exported(path: Path, nodes: Sequence[NodeProto], parts: tuple[GraphPart, ...] | None = None) -> Path:
    """A file of these nodes, with ``parts`` for tiles."""
    sides = ("N", 3, "H", "W")
    images, made = (make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in (IMAGES, TRANSLATED))
    graph = make_graph(nodes, path.stem, [images], [made])
    save_model(make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10), path)
    about = About("cyclegan", "AtoB", 6, "", 16, (3, 3), ValueRange(), ValueRange(), 1, 1, WHITE, 0, parts=parts)
    describe_file(path, about)
    return path
