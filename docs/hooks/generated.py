"""The parts of pages that are made from code when the site is built, so that they cannot be out of date.

Each function gives Markdown whose links start from the top of the repository. A LookupError names what a page asks for
and is not there.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
import griffe
import yaml
from links import ROOT

import i2i
from i2i.cli.entry import cli
from i2i.config.components import Component
from i2i.config.resolve import read_recipe, recipe_names, recipe_text
from i2i.config.schema import Config
from i2i.doctor import signs as sign_module
from i2i.doctor.sign import Sign
from i2i.methods.base import Method
from i2i.networks.base import Discriminator, Encoder, Generator, PatchDiscriminator, Translator

FAMILIES: tuple[tuple[str, str, type[Component]], ...] = (
    ("method", "", Method),
    ("networks.generator", "", Translator),
    ("networks.discriminator", "", PatchDiscriminator),
    ("networks.generator", ", from noise", Generator),
    ("networks.discriminator", ", of whole images", Discriminator),
    ("networks.encoder", "", Encoder),
)
NEEDS = {"unpaired": "two folders", "paired": "pairs", "one domain": "one folder"}
KEY = re.compile(r"(?<![\w.`-])(?:method|networks|optimizers|training|data|inference)\.[\w.*]*\w(?:=[\w.-]*\w)?")
"""A setting, or a setting with its value, in the comment of a recipe."""
PLAIN_PAGE = """# {name}

<!-- i2i: recipe {name} -->

## What differs from the paper

<!-- i2i: differences {name} -->

## Settings

<!-- i2i: method-settings {name} -->
"""
"""The page of a recipe for which nobody has written one."""


def readme(*heading: str) -> str:
    """The section of the README under a heading, without it; "introduction" is what stands before the first one."""
    wanted, level, fenced = " ".join(heading), 0, False
    taken: list[str] = []
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        depth = 0 if fenced else len(line) - len(line.lstrip("#"))
        if level and 0 < depth <= level:
            break
        if level:
            taken.append(line)
        elif depth and (line[depth:].strip() == wanted or wanted == "introduction"):
            level = 2 if wanted == "introduction" else depth
    if not taken:
        raise LookupError("the README has no such section")
    return "\n".join(taken)


def recipes() -> str:
    """A table of all recipes."""
    rows = [
        [f"[`{name}`](configs/{name}.yaml)", recipe["about"], NEEDS[_method(name).needs], _cited(recipe["paper"])]
        for name, recipe in ((name, read_recipe(name)) for name in recipe_names())
    ]
    return _table(["recipe", "what it is", "learns from", "paper"], rows)


def recipe(*names: str) -> str:
    """What some recipes are, their papers, and the commands that train them."""
    parts = []
    for name in names:
        about = _recipe(name)
        parts.append(
            f"**`{name}`**: {about['about']}; learns from {NEEDS[_method(name).needs]}.  \n{_cited(about['paper'])}"
        )
    commands = [f"i2i train --arch {name} --data FOLDER" for name in names]
    return "\n\n".join([*parts, _fence("sh", "\n".join(commands))])


def differences(name: str) -> str:
    """What the file of a recipe says of itself, then the file."""
    _recipe(name)
    lines = recipe_text(name).splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    comment = " ".join(line.removeprefix("#").strip() for line in lines[:length])
    return f"{_prose(comment)}\n\n{_fence('yaml', chr(10).join(lines[length:]))}"


def algorithm(name: str) -> str:
    """What the file of a method says of itself, after its title."""
    text = inspect.cleandoc(sys.modules[_member(Method, name).__module__].__doc__ or "").partition("\n\n")[2]
    return text.replace("\nDiffers", "\n\nDiffers")


def method_settings(*names: str) -> str:
    """The settings of the method of some recipes, with the value that each gives them."""
    method = _method(names[0])
    told = _told(method)
    values = {name: _defaults(method) | read_recipe(name)["method"] for name in names}
    rows = [
        [f"`method.{key}`", *(_value(values[name][key]) for name in names), told.get(key, "")]
        for key in method.schema().model_fields
    ]
    return _table(["setting", *(f"`{name}`" for name in names), ""], rows)


def settings() -> str:
    """All settings: those of every run by section, then those of methods and networks by name."""
    schema = Config.model_json_schema()
    parts: list[str] = []
    for section, about in schema["properties"].items():
        each = about.get("additionalProperties")
        if isinstance(each, dict) and _reference(each):
            parts += _section(f"{section}.PLAYER", each, schema["$defs"])
        elif _reference(about):
            parts += _section(section, about, schema["$defs"])
    for path, kind, family in FAMILIES:
        for name, member in sorted(family.found().items()):
            if name != "imported":
                fields = member.schema().model_json_schema()
                parts += [
                    f"### {path}.name={name}{kind}",
                    _told_whole(member),
                    _fields(fields, fields.get("$defs", {}), _told(member)),
                ]
    return "\n\n".join(part for part in parts if part)


def commands() -> str:
    """Every command with its options and examples."""
    return "\n\n".join(part for command, context in _commands(cli, "i2i") for part in _command(command, context))


def api() -> str:
    """The public names of the package, for mkdocstrings."""
    return "\n\n".join(f"::: i2i.{name}" for name in i2i.__all__ if not name.startswith("_"))


def figures(*names: str) -> str:
    """The rows of some recipes in the results of the README, beside those of real images and of the copied input."""
    tables = re.findall(r"(?:^\|.*\|\n)+", readme("Results"), re.MULTILINE)
    shown = []
    for head, rule, *rows in (table.splitlines() for table in tables):
        own = [row for row in rows if set(re.findall(r"`([\w-]+)`", row.split("|")[1])) & set(names)]
        beside = [row for row in rows if row.split("|")[1].strip() in ("real images", "copying the input")]
        shown += ["\n".join([head, rule, *beside, *own])] if own else []
    if not shown:
        raise LookupError("no row of the README's results is about them")
    return "\n\n".join(shown)


def signs() -> str:
    """What the doctor says, and when."""
    known = [value for value in vars(sign_module).values() if isinstance(value, Sign)]
    rows = [
        [_prose(each.says), f"[`{each.name}`](docs/doctor.md#{each.name})", each.bounds, _prose(each.remedy)]
        for each in known
    ]
    return _table(["what it says", "figure", "a sign", "what to do"], rows)


def tour() -> str:
    """The notebook, without outputs."""
    cells = json.loads((ROOT / "docs/tour.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    parts = [_fence("python", text) if kind == "code" else text for kind, text in texts]
    return "\n\n".join([parts[0], '<a href="../tour.ipynb" download>The notebook</a> for Jupyter.', *parts[1:]])


def _commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[Any, click.Context]]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None
            yield from _commands(found, part, context)
    else:
        yield command, context


def _command(command: click.Command, context: click.Context) -> list[str]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and "help" not in parameter.opts[0]:
            rows.append([f"`{record[0]}`", _prose(record[1])])
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    parts = [
        f"## {context.command_path}",
        _prose(inspect.cleandoc(command.help or "")),
        _fence("text", usage),
        _table(["option", ""], rows),
    ]
    lines = (command.epilog or "").replace("\b\n", "").splitlines()
    if lines:
        language = "sh" if lines[0].startswith("Examples") else "text"
        parts.append(_fence(language, "\n".join(line.strip() for line in lines[1:])))
    return parts


def _section(path: str, about: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    schema = known[_reference(about) or path]
    yield f"### {path}"
    yield schema.get("description", "")
    yield _fields(schema, known, {}, prefix=f"{path}.")
    for key, inner in schema.get("properties", {}).items():
        if _reference(inner):
            yield from _section(f"{path}.{key}", inner, known)


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any], told: Mapping[str, str], prefix: str = "") -> str:
    rows = [
        [
            f"`{prefix}{key}`",
            _values(about, known),
            _value(about["default"]) if "default" in about else "",
            told.get(key, ""),
        ]
        for key, about in schema.get("properties", {}).items()
    ]
    head = ["setting", "values", "default", ""]
    if not any(row[3] for row in rows):
        head, rows = head[:3], [row[:3] for row in rows]
    return _table(head, rows) if rows else ""


def _values(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What values a part of a JSON schema allows, in words."""
    if "anyOf" in about:
        return " or ".join(_values(each, known) for each in about["anyOf"])
    if "enum" in about or "const" in about:
        return ", ".join(_value(each) for each in about.get("enum", [about.get("const")]))
    reference = _reference(about)
    if reference is not None:
        return f"a mapping: {', '.join(f'`{key}`' for key in known[reference].get('properties', {}))}"
    kind = about.get("type", "any")
    if kind == "array":
        each: Any = about.get("items") or next(iter(about.get("prefixItems", [])), {})
        return f"a list: {_values(each, known)}"
    words = {"integer": "integer", "number": "number", "string": "text", "boolean": "true, false", "null": "null"}
    bounds = [
        f"{sign} {about[key]:,}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in about and abs(about[key]) < 1e9
    ]
    return " ".join([words.get(kind, str(kind)), *bounds])


