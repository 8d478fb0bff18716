"""A request that is not answered as it wished: the status, and one line that says why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class Refused(Exception):
    """Why a request is refused.

    Attributes:
        status: of the answer.
        headers: of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers


def later(status: int, reason: str, seconds: int) -> Refused:
    """The refusal of a request that may be repeated after some seconds."""
    return Refused(status, f"{reason}: try again in {seconds} s", {"Retry-After": str(seconds)})
