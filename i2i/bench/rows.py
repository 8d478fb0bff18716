"""What was timed, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from i2i.config.schema import Precision
from i2i.inference.ways import Layers


class Way(NamedTuple):
    """How the same is computed."""

    precision: Precision
    layers: Layers = "torch"
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.layers}, {self.precision}{', compiled' if self.compiled else ''}"


@dataclass(frozen=True)
class Row:
    """One way.

    Attributes:
        way: which.
        seconds: its shortest turn.
        first: its first turn, with compilation and whatever else is done once.
        turns: how many there were.
        times: how many times as fast as the first row it is.
        apart: how far its results are from those of the first row, in words.
        allowed: whether that is close enough to take its place.
    """

    way: Way
    seconds: float
    first: float
    turns: int
    times: float
    apart: str
    allowed: bool


@dataclass(frozen=True)
class Table:
    """Ways to do the same; the first is the plain one."""

    title: str
    threads: int
    rows: Sequence[Row]

    @property
    def fastest(self) -> Row:
        """The fastest that may be taken: compiled ones are timed alone, for their start takes longer than a command."""
        return min((row for row in self.rows if row.allowed and not row.way.compiled), key=lambda row: row.seconds)

    def content(self) -> dict[str, Any]:
        """It for programs."""
        rows = [{**asdict(row), "way": str(row.way), "fastest": row is self.fastest} for row in self.rows]
        return {"title": self.title, "threads": self.threads, "rows": rows}

    def lines(self) -> list[str]:
        """It for people."""
        shown = [f"{self.title}, CPU threads: {self.threads}"]
        shown.append(f"  {'':<32} {'seconds':>8} {'first':>7} {'turns':>5} {'times':>6}   from {self.rows[0].way}")
        for row in self.rows:
            mark = "fastest" if row is self.fastest else "" if row.allowed else "too far"
            shown.append(
                f"  {row.way!s:<32} {row.seconds:>8.3f} {row.first:>7.2f} {row.turns:>5} {row.times:>6.2f}   "
                f"{row.apart:<24} {mark}".rstrip()
            )
        return shown
