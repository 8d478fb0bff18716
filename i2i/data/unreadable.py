"""The items that a run could not read: named, counted, and not used again.

A run replaces such an item by another, whose choice is a function of the seed and the position (see ``batches``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from i2i.errors import DataError

FEW = 3
FEW_PERCENT = 1
ITEMS = {"partner": "pair", "mask": "pair"}
"""Which items the images of a stream belong to, where the names differ."""
NAMED = 5
"""How many items an error message names."""


class Unreadable(NamedTuple):
    """An item by its stream ("A", "B" or "pair") and its number there; ``reason`` names the file and what is wrong."""

    stream: str
    number: int
    reason: str


class UnreadableItems:
    """What a run has met so far. It is part of a checkpoint: an item that is repaired later stays replaced.

    Args:
        total: how many items the data has.
        hint: what a person can do about too many of them.
    """

    def __init__(self, total: int, hint: str = "") -> None:
        self.total, self.limit, self._hint = total, max(FEW, total * FEW_PERCENT // 100), hint
        self._reasons: dict[tuple[str, int], str] = {}
        self._news: list[Unreadable] = []

    def __contains__(self, item: tuple[str, int]) -> bool:
        return item in self._reasons

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def too_many(self) -> bool:
        """Whether there are more than the larger of 1 % and 3 items."""
        return len(self) > self.limit

    def reasons(self) -> list[str]:
        """A line for each item, in a fixed order."""
        return [reason for _, reason in sorted(self._reasons.items())]

    def add(self, items: Iterable[Sequence[Any]]) -> None:
        """Takes over items that were met; where there are too many already, no more are kept."""
        for stream, number, reason in items:
            if (stream, number) not in self._reasons and not self.too_many:
                self._reasons[stream, number] = reason
                self._news.append(Unreadable(stream, number, reason))

    def take_news(self) -> list[Unreadable]:
        """What was added since the last call, for the other processes."""
        news, self._news = self._news, []
        return news

    @property
    def has_news(self) -> bool:
        """Whether something was added since ``take_news``."""
        return bool(self._news)

    def state(self) -> list[list[Any]]:
        """What a checkpoint keeps."""
        return [[*item, reason] for item, reason in sorted(self._reasons.items())]

    def load_state(self, state: Sequence[Sequence[Any]]) -> None:
        """Takes over what ``state`` gave. A run that ended for too many of them looks at all of them again."""
        if len(state) <= self.limit:
            self.add(state)
            self.take_news()

    def require_few(self) -> None:
        """Raises DataError where there are too many, with the names of the first."""
        if self.too_many:
            some = "; ".join(self.reasons()[:NAMED])
            raise DataError(
                f"more than {self.limit:,} of {self.total:,} items cannot be read, too many to replace: {some}"
                f"{self._hint}"
            )
