"""Explains configurations: a one-line error, and the differences between two of them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from i2i.config.schema import Config
from i2i.errors import did_you_mean

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 80, 80


def shown(value: Any) -> str:
    """A value as it stands in a message: cut where it is long or deep."""
    return _SHORT.repr(value)


WAYS_OUT = {
    "ge": "set it to {} or more",
    "gt": "set it to more than {}",
    "le": "set it to {} or less",
    "lt": "set it to less than {}",
}
"""What to do about a number that is out of bounds."""
AUTO = "literal['auto']"
NAMED = 3
"""How many other problems a message names."""


def explain(error: ValidationError, prefix: str, schema: type[BaseModel]) -> str:
    """The first problem of a validation in one line, and where others are."""
    problems = error.errors()
    first = problems[0]
    keys = list(dict.fromkeys(_keys(problem["loc"]) for problem in problems))
    path, *others = [prefix + ".".join(key) or "the configuration" for key in keys[: 1 + NAMED]]
    if first["type"] == "extra_forbidden":
        known = [prefix + key for key in known_keys(schema)]
        message = f"unknown key {path}{did_you_mean(path, known)}"
    elif first["type"] == "missing":
        message = f"{path} is missing"
    elif first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")[:400]
    else:
        bounds = {key: value for key, value in first.get("ctx", {}).items() if key in WAYS_OUT}
        ways_out = [WAYS_OUT[key].format(value) for key, value in bounds.items()]
        why = ways_out[0] if ways_out else f"{first['msg'][0].lower()}{first['msg'][1:]}"
        or_auto = ", or auto" if any(AUTO in each["loc"] and _keys(each["loc"]) == keys[0] for each in problems) else ""
        message = f"{path}: {shown(first['input'])} is not allowed: {why}{or_auto}"
    more = f" and {len(keys) - 1 - NAMED} more" if len(keys) > 1 + NAMED else ""
    return message + (f" (also wrong: {', '.join(others)}{more})" if others else "")


def _keys(location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys of a location, in which a union's members appear too."""
    return tuple(str(part)[:80] for part in location if part not in ("constrained-int", AUTO))


def known_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted path of every setting and section of ``schema``; components have more."""
    for key, field in schema.model_fields.items():
        yield prefix + key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{key}.")


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and the value of every setting of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing_keys(one: Config, other: Config, ignoring: Sequence[str] = ()) -> list[str]:
    """Dotted paths of the settings in which two configurations differ, each with both values."""
    left, right = dict(leaves(one.model_dump(mode="json"))), dict(leaves(other.model_dump(mode="json")))
    differing = {path for path in left.keys() | right.keys() if left.get(path) != right.get(path)}
    paths = sorted(differing.difference(ignoring))
    return [f"{path} ({left.get(path)} against {right.get(path)})" for path in paths]
