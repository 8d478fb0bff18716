"""A report as tables for people: a metric to a row; models, real images and the inputs side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from i2i.display import counted, one_line
from i2i.evaluation.compare import Comparison
from i2i.evaluation.evaluated import Figure
from i2i.evaluation.report import Evaluation, Part, Report

MOST_PAIRS = 3
"""With more pairs of models than these, only those with the first are shown; the JSON has all."""
WIDTH = 160
"""Where there is no terminal."""


def print_report(report: Report) -> None:
    """Writes it to stdout."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not sys.stdout.isatty():
        console.width = WIDTH
    for part in report.parts:
        console.print()
        for shown in _part(part, report):
            console.print(one_line(shown) if isinstance(shown, str) else shown)


def _part(part: Part, report: Report) -> Iterator[str | Table]:
    held = part.held_out
    n = part.n
    against = f"{n['outputs']:,} outputs against {n['real']:,} real images"
    shown = counted(n["outputs"], "frame") if held.frames else f"({held.split}), {against}"
    yield f"{part.direction}: {held.title} {shown} at {part.image_size} px"
    yield from held.notes
    yield _figures(part)
    yield _costs(part.models)
    if part.comparisons:
        yield _comparisons(part)
    for range_ in part.ranges:
        spans = ", ".join(
            f"{name} {number(mean)} ({number(low)} to {number(high)})"
            for name, (mean, low, high) in range_.figures.items()
        )
        yield f"{range_.arch}, seeds {', '.join(map(str, range_.seeds))}, mean and range: {spans}"
    for name, caution in part.cautions.items():
        yield f"{name}: {caution}"
    for name, reason in part.unavailable.items():
        yield f"not measured: {name}: {reason}"
    if report.network is not None:
        yield f"features: {report.network[0]} (weights {report.network[1][:8]}); figures of other networks differ"


def _title(model: Evaluation) -> str:
    """The name of a model, in which a folder's name may hold anything."""
    return one_line(model.title)


def _figures(part: Part) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for model in part.models:
        title = _title(model)
        table.add_column(f"{title} ({counted(model.step, 'step')})" if model.step else title, justify="right")
    table.add_column("real", justify="right")
    if part.copy:
        table.add_column("copy", justify="right")
    for name in dict.fromkeys(name for model in part.models for name in model.figures):
        better = "lower is better" if name in part.lower_is_better else "higher is better"
        cells = [_cell(model.figures.get(name)) for model in part.models]
        cells.append(_cell(part.real.get(name)))
        if part.copy:
            cells.append(_cell(part.copy.get(name)))
        table.add_row(name if name in part.unranked else f"{name} ({better})", *cells)
    return table


def _costs(models: Sequence[Evaluation]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("cost", "parameters", "MACs an image", "images/s", "peak GiB of the process"):
        table.add_column(title, justify="left" if title == "cost" else "right")
    for model in models:
        cost = model.cost
        table.add_row(
            _title(model),
            f"{cost.parameters / 1e6:.3f} M",
            f"{cost.macs / 1e9:.3f} G",
            f"{cost.images_per_second:.1f}",
            f"{cost.process_peak_gib:.2f}",
        )
    return table


def _comparisons(part: Part) -> Table:
    pairs = list(dict.fromkeys((c.a, c.b) for c in part.comparisons))
    shown = pairs if len(pairs) <= MOST_PAIRS else [pair for pair in pairs if pair[0] == 0]
    titles = [_title(model) for model in part.models]
    table = Table(box=None, pad_edge=False)
    table.add_column("which is better")
    for a, b in shown:
        table.add_column(f"{titles[a]} or {titles[b]}", justify="right")
    found = {(c.metric, c.a, c.b): c for c in part.comparisons}
    for name in dict.fromkeys(c.metric for c in part.comparisons):
        table.add_row(name, *(_verdict(found[name, a, b], titles) for a, b in shown))
    return table


def _verdict(comparison: Comparison, titles: Sequence[str]) -> str:
    if comparison.better is None:
        return f"none (|{number(comparison.difference)}| is within {number(comparison.spread)})"
    if comparison.probability is None:
        return titles[comparison.better]
    chance = comparison.probability if comparison.better == comparison.a else 1 - comparison.probability
    return f"{titles[comparison.better]} (probability {min(chance, 0.9999):.4g})"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return number(figure.value) + ("" if figure.spread is None else f" ± {number(figure.spread)}")


def number(value: float) -> str:
    """A figure as people read it: four digits."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"
