"""``i2i features``."""

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
    device_option,
    example,
    max_pixels_option,
    model_option,
    overwrite_option,
    require_model,
)
from i2i.display import warn
from i2i.needs import require_data, require_packages
from i2i.storage.files import require_free, require_writable

if TYPE_CHECKING:
    from i2i.config.schema import Device


@click.command(epilog=example("i2i features DATA --model runs/NAME --per-label 100"))
@click.argument("path", metavar="DATA", type=FilledText())
@model_option
@click.option(
    "--per-label",
    type=click.IntRange(2),
    default=100,
    show_default=True,
    help="Number of training images per label.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of the image choice.")
@click.option("--json", "report_file", type=FileName(), help="Also write the report to this JSON file.")
@max_pixels_option
@overwrite_option
@device_option
def features(
    path: str,
    model: Path | None,
    per_label: int,
    seed: int,
    report_file: Path | None,
    max_pixels: int,
    overwrite: bool,
    device: Device,
) -> None:
    """Test a discriminator's features on labelled data.

    Compares a linear classifier on the features with one on an untrained network's features and one on pixels.
    """
    require_data(path)
    if report_file is not None:
        require_free(report_file, overwrite=overwrite)
        require_writable(report_file)
    require_packages("i2i features", "sklearn")
    require_model(model)
    from i2i.inference.load import load_sampler
    from i2i.probes.features import measure_features

    sampler = load_sampler(model, device=device)
    report = measure_features(sampler, path, per_label=per_label, seed=seed, max_pixels=max_pixels)
    for problem in report.skipped:
        warn(f"left out: {problem}")
    tell(*report.lines())
    if report_file is not None:
        report.write(report_file)
    sys.exit(SKIPPED if report.skipped else DONE)
