"""The page that compares models, as one string: images, style and script are in it, and it asks for nothing else.

Every name is escaped by the template; ``i2i/pages`` says what holds for every page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from i2i.data.images import Pixels
from i2i.display import one_line
from i2i.pages.one_file import data_uri, rendered, text_of

LOSSLESS_PIXELS = 16_000_000
"""Up to this many pixels a page shows them exactly; above, as lossy WebP, which takes a fifth of the bytes."""
ENLARGED = 192
"""Images up to this side are shown larger than they are, as pixels and not as a blur."""
COLOURS = 6
THUMB = {"rows": 128, "grids": 72}
"""How wide an image is at least when the page opens."""
NOT_MEASURED = "\N{EN DASH}"


@dataclass(frozen=True)
class Metric:
    """What was measured of every image.

    Attributes:
        name: by which ``Shown.figures`` has it.
        title: for the reader.
        better: which end is the good one.
        digits: behind the point.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    digits: int = 3


@dataclass(frozen=True)
class Column:
    """Where one image of every item comes from.

    Attributes:
        name: of the run, or "input" or "truth".
        kind: what it is.
        about: recipe, steps, and what else tells a model from another.
    """

    name: str
    kind: Literal["input", "model", "truth", "real"]
    about: str = ""


@dataclass(frozen=True)
class Shown:
    """One image, (H, W, C) in uint8; its figures by the names of the metrics; and what stands below it in a grid."""

    pixels: Pixels
    figures: Mapping[str, float] = field(default_factory=dict)
    caption: str = ""


@dataclass(frozen=True)
class Item:
    """What stands side by side: an image of each column, None where there is none.

    Attributes:
        name: of the held-out image, or of the sample.
        images: in the order of the columns.
    """

    name: str
    images: Sequence[Shown | None]


@dataclass(frozen=True)
class Page:
    """All that a page shows.

    Attributes:
        title: its heading.
        columns: of every item; the models get letters in their order.
        items: in the order of their names.
        metrics: the first is the one that the page is sorted by when it opens.
        intro: paragraphs below the heading.
        facts: what was compared on what: names and texts.
        notes: paragraphs in small print.
        winners: by a metric's name, the column of the model whose mean stands out; others have none.
        layout: an item beside the other, each with all columns; or a grid for each column.
    """

    title: str
    columns: Sequence[Column]
    items: Sequence[Item]
    metrics: Sequence[Metric] = ()
    intro: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    winners: Mapping[str, int] = field(default_factory=dict)
    layout: Literal["rows", "grids"] = "rows"

    @property
    def lossless(self) -> bool:
        """Whether the page has few enough pixels to show them exactly."""
        shapes = [image.pixels.shape for item in self.items for image in item.images if image is not None]
        return bool(sum(height * width for height, width, _ in shapes) <= LOSSLESS_PIXELS)


def render(page: Page) -> str:
    """The page as HTML."""
    columns = _lettered(page.columns)
    lossless = page.lossless
    items = [_item(item, index, columns, lossless) for index, item in enumerate(page.items)]
    return rendered(
        "i2i.evaluation",
        "page.html",
        title=page.title,
        style=_style(page),
        script=text_of("i2i.evaluation", "page.js"),
        page=page,
        models=[column for column in columns if column["kind"] == "model"],
        rows=_table(page, columns),
        items=items,
        panels=[{"column": column, "cells": _of_column(items, column["index"])} for column in columns],
        data={
            "columns": columns,
            "metrics": [asdict(metric) for metric in page.metrics],
            "items": [{"name": one_line(item.name), "figures": _figures(item, page)} for item in page.items],
        },
    )


def _style(page: Page) -> str:
    """The style, with the columns beside each other on a wide screen and on a narrow one, and the size of an image."""
    across = len(page.columns)
    narrow = across if across <= 3 else 2 if across % 2 == 0 else 3
    own = text_of("i2i.evaluation", "page.css")
    return f"{own}:root {{ --columns: {across}; --narrow: {narrow}; --thumb: {THUMB[page.layout]}px; }}\n"


def _lettered(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The columns with what the page calls them by: letters and colours of the models."""
    lettered, models = [], 0
    for index, column in enumerate(columns):
        letter, badge = "", "badge"
        if column.kind == "model":
            letter, badge = _letter(models), f"badge c{models % COLOURS}"
            models += 1
        lettered.append(
            {"index": index, "name": one_line(column.name), "kind": column.kind, "about": one_line(column.about)}
            | {"letter": letter, "badge": badge}
        )
    return lettered


def _letter(number: int) -> str:
    """A, B, ... Z, then 27, 28, ..."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _item(item: Item, index: int, columns: Sequence[dict[str, Any]], lossless: bool) -> dict[str, Any]:
    name = one_line(item.name)
    cells = []
    for column, image in zip(columns, item.images, strict=True):
        cell: dict[str, Any] = {"column": column, "there": image is not None}
        if image is not None:
            height, width = image.pixels.shape[:2]
            cell |= {
                "source": data_uri(image.pixels, lossless=lossless),
                "width": width,
                "height": height,
                "look": "small" if max(width, height) <= ENLARGED else "large",
                "clear": image.pixels.shape[2] == 4,
                "alt": _alt(name, column),
                "caption": one_line(image.caption),
            }
        cells.append(cell)
    return {"index": index, "name": name, "cells": cells}


def _alt(name: str, column: Mapping[str, Any]) -> str:
    role = {"input": "input", "truth": "truth", "real": "real image", "model": f"by {column['name']}"}
    return f"{name}, {role[column['kind']]}"


def _of_column(items: Sequence[dict[str, Any]], column: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The items that have an image in a column, each with that image."""
    return [(item, item["cells"][column]) for item in items if item["cells"][column]["there"]]


def _figures(item: Item, page: Page) -> list[list[float | str | None]]:
    """The figures of every column, in the order of the metrics."""
    figures = [{} if image is None else image.figures for image in item.images]
    return [[_number(own.get(metric.name, math.nan)) for metric in page.metrics] for own in figures]


def _number(value: float) -> float | str | None:
    """A figure as JSON can have it: what is not a number is none, and what is infinite is a word."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("-" if value < 0 else "") + "Infinity"


def _table(page: Page, columns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every model, and for the input where it was measured as if it were a translation."""
    means = [[_mean(page, index, metric.name) for metric in page.metrics] for index in range(len(columns))]
    rows = []
    for column, own in zip(columns, means, strict=True):
        measured = not all(math.isnan(mean) for mean in own)
        if column["kind"] != "model" and not measured:
            continue
        title = "the input, copied" if column["kind"] == "input" else column["name"]
        cells = [
            {"text": _shown(mean, metric), "best": page.winners.get(metric.name) == column["index"]}
            for metric, mean in zip(page.metrics, own, strict=True)
        ]
        rows.append({"column": column, "title": title, "cells": cells})
    return rows


def _mean(page: Page, column: int, metric: str) -> float:
    images = (item.images[column] for item in page.items)
    values = [image.figures[metric] for image in images if image is not None and metric in image.figures]
    return math.fsum(values) / len(values) if values else math.nan


def _shown(value: float, metric: Metric) -> str:
    if math.isnan(value):
        return NOT_MEASURED
    return f"{value:.{metric.digits}f}" if math.isfinite(value) else "∞"
