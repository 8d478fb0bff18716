"""YAML as settings are written in it: a tree of plain values, of bounded size and depth, from whoever wrote it.

Plain words are read as YAML 1.2 reads them, so that ``010``, ``1:30``, ``no`` and ``2024-01-01`` are text and no octal
number, no seconds, no boolean and no date. Tags are refused, keys are text, and no key stands twice.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

LARGEST = 100_000
"""How much a tree may hold: each value counts one, and one more for each ``TEXT`` characters of it."""
TEXT = 16
DEEPEST = 32
SHORT = 10_000
"""Characters of a text that is composed once: a command reads its recipe several times."""

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
"""What a plain word can be beside text, and the characters that it then begins with."""


class NotSettings(ValueError):
    """A text is no such YAML; says why, and in which line."""


def parse(text: str) -> Any:
    """The value that ``text`` writes down.

    Raises:
        NotSettings: it is not YAML, or more or other than settings need.
    """
    try:
        node = _kept(text) if len(text) <= SHORT else _composed(text)
        return None if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context
        raise NotSettings(f"{problem}" if mark is None else f"line {mark.line + 1}: {problem}"[:200]) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise NotSettings(" ".join(str(error).split())[:200]) from None


def _composed(text: str) -> Node | None:
    return _Loader(text).get_single_node()


_kept = lru_cache(32)(_composed)


def dump(tree: Any) -> str:
    """``tree`` as YAML that ``parse`` reads back; text that another reader could take for a number is quoted."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=100)


class _Loader(yaml.SafeLoader):
    """Composes nodes, counted with those that aliases repeat."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's name and type; filled below)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._held = self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"settings have no tags such as {event.tag[:80]}", event)
        before = self._held
        self._depth += 1
        self._add(1 + len(getattr(event, "value", "")) // TEXT, event)
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise _refusal(f"*{event.anchor} holds itself", event)
            self._add(self._sizes[id(node)], event)
        elif isinstance(node, MappingNode):
            _require_plain_keys(node)
        self._sizes[id(node)] = self._held - before
        self._depth -= 1
        return node

    def _add(self, size: int, event: yaml.Event) -> None:
        self._held += size
        if self._held > LARGEST:
            raise _refusal("more than settings can be", event)
        if self._depth > DEEPEST:
            raise _refusal(f"nested deeper than {DEEPEST} levels", event)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for something else than text."""


for _kind, (_pattern, _first) in _KINDS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _require_plain_keys(node: MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise _refusal("a key is no plain text", key)
        if key.value in seen:
            raise _refusal(f"the key {key.value[:80]} is there twice", key)
        seen.add(key.value)


def _value(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key.value: _value(value) for key, value in node.value}
    if not isinstance(node, ScalarNode):
        return [_value(item) for item in node.value]
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
