"""What tells a run from others: the settings that differ from its recipe."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from i2i.config.explain import leaves
from i2i.config.resolve import resolve_config
from i2i.config.schema import Config
from i2i.display import one_line
from i2i.errors import ConfigError

TOLD_BY = ("arch", "about", "paper", "data.path", "data.a", "data.b")
"""Settings that are said in other words."""


class Changed(NamedTuple):
    """A setting's value in a run and in its recipe; None in a recipe that has no such setting."""

    value: Any
    usual: Any


def apart_from_recipe(config: Config) -> dict[str, Changed]:
    """The settings that differ from the recipe's, by path; all of them where the recipe is no shipped one."""
    usual = _usual(config.arch)
    settings = leaves(config.model_dump(mode="json"))
    return {
        path: Changed(value, usual.get(path))
        for path, value in settings
        if path not in TOLD_BY and value != usual.get(path)
    }


@cache
def _usual(arch: str) -> dict[str, Any]:
    """The settings of a recipe by path; none of one that is no shipped one."""
    try:
        return dict(leaves(resolve_config(arch).model_dump(mode="json")))
    except ConfigError:
        return {}


def telling_settings(config: Config) -> dict[str, str | float]:
    """What differs from the recipe, by path; then what everybody asks for: recipe, data, size, seed."""
    apart = {path: changed.value for path, changed in apart_from_recipe(config).items()}
    always = {"arch": config.arch, "data": config.data.name, "image_size": config.image_size}
    return {
        path: value if isinstance(value, int | float) else one_line(str(value))
        for path, value in (apart | always | {"training.seed": config.training.seed}).items()
    }
