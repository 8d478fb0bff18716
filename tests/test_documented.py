"""Commands, settings and Python of README and docs exist; ``python -m tests.documented`` runs the commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import i2i as package
from i2i.config.components import Component
from i2i.config.explain import known_keys
from i2i.config.resolve import read_recipe, recipe_names, resolve_config
from i2i.config.schema import Config, OptimizerConfig
from i2i.errors import ConfigError
from i2i.methods.base import Method
from i2i.networks.base import Discriminator, Generator, PatchDiscriminator, Translator

from .documented import ROOT, Shown, documents, require_known, shown_commands

SECTIONS = "|".join(Config.model_fields)
SETTING = re.compile(rf"(?<![\w./*-])((?:{SECTIONS})(?:\.\w+)+)(?:=(\[[^\]]*\]|[^\s`,;)]*\w))?(?![\w*./])")
NOT_SETTINGS = {"method.augmentation"}
"""Attributes in Python."""


def test_every_documented_command_exists() -> None:
    wrong = []
    for shown in shown_commands():
        try:
            require_known(shown)
        except Exception as error:  # of click, of the schema, or our own
            wrong.append(f"{shown.place}: {shown.text}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "i2i trian",
        "i2i train --arhc gan",
        "i2i train --arch gan --set method.latnet=3",
        "pip install 'i2i[evil]'",
        "rm x",
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no command|no such option|unknown key|no extra|nobody knows"):
        require_known(Shown("here", text))


def _documented_settings() -> Iterator[tuple[str, str, str | None]]:
    for path in documents():
        if path.parent.name == "benchmarks":
            continue  # settings of their time
        for code in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8")):
            for key, value in SETTING.findall(code):
                if key not in NOT_SETTINGS and not re.search(r"[A-Z]", key):
                    yield str(path.relative_to(ROOT)), key, None if value.isupper() else value or None


def _all_keys() -> set[str]:
    """The keys of every recipe, method, network and optimiser."""
    keys = set(known_keys(Config))
    players = {player for name in recipe_names() for player in read_recipe(name)["optimizers"]}
    keys |= {f"optimizers.{player}" for player in players}
    keys |= {f"optimizers.{player}.{key}" for player in players for key in OptimizerConfig.model_fields}
    families: dict[str, tuple[type[Component], ...]] = {
        "method": (Method,),
        "networks.generator": (Translator, Generator),
        "networks.discriminator": (PatchDiscriminator, Discriminator),
    }
    for path, members in families.items():
        fields = [key for family in members for each in family.found().values() for key in each.schema().model_fields]
        keys |= {path, f"{path}.name", *(f"{path}.{key}" for key in fields)}
    return keys


def test_every_documented_setting_exists() -> None:
    keys, recipes = _all_keys(), ["cyclegan", "pix2pix", "dcgan", *recipe_names()]  # first those that are named most
    wrong = []
    for file, key, value in dict.fromkeys(_documented_settings()):
        if key not in keys:
            wrong.append(f"{file}: {key}")
        elif value is not None and not any(_takes(recipe, f"{key}={value}") for recipe in recipes):
            wrong.append(f"{file}: {key}={value}")
    assert not wrong, "\n".join(wrong)


def _takes(recipe: str, assignment: str) -> bool:
    """Whether a recipe has this setting, and the value is one; it may need others beside it."""
    try:
        resolve_config(recipe, assignments=[assignment])
    except ConfigError as error:
        return re.search(r"unknown key|is not allowed|there is no", str(error)) is None
    return True


def test_documented_python_is_valid_and_uses_public_names() -> None:
    for path in documents():
        for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "i2i":
                    assert node.attr in package.__all__, f"{path}: i2i.{node.attr}"
