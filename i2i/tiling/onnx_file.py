"""Cuts the graph of an ONNX file, so that a part of it can be computed alone; needs no other package.

Only the names of nodes and values are read (onnx.proto, encoded as in protobuf.dev/programming-guides/encoding); nodes
and weights are copied as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""How protobuf stores a value."""
GRAPH, METADATA = 7, 14
"""Fields of a model."""
NODE, NAME, WEIGHTS, GIVEN, MADE = 1, 2, 5, 11, 12
"""Fields of a graph. The others describe it, and values that a part may lack."""
NODE_INPUT, NODE_OUTPUT, WEIGHTS_NAME, VALUE_NAME = 1, 2, 8, 1
"""Fields of a node, of weights, and of an input or output."""
FLOATS = b"\x12\x04\x0a\x02\x08\x01"
"""The type of a value: a tensor of float32, of any shape."""


class Node(NamedTuple):
    """A node of a graph, and its bytes."""

    inputs: list[str]
    outputs: list[str]
    content: bytes


class OnnxFile:
    """The graph of an ONNX file.

    Raises:
        ValueError: it is damaged.
    """

    def __init__(self, content: bytes) -> None:
        self._around, self._nodes = b"", list[Node]()
        self._weights, self._given = dict[str, memoryview](), dict[str, bytes]()
        for number, whole, value in _fields(memoryview(content)):
            if number == GRAPH:
                self._read(value)
            elif number != METADATA:
                self._around += bytes(whole)

    def _read(self, graph: memoryview) -> None:
        for number, whole, value in _fields(graph):
            if number == NODE:
                names = [(kind, _text(name)) for kind, _, name in _fields(value) if kind in (NODE_INPUT, NODE_OUTPUT)]
                inputs, outputs = ([name for kind, name in names if kind == one] for one in (NODE_INPUT, NODE_OUTPUT))
                self._nodes.append(Node(inputs, outputs, bytes(whole)))
            elif number == WEIGHTS:
                self._weights[_name(value, WEIGHTS_NAME)] = whole
            elif number == GIVEN:
                self._given[_name(value, VALUE_NAME)] = bytes(whole)

    def part(self, given: Collection[str], made: str) -> tuple[bytes, list[str]]:
        """An ONNX file that computes the value ``made`` from some of the values ``given``, and its inputs.

        Inputs of the whole graph are inputs of the part too, where it needs them.

        Raises:
            ValueError: the graph does not say how.
        """
        makers = {name: number for number, node in enumerate(self._nodes) for name in node.outputs if name}
        nodes, inputs, weights = set[int](), list[str](), list[memoryview]()
        open_, seen = [made], set[str]()
        while open_:
            name = open_.pop()
            if name in seen or not name:  # an input that is left out has no name
                continue
            seen.add(name)
            if name in given or name in self._given:
                inputs.append(name)
            elif name in self._weights:
                weights.append(self._weights[name])
            elif name in makers:
                nodes.add(makers[name])
                open_ += self._nodes[makers[name]].inputs
            else:
                raise ValueError(f"no node makes {name}")
        graph = [self._nodes[number].content for number in sorted(nodes)]
        graph += [_field(NAME, b"part"), *map(bytes, weights)]
        graph += [self._given.get(name) or _field(GIVEN, _value(name)) for name in inputs]
        graph += [_field(MADE, _value(made))]
        return self._around + _field(GRAPH, b"".join(graph)), inputs


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The fields of a message: the number, all of its bytes, and those of the value.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(message):
        begin = at
        key, at = _varint(message, at)
        if key & 7 == WITH_LENGTH:
            length, at = _varint(message, at)
            end = at + length
        elif key & 7 == VARINT:
            end = _varint(message, at)[1]
        elif key & 7 in (FOUR_BYTES, EIGHT_BYTES):
            end = at + (4 if key & 7 == FOUR_BYTES else 8)
        else:
            raise ValueError("no protobuf")
        if end > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[begin:end], message[at:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at this place, and the place after it."""
    value = shift = 0
    while at < len(message) and shift < 64:
        value |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 128:
            return value, at
    raise ValueError("cut short")


def _name(message: memoryview, field: int) -> str:
    return next((_text(value) for number, _, value in _fields(message) if number == field), "")


def _text(value: memoryview) -> str:
    return str(value, "utf-8")


def _value(name: str) -> bytes:
    """A value of float32 with this name."""
    return _field(VALUE_NAME, name.encode()) + FLOATS


def _field(number: int, value: bytes) -> bytes:
    """A field with its length."""
    return _number(number << 3 | WITH_LENGTH) + _number(len(value)) + value


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
