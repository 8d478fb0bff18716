"""``i2i lab NAME``: runs an experiment and writes its figure and its metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

from i2i.data.images import write_image
from i2i.errors import ConfigError
from i2i.lab import EXPERIMENTS
from i2i.lab.drawing import to_pixels
from i2i.lab.findings import Findings
from i2i.needs import require_packages
from i2i.storage.files import require_free, require_writable, write_atomically

Experiment = Callable[[int], Findings]


def experiment(name: str) -> Experiment:
    """The function of the experiment ``name``, from the module of that name.

    Raises:
        ConfigError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
    found: Experiment = getattr(import_module(f"i2i.lab.{name}"), name)
    return found


def run_lab(name: str, output: Path, seed: int, *, overwrite: bool = False) -> list[str]:
    """Runs the experiment ``name`` and writes NAME.png and NAME.json into ``output``.

    Returns:
        The result in words.

    Raises:
        ConfigError: there is no such experiment.
        DataError: matplotlib is missing, ``output`` cannot be written, or one of the files exists and
            ``overwrite`` is off.
    """
    run = experiment(name)
    figure, metrics = output / f"{name}.png", output / f"{name}.json"
    require_free(figure, metrics, overwrite=overwrite)
    require_writable(figure)
    require_packages("i2i lab", "matplotlib")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: results do not depend on the number of cores
    try:
        found = run(seed)
    finally:
        torch.set_num_threads(threads)
    content = json.dumps({"lab": name, "seed": seed} | found.metrics, indent=2, allow_nan=False)
    write_image(figure, to_pixels(found.figure))
    write_atomically(metrics, (content + "\n").encode())
    return [*found.lines, f"figure: {figure}", f"metrics: {metrics}"]
