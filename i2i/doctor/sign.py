"""What a sign of a sick training is: a number with a threshold, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sign:
    """A number that a run measures again and again, and from where on it is a bad sign.

    Attributes:
        name: its tag is health/<name>, or health/<name>_<where> for a direction, a domain or a player.
        says: what is wrong where the sign is on.
        side: on which side of the threshold that is.
        threshold: the threshold.
        remedy: what to do.
        patience: so many measurements in a row have to say so. A run that ends with fewer goes by those that it has.
        beside: another figure of the same place that has to be above a number too: alone, this one is no bad sign.
    """

    name: str
    says: str
    side: Literal["above", "below"]
    threshold: float
    remedy: str
    patience: int = 3
    beside: tuple[str, float] | None = None

    @property
    def bounds(self) -> str:
        """Where it is a bad sign, in words."""
        alone = f"{self.side} {self.threshold:g}"
        return alone if self.beside is None else f"{alone} where {self.beside[0]} is above {self.beside[1]:g}"

    def beyond(self, value: float) -> bool:
        """Whether one measurement says so."""
        return value > self.threshold if self.side == "above" else value < self.threshold


@dataclass(frozen=True)
class Finding:
    """What the newest measurements say.

    Attributes:
        sign: which sign.
        where: the direction, domain or player; empty where there is one alone.
        value: the newest measurement.
        on: whether the sign is on.
    """

    sign: Sign
    where: str
    value: float
    on: bool

    @property
    def tag(self) -> str:
        """The name of the curve."""
        return tag_of(self.sign, self.where)

    def line(self) -> str:
        """What is wrong and what to do, for a warning."""
        sign = self.sign
        measured = f"{self.tag} is {self.value:.3g}; {sign.bounds} is a sign"
        return f"{sign.says} ({measured}): {sign.remedy}; see {sign.name} in docs/doctor.md"


def tag_of(sign: Sign, where: str = "") -> str:
    """The name of a sign's curve, and of its figure in metrics.jsonl."""
    return f"health/{sign.name}_{where}" if where else f"health/{sign.name}"
