"""Curves as drawings: which curves share one, its axes, and its lines in the units of the page's SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from i2i.display import one_line
from i2i.doctor.sign import Sign
from i2i.doctor.signs import sign_of

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 26
"""The margins around the lines."""
COLOURS = 6
MOST_POINTS = 300
"""A longer curve is drawn as means of equally many points, in the band between their smallest and largest."""
LARGE_RATIO = 30.0
"""From here on, values of one sign are shown on a logarithmic axis."""
MOST_TICKS = 5
MOST_CHARTS, MOST_CURVES = 60, 18
"""In a section, and in a chart; a run of i2i's own methods has fewer."""
LARGEST, SMALLEST = 1e100, 1e-100
"""Values beyond are not drawn, and smaller ones as zero: their ratios are numbers."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Curves in one drawing.

    Attributes:
        title: what they are.
        kind: what their tags begin with.
        sign: of the doctor, whose figures they are.
        curves: the steps and values of each, by its name.
    """

    title: str
    kind: str
    sign: Sign | None = None
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What their values mean."""
        return "" if self.sign is None else f"a bad sign {self.sign.bounds}: {self.sign.says}"


@dataclass(frozen=True)
class Section:
    """Charts that belong together, and how many curves were too many to draw."""

    title: str
    charts: list[Chart]
    left_out: int


def sections_of(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """All curves of a run: those that people ask for, and those of the doctor's figures."""
    charts: dict[str, dict[str, Chart]] = {}
    left_out = dict[str, set[str]]()
    for record in records:
        for tag, value in record.items():
            if tag == "step" or not abs(value) <= LARGEST:
                continue
            section, title, name, sign = _read(tag)
            own = charts.setdefault(section, {})
            chart = own.get(title) or Chart(title, tag.partition("/")[0], sign)
            full = len(own) >= MOST_CHARTS if title not in own else len(chart.curves) >= MOST_CURVES
            if full and name not in chart.curves:
                left_out.setdefault(section, set()).add(tag)
                continue
            own[title] = chart
            chart.curves.setdefault(name, []).append((record["step"], value if abs(value) > SMALLEST else 0.0))
    return [
        Section(name, sorted(own.values(), key=_rank), len(left_out.get(name, ())))
        for name, own in sorted(charts.items())
    ]


def _rank(chart: Chart) -> tuple[int, str]:
    """Losses first, what i2i does not know last; within a kind by title."""
    return (ORDER.index(chart.kind) if chart.kind in ORDER else len(ORDER), chart.title)


CURVES, HEALTH = "Curves", "Health: curves"
ORDER = ("loss", "score", "metric", "lr")
DIRECTION = re.compile(r"(.+)_([A-Z]to[A-Z])")


def _read(tag: str) -> tuple[str, str, str, Sign | None]:
    """Where a curve belongs: the section, the title of its chart, its name there, and its sign."""
    kind, _, name = tag.partition("/")
    player, _, rest = name.partition("/")
    match kind:
        case "loss" if rest:
            return CURVES, f"{player}: losses, weighted", rest, None
        case "score":
            return CURVES, "discriminator: mean scores", name, None
        case "lr":
            return CURVES, "learning rate", name, None
        case "metric":
            found = DIRECTION.fullmatch(name)
            title, curve = (found[1], found[2]) if found else (name, "held-out images")
            return CURVES, f"{title} on held-out images", curve, None
        case "health":
            sign, where = sign_of(tag) or (None, name)
            title = sign.name if sign else "gradient_norm" if name.startswith("gradient_norm_") else name
            return HEALTH, title, where.removeprefix("gradient_norm_") or name, sign
    return CURVES, kind, name or kind, None


