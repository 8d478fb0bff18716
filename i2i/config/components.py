"""Named components (networks, methods): a class announces its name, and its keyword-only parameters are its settings.

To add a component, add a file, or an extension (``i2i/extensions.py``): the packages are walked, and there is no list
to edit. The annotated signature is the only place that defines a setting's type, range and default.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from i2i.errors import ConfigError
from i2i.extensions import load_extensions

Count = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
"""An integer of at least 1; 4.0 and true are not taken for one."""
Repeats = Annotated[int, Field(ge=1, le=256, strict=True)]
"""How often a network repeats a part. Building one takes time and memory before any weight does."""
Width = Annotated[int, Field(ge=1, le=65_536, strict=True)]
"""Channels of a feature map, or features of a layer."""
Weight = Annotated[float, Field(ge=0, le=1e9)]
"""A number of at least 0."""


class Component(ABC):
    """Mixin of a family's base class (``Translator``, ``Method``): keeps the family's members by name."""

    family: ClassVar[str]
    package: ClassVar[str]
    name: ClassVar[str]
    members: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, *, name: str | None = None, family: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family is not None:
            cls.family, cls.package, cls.members = family, cls.__module__.rpartition(".")[0], {}
        if name is not None:
            cls._require_free(name)
            cls.name = name
            cls.members[name] = cls

    @classmethod
    def _require_free(cls, name: str) -> None:
        other = cls.members.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(
                f"{cls.family} {name!r} is defined twice, as {other.__module__}.{other.__qualname__} and as "
                f"{cls.__module__}.{cls.__qualname__}: give one of them another name"
            )

    @classmethod
    def named(cls, name: str) -> type[Self]:
        """The member called ``name``.

        Raises:
            ConfigError: no member of this family has that name.
        """
        members = cls.found()
        if name not in members:
            raise ConfigError(
                f"there is no {cls.family} {name!r}; known: {', '.join(sorted(members))}; what is not part of i2i "
                "has to be imported first"
            )
        found = members[name]
        if missing := getattr(found, "__abstractmethods__", ()):
            raise ConfigError(f"{cls.family} {name} lacks {', '.join(sorted(missing))}")
        return found

    @classmethod
    def found(cls) -> dict[str, type[Self]]:
        """The members of this family by name: of its package of i2i, of extensions, and what else was imported."""
        if cls.package.partition(".")[0] != __name__.partition(".")[0]:
            return cls.members
        for module in pkgutil.iter_modules(importlib.import_module(cls.package).__path__):
            importlib.import_module(f"{cls.package}.{module.name}")
        load_extensions()
        return cls.members

    @classmethod
    def schema(cls) -> type[BaseModel]:
        """A strict pydantic model of the keyword-only parameters; those annotated ``Callable`` are not settings."""
        hints = get_type_hints(cls.__init__, include_extras=True)
        fields: dict[str, Any] = {
            key: (hints[key], ... if parameter.default is parameter.empty else parameter.default)
            for key, parameter in cls._keywords().items()
            if get_origin(hints[key]) is not Callable
        }
        return create_model(f"{cls.__name__}Settings", __config__=ConfigDict(extra="forbid", strict=False), **fields)

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        """Which settings have no effect beside the others, each with the way out; a run that sets one is refused.

        Args:
            settings: all settings of this component.
            method: those of the method.
        """
        return {}

    @classmethod
    def parts(cls) -> dict[str, type[Any]]:
        """The components that this one is built from: parameter name to the family, of ``Callable[..., Family]``."""
        hints = get_type_hints(cls.__init__)
        return {key: get_args(hints[key])[1] for key in cls._keywords() if get_origin(hints[key]) is Callable}

    @classmethod
    def _keywords(cls) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters of the constructor.

        Raises:
            ConfigError: parameters that cannot be read as settings.
        """
        if cls.__init__.__module__ == "torch.nn.modules.module":
            raise ConfigError(f"{cls.family} {cls.name} has no constructor of its own: give it one")
        found = inspect.signature(cls.__init__).parameters
        annotated = get_type_hints(cls.__init__)
        for key, parameter in found.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                raise ConfigError(f"{cls.family} {cls.name}: its constructor has to name its settings, not **{key}")
        keywords = {key: parameter for key, parameter in found.items() if parameter.kind is parameter.KEYWORD_ONLY}
        for key in keywords:
            if key not in annotated:
                raise ConfigError(f"{cls.family} {cls.name}: setting {key} needs an annotation")
            if key == "name":
                raise ConfigError(f"{cls.family} {cls.name}: name is that of the class: call the setting otherwise")
        return keywords


def without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A copy of ``mapping`` that lacks ``keys``."""
    return {key: value for key, value in mapping.items() if key not in keys}
