"""Which signs are on, from one measurement after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from i2i.doctor.sign import Finding, Sign
from i2i.doctor.signs import ALL, FEW_STEPS, sign_of


def findings_of(records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What the records of a run say, which has ended, or still goes on and has few measurements in its first steps."""
    watch = Watch()
    for record in records:
        watch.add(record)
    return watch.findings(over=bool(records) and records[-1]["step"] >= FEW_STEPS.threshold)


class Watch:
    """Follows the figures of a run, and tells each sign once."""

    def __init__(self) -> None:
        self._measured: dict[tuple[Sign, str], deque[float]] = {}
        self._told: set[str] = set()

    def add(self, values: Mapping[str, float], *, over: bool = False) -> list[Finding]:
        """Takes the figures of one time, by their tags.

        Args:
            values: the figures; what is no figure of a sign is left out.
            over: whether no others follow.

        Returns:
            The signs that are on and had not been before, once each, however many directions or players have them.
        """
        for tag, value in values.items():
            found = sign_of(tag)
            if found is not None:
                self._measured.setdefault(found, deque(maxlen=found[0].patience)).append(value)
        new: dict[str, Finding] = {}
        for finding in self.findings(over=over):
            if finding.on and finding.tag in values and finding.sign.name not in self._told:
                new.setdefault(finding.sign.name, finding)
        self._told |= new.keys()
        return list(new.values())

    def findings(self, *, over: bool = True) -> list[Finding]:
        """What the newest measurements say of every sign that was measured."""
        return [
            Finding(
                sign,
                where,
                values[-1],
                (over or len(values) == sign.patience) and all(map(sign.beyond, values)) and self._joined(sign, where),
            )
            for (sign, where), values in self._measured.items()
        ]

    def _joined(self, sign: Sign, where: str) -> bool:
        """Whether the figure that has to be beside this one is."""
        if sign.beside is None:
            return True
        name, least = sign.beside
        values = self._measured.get((ALL[name], where))
        return values is not None and values[-1] > least
