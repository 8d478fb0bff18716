"""How much a client may ask for."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

MOST_CLIENTS = 10_000
"""How many are remembered; of more, those that have asked for nothing for the longest time start afresh."""


@dataclass(frozen=True)
class Limits:
    """What a server allows.

    Attributes:
        body: bytes of a request.
        body_seconds: until a request has been sent.
        rate: requests a minute that each client may have computed, and as many that send an image for the page.
        bodies: requests that may be received at one time.
    """

    body: int
    rate: int
    body_seconds: float = 60.0
    bodies: int = 32


class Rate:
    """Lets each client through ``per_minute`` times a minute, some of them at once (a token bucket).

    Args:
        per_minute: how often.
        clock: seconds since any moment.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = float(per_minute), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how often still, and when that was
        self._lock = threading.Lock()

    def seconds_to_wait(self, client: str) -> int:
        """0 where the client is let through, which counts; else the whole seconds after which it would be."""
        with self._lock:
            now = self._clock()
            left, then = self._left.pop(client, (self._most, now))
            left = min(self._most, left + (now - then) * self._most / 60)
            passes = left >= 1
            self._left[client] = (left - 1 if passes else left, now)
            if len(self._left) > MOST_CLIENTS:
                self._left.popitem(last=False)
            return 0 if passes else math.ceil((1 - left) * 60 / self._most)


def client_of(host: str) -> str:
    """Whose address it is: with IPv6, where each has many, the network."""
    try:
        address = ip_address(host)
    except ValueError:  # of a socket that is no network's
        return host
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else host
