"""The address that a server listens on: taken before anything slow is imported."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from i2i.errors import DataError


def listening(host: str, port: int) -> socket.socket:
    """A socket that clients can reach from now on; they wait until the server runs.

    Raises:
        DataError: there is no such host here, or another program has the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DataError(f"--host {host}: {error.strerror or error}") from None
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise DataError(f"port {port} is taken by another program: give another --port, or 0 for any") from None
        raise DataError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The address for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def names_of(listener: socket.socket, allowed: Sequence[str]) -> frozenset[str] | None:
    """The names by which browsers may address the server; None: any.

    A server of this machine alone is asked for by its own names, and by those that are ``allowed``: a page elsewhere
    whose name is made to lead here ("DNS rebinding") is none of them.
    """
    host = listener.getsockname()[0]
    if not ip_address(host).is_loopback:
        return frozenset(allowed) or None
    return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host, *allowed})
