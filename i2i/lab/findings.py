"""The result of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Findings:
    """The result of an experiment.

    Attributes:
        figure: the plots.
        metrics: numbers by name, for JSON.
        lines: the result in words.
    """

    figure: Figure
    metrics: dict[str, Any]
    lines: list[str]
