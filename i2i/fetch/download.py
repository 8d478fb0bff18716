"""Downloads large files over http and https; interrupted downloads continue, in the same run or a later one.

The bytes lie in one file, and beside it, in JSON, what tells that version of the remote file from another: its address,
its validators (ETag, Last-Modified) and its length. A server that offers another version, or no ranges, is read from
the beginning again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError

from i2i.display import say, tracked
from i2i.errors import DataError
from i2i.storage.files import write_atomically
from i2i.version import __version__

PIECE = 2**16
MEGABYTE = 10**6
TIMEOUT = 30.0
PAUSES = (1.0, 3.0, 9.0)
"""Seconds to wait before each further try."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be other ones in a moment."""


class _Cut(Exception):
    """The transfer failed in a way that may pass."""


@dataclass(frozen=True)
class Version:
    """What tells one version of a remote file from another; None is unknown."""

    url: str
    etag: str | None
    modified: str | None
    length: int | None

    @classmethod
    def of(cls, url: str, response: HTTPResponse) -> Version:
        """The version that a server has answered with, a part of it or the whole."""
        stated = response.headers["Content-Length"] or ""
        if response.status == 206:
            stated = (response.headers["Content-Range"] or "").rpartition("/")[2]
        length = int(stated) if re.fullmatch(r"\d{1,18}", stated) else None
        return cls(url, response.headers["ETag"], response.headers["Last-Modified"], length)

    def is_same(self, other: Version) -> bool:
        """Whether everything that is known of both agrees, and anything is."""
        pairs = [(self.etag, other.etag), (self.modified, other.modified), (self.length, other.length)]
        known = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
        return bool(known) and all(mine == theirs for mine, theirs in known)

    def condition(self) -> str | None:
        """What ``If-Range`` may carry: a strong validator (RFC 9110, section 13.1.5)."""
        return self.modified if self.etag is None or self.etag.startswith("W/") else self.etag


class Download:
    """A remote file on its way into ``path``; ``path``.json says which version it is.

    Args:
        url: an http or https address.
        path: where the bytes go.
        label: what to call the file while it comes.
        max_bytes: a longer file is refused.
    """

    def __init__(self, url: str, path: Path, *, label: str, max_bytes: int) -> None:
        self.url, self.path, self.label, self.max_bytes = url, path, label, max_bytes
        self._record = path.with_name(f"{path.name}.json")
        self._reached = False
        self._ranges = True

    def fetch(self) -> None:
        """Downloads what is still missing.

        Raises:
            DataError: names the address and the reason, and says what is kept for the next time.
        """
        if self.path.exists() and not self._record.exists():
            raise DataError(f"{self.path} already exists and was not created by i2i: move it, or choose another name")
        try:
            for pause in (*PAUSES, None):
                try:
                    self._go_on()
                    return
                except _Cut as cut:
                    if pause is None:
                        raise self._failure(str(cut)) from None
                    say(f"{self.url}: {cut}, {self._amount()} so far; trying again in {pause:.0f} s")
                    time.sleep(pause)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}{self._kept()}") from None

    def remove(self) -> None:
        """Deletes what was downloaded."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def _go_on(self) -> None:
        known = self._known()
        done = self.path.stat().st_size if known is not None and self.path.is_file() else 0
        if known is not None and known.length is not None and done == known.length:
            return
        with closing(self._ask(done, known)) as response:
            found = Version.of(self.url, response)
            if known is not None and done:
                done = self._agreed_start(response, done, known, found)
            if found.length is not None and found.length > self.max_bytes:
                self._refuse_size()
            if not done:
                self.remove()
                write_atomically(self._record, json.dumps(asdict(found)).encode())
            self._receive(response, done, found.length)

    def _known(self) -> Version | None:
        """The version that an earlier try has begun, unless it is of another address or unreadable."""
        try:
            known = Version(**json.loads(self._record.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return known if known.url == self.url else None

    def _ask(self, done: int, known: Version | None) -> HTTPResponse:
        headers = {"User-Agent": f"i2i/{__version__}"}
        if known is not None and done:
            headers["Range"] = f"bytes={done}-"
            if condition := known.condition():
                headers["If-Range"] = condition
        try:
            response: HTTPResponse = _opener().open(request.Request(self.url, headers=headers), timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            raise self._refusal(error) from None
        except URLError as error:
            if not self._reached:
                hint = "check the connection, or give another address with --url"
                raise self._failure(f"cannot be reached ({_reason(error.reason)}); {hint}") from None
            raise _Cut(_reason(error.reason)) from None
        except (InvalidURL, ValueError) as error:
            raise self._failure(f"no valid address ({error})") from None
        except (OSError, HTTPException) as error:
            raise _Cut(_reason(error)) from None
        self._reached = True
        return response

    def _refusal(self, error: HTTPError) -> Exception:
        if error.code == 416:
            self.remove()
            return _Cut("the remote file is now shorter than the local part")
        reason = f"the server says {error.code} {error.reason}"
        if error.code in PASSING:
            self._reached = True
            return _Cut(reason)
        return self._failure(f"{reason}; give another address with --url")

    def _agreed_start(self, response: HTTPResponse, done: int, known: Version, found: Version) -> int:
        """Where the answer to a request for the rest begins: behind what is there, or at the beginning."""
        same = known.is_same(found)
        begin = re.match(r"bytes (\d{1,18})-", response.headers["Content-Range"] or "")
        if response.status == 206 and same and begin is not None and int(begin[1]) == done:
            return done
        if response.status == 206:
            self.remove()
            raise _Cut("it has changed on the server")
        self._ranges = not same
        say(f"{self.url}: {'the server sends no ranges' if same else 'it has changed on the server'}; starting again")
        return 0

    def _receive(self, response: HTTPResponse, done: int, length: int | None) -> None:
        missing = 0 if length is None else -(-(length - done) // MEGABYTE)
        with self.path.open("ab" if done else "wb") as file:
            for _ in tracked(f"downloading {self.label}, MB", missing)(self._megabytes(response, file, done, length)):
                pass
        size = self.path.stat().st_size
        if size > self.max_bytes:
            self._refuse_size()
        if length is not None and size != length:
            raise _Cut("the connection was cut")

    def _megabytes(self, response: HTTPResponse, file: IO[bytes], done: int, length: int | None) -> Iterator[None]:
        """Writes what arrives, and yields once for each megabyte."""
        uncounted = 0
        while (length is None or done < length) and done <= self.max_bytes:
            try:
                piece = response.read1(PIECE if length is None else min(PIECE, length - done))
            except (OSError, HTTPException) as error:
                raise _Cut(_reason(error)) from None
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            uncounted += len(piece)
            while uncounted >= MEGABYTE:
                uncounted -= MEGABYTE
                yield

    def _refuse_size(self) -> None:
        self.remove()
        raise self._failure(f"it is larger than {self.max_bytes / 1e9:,.3g} GB")

    def _failure(self, reason: str) -> DataError:
        return DataError(f"{self.url}: {reason}{self._kept()}")

    def _kept(self) -> str:
        """What is left for the next time, in words; what no later try could use is deleted."""
        if self._known() is None:
            return ""
        if not self._ranges or not self.path.is_file() or not self.path.stat().st_size:
            self.remove()
            return ""
        return f"; {self.path} keeps {self._amount()}, repeat the command to continue"

    def _amount(self) -> str:
        return f"{self.path.stat().st_size / MEGABYTE:,.1f} MB" if self.path.is_file() else "nothing"


def _opener() -> request.OpenerDirector:
    """Opens http and https addresses; the usual opener would follow a redirection to ftp, and read files."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _reason(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
