"""Stands before everything else that answers: only known routes, bounded bodies, and no name of a file passes.

gradio offers more routes than the page needs (a proxy, logins, streams, functions of components), and takes names of
files and addresses from whoever sends them; here, all that a request may name is an image that it has sent before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from i2i.serve.folder import holds, tidy
from i2i.serve.limits import Limits, Rate, client_of
from i2i.serve.refused import Refused, later
from i2i.serve.rest import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

READ, WRITE = frozenset({"GET", "HEAD"}), frozenset({"POST"})
JOIN, STREAM = "/gradio_api/queue/join", "/gradio_api/queue/data"
UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file="
COUNTED = {"/api/translate": "computing", "/api/sample": "computing", JOIN: "computing", UPLOAD: "uploading"}
"""What counts against which rate."""
SMALL = 2**16
"""Bytes of a request that sends no image."""
LARGEST_HEAD = 2**14
"""Bytes of the headers of a request."""
PART = r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*"
ROUTES: Mapping[str, frozenset[str]] = {
    r"/api/(health|models)|/openapi\.json": READ,
    r"/api/(translate|sample)": WRITE,
    r"/|/theme\.css|/favicon\.ico": READ,
    rf"/(assets|static)(/{PART})+": READ,
    r"/gradio_api/(queue/data|upload_progress)": READ,
    r"/gradio_api/file=.+": READ,
    r"/gradio_api/(queue/join|upload)": WRITE,
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""What the page may load: nothing from other hosts. gradio needs its scripts and styles in the page."""
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """An ASGI application around another.

    Args:
        app: the other.
        limits: of requests.
        uploads: the folder of the images that the page has sent.
        admit: checks the body of a request for the page's functions, and returns what is passed on.
        names: by which the server may be addressed; None: any.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        uploads: Path,
        admit: Callable[[bytes], bytes],
        names: frozenset[str] | None = None,
    ) -> None:
        self._app, self._limits, self._uploads, self._admit = app, limits, uploads, admit
        self._names = names
        self._rates = {name: Rate(limits.rate) for name in set(COUNTED.values())}
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send, incoming = _with_headers(send), _Incoming(receive)
        try:
            self._check(scope)
            receive = await self._received(scope, incoming)
        except Refused as refused:
            await self._drain(incoming)
            await problem(refused)(scope, incoming, send)
            return
        if scope["path"] == "/":
            scope["query_string"] = b""  # in which gradio would take the name of a stored page
        try:
            await self._app(scope, receive, send)
        except Exception:
            if scope["path"] != STREAM:
                raise
            # Of a session that is not there, gradio tells in the stream, and raises all the same.
            await send({"type": "http.response.body", "body": b""})

    def _check(self, scope: Scope) -> None:
        """Refuses what is not known, comes from another page, names a file, or comes too often."""
        path, method, headers = scope["path"], scope["method"], dict(scope["headers"])
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > LARGEST_HEAD:
            raise Refused(431, f"the headers of a request may have {LARGEST_HEAD:,} bytes")
        host = re.sub(r":\d+$", "", headers.get(b"host", b"").decode("latin-1").lower())
        if self._names is not None and host not in self._names:
            raise Refused(421, "this server has another name; i2i serve --allow-host NAME gives it one more")
        methods = next((methods for route, methods in ROUTES.items() if re.fullmatch(route, path)), None)
        if methods is None:
            raise Refused(404, "there is nothing at this address")
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            raise Refused(405, f"at this address {allowed} is answered", {"Allow": allowed})
        if method == "POST" and b"origin" in headers and not _is_own(headers[b"origin"], headers.get(b"host", b"")):
            raise Refused(403, "a page of another address may not send this")
        if path.startswith(FILE) and not holds(self._uploads, path.removeprefix(FILE)):
            raise Refused(404, "there is no such image")
        if path in COUNTED and method == "POST":
            client = client_of(scope["client"][0] if scope.get("client") else "")
            if seconds := self._rates[COUNTED[path]].seconds_to_wait(client):
                raise later(429, f"more than {self._limits.rate} requests a minute", seconds)
        if path == UPLOAD:
            tidy(self._uploads)

    async def _received(self, scope: Scope, receive: Receive) -> Receive:
        """Receives the body; what passes it on."""
        if scope["method"] != "POST":
            return receive
        path = scope["path"]
        most = self._limits.body if path in ("/api/translate", UPLOAD) else SMALL
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            raise _too_large(most)
        if self._bodies >= self._limits.bodies:
            raise later(503, "too many requests are being received", 1)
        self._bodies += 1
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await _whole(receive, most)
        except TimeoutError:
            raise Refused(408, f"the request was not sent within {self._limits.body_seconds:g} seconds") from None
        finally:
            self._bodies -= 1
        if path == JOIN:
            body = self._admit(body)
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
            scope["headers"].append((b"content-length", str(len(body)).encode()))
        return _replayed(body, receive)

    async def _drain(self, incoming: _Incoming) -> None:
        """Takes the rest of a body that nobody reads: a client that still sends would not see its answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while not incoming.is_whole and incoming.bytes <= 2 * self._limits.body:
                    await incoming()


class _Incoming:
    """What receives a request, and whether that is done."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.is_whole, self.bytes = receive, False, 0

    async def __call__(self) -> Message:
        """The next part."""
        message = await self._receive()
        self.is_whole, self.bytes = not message.get("more_body"), self.bytes + len(message.get("body", b""))
        return message


def _is_own(origin: bytes, host: bytes) -> bool:
    """Whether a request comes from a page of this server: other pages may send one, and only not see its answer."""
    return origin in (b"http://" + host, b"https://" + host)


def _too_large(most: int) -> Refused:
    return Refused(413, f"a request may have {most:,} bytes")


async def _whole(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request was not sent to its end")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    parts = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": parts.pop(), "more_body": False} if parts else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sending
