"""``i2i evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.ending import DONE, SKIPPED, tell
from i2i.cli.options import (
    SEED,
    FileName,
    FilledText,
    Run,
    device_option,
    example,
    overwrite_option,
    require_model,
    run_max_pixels_option,
)
from i2i.display import warn
from i2i.launched import launched
from i2i.needs import require_data
from i2i.storage.files import require_free

if TYPE_CHECKING:
    from i2i.config.schema import Device
    from i2i.evaluation.held_out import PartName


@click.command(
    epilog=example(
        "i2i evaluate --model runs/NAME",
        "i2i evaluate --model runs/ONE --model runs/OTHER --data FOLDER --json figures.json",
    )
)
@click.option(
    "--model",
    "models",
    type=Run(),
    multiple=True,
    help="Run folder or weight file; repeat it to compare several.  [default: the newest run]",
)
@click.option("--data", type=FilledText(), help="Data folder or built-in set.  [default: the run's data]")
@click.option(
    "--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Part that is held out."
)
@click.option(
    "--features",
    metavar="NAME|FILE",
    type=FilledText(),
    help="Feature network: lite0, inception (fetched on first use) or a file of its weights.  [default: lite0]",
)
@click.option("--metrics", metavar="NAME,...", type=FilledText(), help="Figures to measure.  [default: all that apply]")
@click.option(
    "--task",
    type=FilledText(),
    help="Score by a task: segment (label maps to images), classify (classes in sub-folders).",
)
@click.option("--count", type=click.IntRange(2), default=1000, show_default=True, help="Limit of held-out images.")
@click.option("--unpaired", is_flag=True, help="Do not treat equal file names in A and B as pairs.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of samples and patches.")
@run_max_pixels_option
@click.option("--json", "report_file", type=FileName(), help="Also write all figures to this JSON file.")
@overwrite_option
@device_option
def evaluate(
    models: tuple[Path, ...],
    data: str | None,
    split: PartName,
    features: str | None,
    metrics: str | None,
    task: str | None,
    count: int,
    unpaired: bool,
    seed: int,
    max_pixels: int | None,
    report_file: Path | None,
    overwrite: bool,
    device: Device,
) -> None:
    """Measure models on held-out images.

    Every figure is shown beside those of real images and of the unchanged inputs. docs/evaluation.md says what each
    figure means, and what must not be compared. Under torchrun, several processes share the making of outputs.
    """

    def check() -> None:
        if data is not None:
            require_data(data)
        require_free(*([report_file] if report_file else []), overwrite=overwrite)
        for model in models or (None,):
            require_model(model)

    if launched().size == 1:
        check()  # before torch is imported
    from i2i.evaluation.evaluate import Request, evaluate
    from i2i.evaluation.table import print_report
    from i2i.inference.together import together

    request = Request(
        data=data,
        split=split,
        features=features,
        metrics=None if metrics is None else [name.strip() for name in metrics.split(",")],
        task=task,
        count=count,
        pairs=not unpaired,
        seed=seed,
        max_pixels=max_pixels,
        device=device,
    )
    with together() as processes:
        processes.told(check)
        report = evaluate(models or [None], request, processes)
    if not processes.is_first:
        sys.exit(DONE)
    print_report(report)
    if report_file is not None:
        report.write(report_file)
        tell(f"all figures, down to those of each image: {report_file}")
    for line in report.skipped:
        warn(f"left out: {line}")
    sys.exit(SKIPPED if report.skipped else DONE)