@dataclass(frozen=True)
class Axis:
    """From values to places.

    Attributes:
        low: the value at the beginning.
        high: the value at the end.
        log: whether equal ratios are equally long.
    """

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value: 0 at the beginning, 1 at the end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values along it."""
        decades = math.log10(self.high / self.low) if self.log else 0.0
        if decades >= 2:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            apart = max(1, math.ceil((last - first) / MOST_TICKS))
            return [10.0**power for power in range(first, last + 1, apart)]
        rough = (self.high - self.low) / MOST_TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10, 20) if size * factor >= rough)
        first = math.ceil(self.low / step - 1e-6)
        ticks = [step * number for number in range(first, first + 2 * MOST_TICKS)]
        return [tick for tick in ticks if tick <= self.high + 1e-6 * step]


def axis_of(values: Sequence[float], *, linear: bool = False) -> Axis:
    """An axis for values of a chart: logarithmic where all are positive and of very different sizes."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LARGE_RATIO and not linear:
        return Axis(low / 1.1, high * 1.1, log=True)
    varies = high - low > 1e-6 * max(abs(low), abs(high))
    room = 0.04 * (high - low) if varies else 0.1 * abs(high) or 1.0
    return Axis(max(0.0, low - room) if low >= 0 else low - room, high + room)


def drawing(chart: Chart, last_step: int) -> dict[str, Any]:
    """What the page's template draws of a chart, in the units of its SVG.

    Args:
        chart: with one point at least.
        last_step: where the axis of steps ends, the same for all charts of a page.
    """
    across = Axis(0, max(1, last_step))
    up = axis_of([value for points in chart.curves.values() for _, value in points], linear=chart.kind == "lr")
    threshold = None if chart.sign is None else chart.sign.threshold
    inside = threshold is not None and up.low <= threshold <= up.high
    return {
        "title": one_line(chart.title),
        "note": chart.note,
        "scale": "logarithmic" if up.log else "linear",
        "across": [{"at": _x(across, tick), "text": f"{tick:,.0f}"} for tick in _whole(across.ticks())],
        "up": [{"at": _y(up, tick), "text": f"{tick:.4g}"} for tick in up.ticks()],
        "threshold": _y(up, threshold) if inside and threshold is not None else None,
        "curves": [
            {"name": one_line(name), "look": _look(number), "last": f"{points[-1][1]:.4g}"} | _lines(points, across, up)
            for number, (name, points) in enumerate(sorted(chart.curves.items()))
        ],
    }


def _whole(ticks: Sequence[float]) -> list[float]:
    return [tick for tick in ticks if abs(tick - round(tick)) < 1e-6]


def _look(number: int) -> str:
    """Colours first; then the same with other dashes."""
    return f"s{number % COLOURS}" + (f" d{number // COLOURS % 3}" if number >= COLOURS else "")


def _lines(points: Points, across: Axis, up: Axis) -> dict[str, Any]:
    """A curve as the points of a line; of a long one also the band around it."""
    thinned = list(_thinned(points))
    line = [f"{_x(across, step)},{_y(up, mean)}" for step, mean, _, _ in thinned]
    band = [f"{_x(across, step)},{_y(up, low)}" for step, _, low, _ in thinned]
    band += [f"{_x(across, step)},{_y(up, high)}" for step, _, _, high in reversed(thinned)]
    dot = line[0].split(",") if len(line) == 1 else None
    return {"line": " ".join(line), "dot": dot, "band": " ".join(band) if len(thinned) < len(points) else ""}


def _thinned(points: Points) -> Iterator[tuple[float, float, float, float]]:
    """Step, mean, smallest and largest value of so many points together that there are not too many."""
    count = math.ceil(len(points) / MOST_POINTS)
    for first in range(0, len(points), count):
        together = points[first : first + count]
        values = [value for _, value in together]
        yield fmean(step for step, _ in together), fmean(values), min(values), max(values)


def _x(axis: Axis, step: float) -> float:
    return round(LEFT + axis.at(step) * (WIDTH - LEFT - RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - axis.at(value) * (HEIGHT - TOP - BOTTOM), 1)
