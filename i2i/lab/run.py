"""``i2i lab NAME``: runs an experiment and writes its picture and its figures.

Adding an experiment is adding a module whose function has the module's name: (seed) to ``Findings``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path

import torch

from i2i import lab
from i2i.data.images import write_image
from i2i.errors import ConfigError
from i2i.files import write_atomically
from i2i.lab.drawing import require_matplotlib, to_pixels
from i2i.lab.findings import Findings

Experiment = Callable[[int], Findings]


def experiments() -> dict[str, Experiment]:
    """The experiments by name."""
    names = [module.name for module in pkgutil.iter_modules(lab.__path__)]
    modules = {name: importlib.import_module(f"{lab.__name__}.{name}") for name in names}
    return {name: getattr(module, name) for name, module in modules.items() if hasattr(module, name)}


def run_lab(name: str, output: Path, seed: int) -> list[str]:
    """Runs the experiment ``name`` and writes NAME.png and NAME.json into ``output``.

    Returns:
        What was found, in words.

    Raises:
        ConfigError: there is no such experiment.
        DataError: matplotlib is missing, or ``output`` cannot be written.
    """
    known = experiments()
    if name not in known:
        raise ConfigError(f"there is no experiment {name!r}; known: {', '.join(sorted(known))}")
    require_matplotlib()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, so that the number of cores changes no figure
    try:
        found = known[name](seed)
    finally:
        torch.set_num_threads(threads)
    picture, figures = output / f"{name}.png", output / f"{name}.json"
    write_image(picture, to_pixels(found.picture))
    write_atomically(figures, (json.dumps({"lab": name, "seed": seed} | found.figures, indent=2) + "\n").encode())
    return [*found.lines, f"picture: {picture}", f"figures: {figures}"]
