"""A local stand-in for the Hugging Face hub: the endpoints that huggingface_hub calls to push and to fetch a model."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Commit = dict[str, bytes]


class Hub:
    """Repositories, each with its commits in order, and what was asked for.

    Attributes:
        repositories: commits by their names, in order.
        private: the repositories that not everybody may see.
        lies: content that is sent in the place of a file's, by its name.
        asked: the methods and paths of all requests.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Commit]] = {}
        self.private: set[str] = set()
        self.lies: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []

    def commit(self, repository: str, files: Commit) -> str:
        """Adds a commit, and returns its name."""
        commits = self.repositories.setdefault(repository, {})
        before = next(reversed(commits.values()), {})
        name = sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits[name] = before | files
        return name

    def found(self, repository: str, revision: str) -> tuple[str, Commit]:
        """The commit that a revision leads to; raises KeyError where there is none."""
        commits = self.repositories[repository]
        name = next(reversed(commits)) if revision == "main" else revision
        return name, commits[name]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        body = self._body()
        parts = path.strip("/").split("/")
        try:
            self._route(parts, body)
        except KeyError:
            known = parts[0] == "api" and "/".join(parts[2:4]) in self.hub.repositories
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, parts: list[str], body: bytes) -> None:
        match parts:
            case ["api", "models", owner, name, *rest] if rest[:1] in ([], ["revision"]):
                self._json(self._info(f"{owner}/{name}", rest[1] if rest else "main"))
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                repository = f"{asked['organization']}/{asked['name']}"
                self.hub.repositories[repository] = {}
                self.hub.commit(repository, {})
                if asked["visibility"] == "private":
                    self.hub.private.add(repository)
                self._json({"url": f"http://{self.headers['Host']}/{repository}"})
            case ["api", "validate-yaml"]:
                self._json({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                self._json({"files": modes})
            case [_, _, "info", "lfs", "objects", "batch"]:
                objects = json.loads(body)["objects"]
                link = f"http://{self.headers['Host']}/upload/"
                self._json({"objects": [o | {"actions": {"upload": {"href": link + o["oid"]}}} for o in objects]})
            case ["upload", digest]:
                assert sha256(body).hexdigest() == digest
                self.hub.large[digest] = body
                self._json({})
            case ["api", "models", owner, name, "commit", _]:
                commit = self.hub.commit(f"{owner}/{name}", dict(self._committed(body)))
                url = f"http://{self.headers['Host']}/{owner}/{name}/commit/{commit}"
                self._json({"commitUrl": url, "commitOid": commit})
            case [owner, name, "resolve", revision, file]:
                commit, files = self.hub.found(f"{owner}/{name}", revision)
                content = self.hub.lies.get(file, files[file])
                self._send(200, content, {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": commit})
            case _:
                raise KeyError(parts)

    def _info(self, repository: str, revision: str) -> dict[str, Any]:
        commit, files = self.hub.found(repository, revision)
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "lfs": {"size": len(content), "sha256": sha256(content).hexdigest(), "pointerSize": 130},
            }
            for name, content in files.items()
        ]
        private = repository in self.hub.private
        return {"id": repository, "sha": commit, "private": private, "siblings": siblings}

    def _committed(self, body: bytes) -> Iterator[tuple[str, bytes]]:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                yield value["path"], base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                yield value["path"], self.hub.large[value["oid"]]

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """The address of ``hub`` for as long as the context lasts."""
    handler = type("HandlerOfOne", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
