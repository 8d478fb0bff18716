"""``i2i serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import model_line, stoppable, tell
from i2i.cli.options import Bytes, FilledText, Run, device_option, example, precision_option, require_model
from i2i.needs import require_packages

if TYPE_CHECKING:
    from i2i.config.schema import Device, Precision


@click.command(
    epilog=example(
        "i2i serve",
        "i2i serve runs/ONE runs/TWO --port 8000",
        "i2i serve runs/NAME/AtoB.onnx",
        "curl -F image=@photo.jpg 'http://127.0.0.1:7860/api/translate?direction=BtoA' -o translated.png",
    )
)
@click.argument("runs", metavar="[RUN]...", type=Run(), nargs=-1)
@click.option(
    "--host",
    type=FilledText(),
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0: every one of this machine, for all who can reach it.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Port; 0: any free one.")
@click.option(
    "--allow-host",
    "allowed",
    metavar="NAME",
    type=FilledText(),
    multiple=True,
    help="A name by which browsers may address the server, such as that of a proxy; on 127.0.0.1, localhost is one.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    default=25_000_000,
    show_default=True,
    help="Largest image that is read, in pixels.",
)
@click.option("--max-bytes", type=Bytes(), default="32MB", show_default=True, help="Largest request.")
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=60,
    show_default=True,
    help="Translations or samples a minute for each client.",
)
@click.option(
    "--queue",
    type=click.IntRange(0, 10_000),
    metavar="N",
    default=16,
    show_default=True,
    help="How many requests may wait while one is computed.",
)
@precision_option(", as `i2i translate` has it for a single image.")
@device_option
def serve(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    allowed: tuple[str, ...],
    max_pixels: int,
    max_bytes: int,
    rate: int,
    queue: int,
    precision: Precision,
    device: Device,
) -> None:
    """Serve models to browsers and programs of this machine.

    RUN is a run folder, a weight file or an exported ONNX file, by default the newest run. The page translates an image
    that is dropped on it or taken by the camera, and draws samples of noise models; /openapi.json describes the same
    for programs (REST).

    Ctrl-C ends it.
    """
    require_packages("i2i serve", "gradio", extra="serve")
    for run in runs or (None,):
        require_model(run, exported=True)
    with stoppable("the server has ended"):
        from i2i.serve.listening import address_of, listening, names_of

        with listening(host, port) as listener:  # a port that is taken is found before torch is imported
            from i2i.serve.limits import Limits
            from i2i.serve.models import load_models
            from i2i.serve.server import serve as serve_models

            models = load_models(runs, device=device, precision=precision, max_pixels=max_pixels)
            shown = ", ".join(f"{name}: {model_line(each.model)} of {each.path}" for name, each in models.items())
            line = f"serving at {address_of(listener)} ({shown}); Ctrl-C ends it"
            names = names_of(listener, allowed)
            limits = Limits(max_bytes, rate)
            serve_models(models, listener, limits, waiting=queue, names=names, ready=lambda: tell(line))
