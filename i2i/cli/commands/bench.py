"""``i2i bench``."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from i2i.cli.ending import DONE, SKIPPED, stoppable, tell
from i2i.cli.options import (
    DEVICE,
    DEVICE_HELP,
    Assignment,
    Duration,
    FileName,
    Recipe,
    Run,
    example,
    overwrite_option,
    pass_settings,
    setting,
)
from i2i.storage.files import require_free, require_writable, write_atomically


@click.command(
    epilog=example("i2i bench runs/NAME", "i2i bench --arch cyclegan --image-size 128 --batch-size 1 --max-time 3m")
)
@click.argument("run", metavar="[RUN]", type=Run(), required=False)
@click.option("--arch", type=Recipe(), help="Without RUN: the recipe to time, on random images.")
@setting("--image-size", "image_size", type=int, help="Side of the images, in pixels.")
@setting("--batch-size", "training.batch_size", type=int, help="Images per domain in a batch.")
@click.option(
    "--set", "assignments", type=Assignment(), multiple=True, metavar="KEY=VALUE", help="Any setting of the recipe."
)
@setting("--device", "training.device", type=DEVICE, help=DEVICE_HELP)
@click.option("--max-time", "limit", type=Duration(), default="1m", show_default=True, help="Time to take, about.")
@click.option("--compile", "compiled", is_flag=True, help="Time compiled networks too, which takes minutes.")
@click.option("--json", "report_file", type=FileName(), help="Also write the figures to this JSON file.")
@overwrite_option
@pass_settings
def bench(
    settings: dict[str, Any],
    run: Path | None,
    arch: str | None,
    assignments: tuple[str, ...],
    limit: float,
    compiled: bool,
    report_file: Path | None,
    overwrite: bool,
) -> None:
    """Time training steps and translation on this machine.

    Shows precisions, memory layouts, layers and numbers of threads. Of a RUN, the fastest way to translate that stays
    close to fp32 on held-out images is kept in fastest.json beside it, and i2i translate uses it.
    """
    device = settings["training.device"] or "auto"
    if (run is None) == (arch is None):
        raise click.UsageError("give RUN or --arch, one of the two")
    recipe = [name for name, value in settings.items() if value is not None and name != "training.device"]
    if run is not None and (recipe or assignments):
        raise click.UsageError("RUN has its own settings: --image-size, --batch-size and --set go with --arch")
    if report_file is not None:
        require_free(report_file, overwrite=overwrite)
        require_writable(report_file)
    with stoppable("nothing was kept"), warnings.catch_warnings():
        if compiled:
            from i2i.needs import require_compiler

            require_compiler()
            warnings.simplefilter("ignore")  # of the compiler about its own ways
        if run is not None:
            from i2i.bench.bench import bench_run
            from i2i.storage.runs import RunFolder

            RunFolder(run).require()
            report = bench_run(run, device, limit, compiled=compiled)
        else:
            from i2i.bench.bench import bench_recipe
            from i2i.config.resolve import resolve_config
            from i2i.planning.report import with_known_data

            config = with_known_data(lambda size: resolve_config(arch, options=settings, assignments=assignments))(0)
            report = bench_recipe(config, limit, compiled=compiled)
    tell(*report.lines())
    if report_file is not None:
        write_atomically(report_file, (json.dumps(report.content(), indent=1) + "\n").encode())
    sys.exit(DONE if report.complete else SKIPPED)
