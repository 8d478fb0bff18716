"""Shared by several commands: value types and their completions, ``--model``, options for settings, examples."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.shell_completion import CompletionItem

from i2i.bounds import MAX_PIXELS

Command = TypeVar("Command", bound=Callable[..., Any])


class FilledText(click.ParamType[str]):
    """Non-empty text: an empty value is usually an unset variable in a script."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if not str(value):
            self.fail("must not be empty")
        if "\0" in str(value):  # only a program that calls this one can write it
            self.fail("must not hold a NUL")
        return str(value)


class FileName(click.ParamType[Path]):
    """A file or folder, which need not exist."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The name as a ``Path``."""
        return Path(FilledText().convert(value, param, ctx))


class Recipe(FilledText):
    """The name of a recipe."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The recipes that begin so."""
        from i2i.config.resolve import recipe_names

        return _beginning(incomplete, recipe_names())


class Run(FileName):
    """A run folder, or another file."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The runs that begin so; files, if there are none."""
        from i2i.storage.runs import RUNS

        runs = _beginning(incomplete, sorted(str(config.parent) for config in RUNS.glob("*/config.yaml")))
        return runs or [CompletionItem(incomplete, type="file")]


class Assignment(click.ParamType[str]):
    """A setting and its value, as KEY=VALUE."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The keys that begin so: those of every recipe, and those that the recipe of ``--arch`` sets."""
        from i2i.config.explain import known_keys, leaves
        from i2i.config.resolve import read_recipe, recipe_names
        from i2i.config.schema import Config

        arch = ctx.params.get("arch")
        recipe = read_recipe(arch) if arch in recipe_names() else {}
        keys = {*known_keys(Config), *(path for path, _ in leaves(recipe))}
        sections = {key.rpartition(".")[0] for key in keys}
        return [CompletionItem(f"{key}=") for key in sorted(keys - sections) if key.startswith(incomplete)]


def _beginning(incomplete: str, values: list[str]) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


class Duration(click.ParamType[float]):
    """A time like 90s, 10m or 1.5h; a plain number means seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The time in seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
        if match is None or not 0 < float(match[1]) < math.inf:
            self.fail(f"{str(value)[:80]!r} is not a time; write 90s, 10m or 1.5h")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


class Bytes(click.ParamType[int]):
    """Memory like 8GB (of 10^9 bytes), 8GiB (of 2^30) or 6000MB."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?) ?([MGT])(i?)B", str(value).strip(), re.IGNORECASE)
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not an amount of memory; write 8GB, 7.5GiB or 6000MB")
        power = "MGT".index(match[2].upper()) + 2
        return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


class NumberOrAuto(click.ParamType[int | Literal["auto"]]):
    """A number, or auto.

    Args:
        what: the number is, in a message.
        least: the smallest that is taken; without one, the bounds are the configuration's.
    """

    name = "number"

    def __init__(self, what: str = "a number", *, least: int | None = None) -> None:
        self._what, self._least = what, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """The number."""
        if value == "auto":
            return "auto"
        is_number = re.fullmatch(r"-?\d{1,18}", str(value).strip()) is not None
        if not is_number or (self._least is not None and int(value) < self._least):
            bound = "" if self._least is None else f", from {self._least} up"
            self.fail(f"{str(value)[:80]!r}: give {self._what}{bound}, or auto")
        return int(value)


class Units(click.ParamType[int | list[int]]):
    """A number of units, e.g. 6, or their indices, e.g. 0,5,9; with a comma, a single number is an index."""

    name = "units"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | list[int]:
        """The count, or the indices."""
        text = str(value).replace(" ", "")
        if re.fullmatch(r"\d{1,9}(,\d{1,9})*,?", text) is None:
            self.fail(f"{str(value)[:80]!r}: give a number of units, e.g. 6, or their indices, e.g. 0,5,9")
        return [int(number) for number in text.split(",") if number] if "," in text else int(text)


SEED = click.IntRange(0, 2**63 - 1)
DEVICE = FilledText()
DEVICE_HELP = "Device to compute on: auto, cpu, or an accelerator that `i2i info` lists, such as cuda or mps."

device_option = click.option("--device", type=DEVICE, default="auto", show_default=True, help=DEVICE_HELP)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing files.")
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    default=MAX_PIXELS,
    show_default=True,
    help="Largest image that is read, in pixels.",
)
run_max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    help="Largest image that is read, in pixels.  [default: the run's data.max_pixels]",
)
model_option = click.option(
    "--model", type=Run(), help="Run folder, weight file, or hf:OWNER/NAME.  [default: the newest run]"
)


def precision_option(explained: str) -> Callable[[Command], Command]:
    """Declares ``--precision`` of a translation; ``explained`` is the rest of its help."""
    return click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default="auto",
        show_default=True,
        help=f"Precision of convolutions{explained}",
    )


def require_model(model: Path | None, *, exported: bool = False) -> None:
    """Refuses a model that does not exist, before torch is imported; ``exported``: exported files are models too."""
    from i2i.storage.runs import model_file, weight_file

    (model_file if exported else weight_file)(model)


class Setting(click.Option):
    """An option for one setting of the configuration.

    Attributes:
        path: the dotted path of the setting, e.g. training.steps.
    """

    def __init__(self, declarations: list[str], *, path: str, **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.path = path


def setting(option: str, path: str, **attributes: Any) -> Callable[[Command], Command]:
    """Declares ``option`` for the setting at ``path``; ``attributes`` are those of ``click.option``."""
    return click.option(option, cls=Setting, path=path, **attributes)


def pass_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Passes ``settings`` to ``command``: the values of all ``Setting`` options by path, None if not given."""

    @wraps(command)
    def call(**values: Any) -> None:
        options = click.get_current_context().command.params
        settings = {option.path: values.pop(str(option.name)) for option in options if isinstance(option, Setting)}
        command(settings=settings, **values)

    return call


def example(*lines: str) -> str:
    """Examples for the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