def _reference(about: Mapping[str, Any]) -> str | None:
    """The name of the section that a part of a JSON schema refers to."""
    options = [about, *about.get("anyOf", [])]
    named = [str(each["$ref"]).rpartition("/")[2] for each in options if "$ref" in each]
    return named[0] if named else None


def _told(component: type[Component]) -> dict[str, str]:
    """What the docstring of a class says of its settings."""
    sections = griffe.parse_google(griffe.Docstring(inspect.getdoc(component) or ""), warnings=False)
    return {
        parameter.name: " ".join(parameter.description.split())
        for section in sections
        if isinstance(section, griffe.DocstringSectionParameters)
        for parameter in section.value
    }


def _told_whole(component: type[Component]) -> str:
    """What the docstring of a class says before its settings."""
    sections = griffe.parse_google(griffe.Docstring(inspect.getdoc(component) or ""), warnings=False)
    return "\n\n".join(each.value for each in sections if isinstance(each, griffe.DocstringSectionText))


def _recipe(name: str) -> dict[str, Any]:
    if name not in recipe_names():
        raise LookupError(f"there is no recipe {name}")
    return read_recipe(name)


def _method(recipe: str) -> Any:
    return _member(Method, _recipe(recipe)["method"]["name"])


def _member(family: Any, name: str) -> Any:
    if name not in family.found():
        raise LookupError(f"there is no {name}")
    return family.named(name)


def _defaults(component: type[Component]) -> dict[str, Any]:
    return {key: field.default for key, field in component.schema().model_fields.items()}


def _prose(text: str) -> str:
    """Plain text as Markdown: settings are code, and no sign of it means anything else."""
    parts = re.split(f"({KEY.pattern})", text)
    signs = {"<": "&lt;", ">": "&gt;", "|": "&#124;"} | {sign: f"\\{sign}" for sign in "*_[]"}
    plain = str.maketrans(signs)
    return "".join(f"`{part}`" if number % 2 else part.translate(plain) for number, part in enumerate(parts))


def _value(value: Any) -> str:
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000)
    return f"`{text.removesuffix(chr(10)).removesuffix('...').strip()}`"


def _cited(paper: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines)
