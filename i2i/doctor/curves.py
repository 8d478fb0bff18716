"""Signs in the curves of a run: figures of its losses and gradients, as they were logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median, pstdev

START, NEWEST = 3, 20
"""How many records tell what a run began with, and how many what it does now."""
ENOUGH = 10
"""With fewer records than these nobody can say whether a loss moves."""


class Curves:
    """The first and the newest records of a run: losses and norms of gradients by their tags."""

    def __init__(self, records: Iterable[Mapping[str, float]] = ()) -> None:
        self._first: list[Mapping[str, float]] = []
        self._newest: deque[Mapping[str, float]] = deque(maxlen=NEWEST)
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, float]) -> None:
        """Takes a record; one without losses is left out."""
        kept = {tag: value for tag, value in record.items() if tag.startswith(("loss/", GRADIENT_NORM))}
        if not kept:
            return
        if len(self._first) < START:
            self._first.append(kept)
        self._newest.append(kept)

    def figures(self, players: Sequence[str], generators: Sequence[str]) -> dict[str, float]:
        """The figures of every player, by <sign>_<player>; none while the run is too young for one.

        Args:
            players: the players.
            generators: those of them whose gradient can vanish.
        """
        found: dict[str, float] = {}
        if len(self._newest) <= START:
            return found
        for player in players:
            losses = [tag for tag in self._newest[-1] if tag.startswith(f"loss/{player}/")]
            norms = [f"{GRADIENT_NORM}{player}"]
            found[f"exploding_{player}"] = max(map(self._growth, losses + norms), default=0.0)
            if len(self._newest) >= ENOUGH:
                swings = [swing for tag in losses for swing in self._swing(tag)]
                found |= {f"oscillating_{player}": max(swings)} if swings else {}
                found |= {f"stalled_{player}": max(map(self._spread, losses))} if losses else {}
            if player in generators:
                early, now = self._at_start(norms[0]), self._now(norms[0])
                found |= {f"vanishing_gradient_{player}": now / early} if early else {}
        return found

    def _values(self, tag: str) -> list[float]:
        return [record[tag] for record in self._newest if tag in record]

    def _at_start(self, tag: str) -> float:
        return median([abs(record[tag]) for record in self._first if tag in record] or [0.0])

    def _now(self, tag: str) -> float:
        return median([abs(value) for value in self._values(tag)[-START:]] or [0.0])

    def _growth(self, tag: str) -> float:
        """How many times as large as at the start; what has been small may become 1."""
        return self._now(tag) / max(self._at_start(tag), 1.0)

    def _spread(self, tag: str) -> float:
        """The standard deviation over the mean size."""
        values = self._values(tag)
        size = fmean(map(abs, values))
        return pstdev(values) / size if size else 0.0

    def _swing(self, tag: str) -> Iterator[float]:
        """The mean change from one record to the next over the mean size; about zero, noise has any."""
        values = self._values(tag)
        if len(values) > 1 and (min(values) > 0 or max(values) < 0):
            yield fmean(abs(b - a) for a, b in pairwise(values)) / fmean(map(abs, values))


GRADIENT_NORM = "health/gradient_norm_"
"""What the tag of the norm of a player's gradient begins with."""
