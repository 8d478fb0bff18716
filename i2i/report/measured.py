"""What `i2i evaluate --json` has left in a run's folder, as a table for each direction."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i.bounds import read_regular
from i2i.display import counted, one_line
from i2i.evaluation.format import FORMAT
from i2i.storage.runs import RunFolder

LARGEST = 2**25
"""Bytes of a report of figures; it has the value of every image."""
MOST_MODELS, MOST_FIGURES = 8, 60


@dataclass(frozen=True)
class Measured:
    """What was measured in one direction.

    Attributes:
        title: the direction, the images, and the file.
        columns: the models; then real images, and where there are inputs these.
        rows: the name of each figure and its cells.
    """

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def measured_of(run: RunFolder, problems: list[str]) -> list[Measured]:
    """The tables of all evaluations in a run's folder.

    Args:
        run: its folder.
        problems: takes a line for what cannot be read.
    """
    found: list[Measured] = []
    for path in sorted(run.root.glob("*.json")):
        if path == run.images:
            continue
        try:
            tree = json.loads(read_regular(path, LARGEST))
            if isinstance(tree, dict) and tree.get("format") == FORMAT:
                found += [_table(part, path.name) for part in tree["directions"]]
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            problems.append(f"{path}: not a report of i2i evaluate")
    return found


def _table(part: Any, file: str) -> Measured:
    models = part["models"][:MOST_MODELS]
    columns = [(f"{model['title']} ({counted(model['step'], 'step')})", model["figures"]) for model in models]
    columns += [("real images", part["real"])]
    columns += [("the input, copied", part["copy"])] if part["copy"] else []
    names = list(dict.fromkeys(name for model in models for name in model["figures"]))[:MOST_FIGURES]
    better = {name: "" if name in part["unranked"] else " ↑" for name in names}
    better |= dict.fromkeys(set(part["lower_is_better"]) & set(names), " ↓")
    n, data = part["n"], part["data"]
    held_out = f"{_without_places(data['title'])} ({data['split']})"
    title = f"{part['direction']}: {n['outputs']:,} outputs, {held_out}, from {file}"
    rows = [(one_line(f"{name}{better[name]}"), [_cell(own.get(name)) for _, own in columns]) for name in names]
    return Measured(one_line(title), [one_line(column) for column, _ in columns], rows)


def _without_places(title: str) -> str:
    """The names of folders alone: a card may be made public."""
    return " and ".join(Path(name).name if Path(name).is_absolute() else name for name in title.split(" and "))


def _cell(figure: Any) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    spread = figure.get("spread")
    return f"{figure['value']:.4g}" + ("" if spread is None else f" ± {spread:.2g}")
