"""Puts page, REST and guard together, and serves them until a signal ends it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from i2i.serve.engine import Engine
from i2i.serve.folder import private_folder
from i2i.serve.guard import LARGEST_HEAD, App, Guard
from i2i.serve.limits import Limits
from i2i.serve.models import Served
from i2i.serve.rest import create_rest

CONNECTIONS = 512
"""At one time; a page that is open has two."""
GRACE = 3
"""Seconds for answers that are under way when the server ends."""


def serve(
    models: Mapping[str, Served],
    listener: socket.socket,
    limits: Limits,
    *,
    waiting: int,
    names: frozenset[str] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serves models until SIGINT or SIGTERM, which is passed on when the server has ended.

    Args:
        models: by name.
        listener: where clients come in.
        limits: of requests.
        waiting: how many requests may wait while one is computed.
        names: as ``Guard``.
        ready: called when all is ready to serve.
    """
    with private_folder() as folder:
        inbox, uploads = folder / "inbox", folder / "uploads"
        inbox.mkdir()
        uploads.mkdir()
        with closing(Engine(models, waiting=waiting, folder=inbox)) as engine:
            app = create_app(engine, limits, uploads, names)
            ready()
            _run(app, listener)


def create_app(engine: Engine, limits: Limits, uploads: Path, names: frozenset[str] | None) -> App:
    """The application that answers everything.

    Args:
        engine: what computes.
        limits: of requests.
        uploads: a folder of its own for images that the page sends and gets.
        names: as ``Guard``.
    """
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_EXAMPLES_CACHE": str(uploads / "examples"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    import gradio as gr

    from i2i.serve.admission import Admission
    from i2i.serve.page import CSS, THEME, build_page

    page = build_page(engine, uploads)
    page.queue(max_size=None, default_concurrency_limit=None, api_open=False)  # the engine has a queue of its own
    app = gr.mount_gradio_app(
        create_rest(engine),
        page,
        path="/",
        allowed_paths=[],
        max_file_size=limits.body,
        show_error=True,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        theme=THEME,
        css=CSS,
    )
    return Guard(app, limits, uploads=uploads, admit=Admission(page, uploads), names=names)


def _run(app: App, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=2 * LARGEST_HEAD,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run(sockets=[listener])
