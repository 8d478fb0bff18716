"""What an experiment of the lab leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        picture: what there is to see.
        figures: numbers by name, for JSON.
        lines: the same in words.
    """

    picture: Figure
    figures: dict[str, Any]
    lines: list[str]
