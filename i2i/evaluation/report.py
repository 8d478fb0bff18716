"""What an evaluation has found, and how it is written as JSON: everything, down to the value of each image."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2i.device import environment
from i2i.evaluation.compare import Comparison
from i2i.evaluation.cost import Cost
from i2i.evaluation.evaluated import Figure
from i2i.evaluation.format import FORMAT
from i2i.evaluation.held_out import HeldOut
from i2i.launched import launched
from i2i.needs import version
from i2i.storage.files import write_atomically

PACKAGES = ("torch", "numpy", "pillow", "scikit-image", "torchmetrics", "torch-fidelity", "efficientnet-lite-pytorch")
Figures = dict[str, Figure]
"""Figures by their names."""


@dataclass(frozen=True)
class Evaluation:
    """One model in one direction.

    Attributes:
        title: what it is called in tables.
        file: its weights.
        sha256: of that file.
        arch: its recipe.
        step: how many steps it was trained for.
        seed: its training's; None where no run folder tells.
        family: what runs that differ by their seed alone have in common; None where no run folder tells.
        figures: by name.
        cost: what it takes.
    """

    title: str
    file: str
    sha256: str
    arch: str
    step: int
    seed: int | None
    family: str | None
    figures: Figures
    cost: Cost


@dataclass(frozen=True)
class Range:
    """Several seeds of one recipe: of each figure the mean, the smallest and the largest."""

    arch: str
    seeds: list[int]
    figures: dict[str, tuple[float, float, float]]


@dataclass
class Part:
    """The models that were held against the same images in the same direction.

    Attributes:
        direction: its name; "samples" for images from noise.
        image_size: the side of the images.
        held_out: the images.
        n: how many outputs, real held-out images and training images.
        models: what was found of each.
        real: the figures of real images in the place of outputs.
        copy: those of the inputs in the place of outputs.
        comparisons: of the models with each other.
        ranges: of several seeds.
        unavailable: what was not measured, and why.
        cautions: what has to be said beside a figure.
        lower_is_better: the figures of which this is so.
        unranked: those of which no value is better than another.
        masked: those that count only what the masks of pairs show.
    """

    direction: str
    image_size: int
    held_out: HeldOut
    n: dict[str, int]
    models: list[Evaluation] = field(default_factory=list)
    real: Figures = field(default_factory=dict)
    copy: Figures = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    cautions: dict[str, str] = field(default_factory=dict)
    lower_is_better: set[str] = field(default_factory=set)
    unranked: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Report:
    """A whole evaluation.

    Attributes:
        parts: for each direction, and for each set of held-out images.
        network: the feature network and the digest of its weights; None where there was none.
        seed: what samples, patches and resampling were drawn from.
        skipped: what could not be read or was not measured though it was named.
    """

    parts: Sequence[Part]
    network: tuple[str, str] | None
    seed: int
    skipped: list[str]

    def to_json(self) -> bytes:
        """The report as a file has it."""
        network = None if self.network is None else {"name": self.network[0], "sha256": self.network[1]}
        tree = {
            "format": FORMAT,
            **machine(),
            "feature_network": network,
            "seed": self.seed,
            "skipped": self.skipped,
            "directions": [_part(part) for part in self.parts],
        }
        return json.dumps(_finite(tree), indent=1, allow_nan=False).encode()

    def write(self, path: Path) -> None:
        """Writes it; raises DataError."""
        write_atomically(path, self.to_json())


def machine() -> dict[str, Any]:
    """What figures of speed, and the last digits of others, depend on."""
    return {
        "environment": environment(),
        "packages": {name: found for name in PACKAGES if (found := version(name))},
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "processes": launched().size,
    }


def cpu() -> dict[str, Any]:
    """The CPU's name and instructions, as far as torch knows them, and those that torch uses."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "name": known.get("cpu_name", ""),
        "cores": known.get("num_physical_cores"),
        "used": torch.backends.cpu.get_cpu_capability(),
        "features": sorted(name for name, there in known.items() if there is True),
    }


def _part(part: Part) -> dict[str, Any]:
    held = part.held_out
    return {
        "direction": part.direction,
        "image_size": part.image_size,
        "data": {"title": held.title, "split": held.split, "sha256": held.digest, "paired": held.paired},
        "notes": held.notes,
        "n": part.n,
        "names": {domain: side.names for domain, side in held.sides.items()},
        "labels": held.labels,
        "lower_is_better": sorted(part.lower_is_better),
        "unranked": sorted(part.unranked),
        "masked": sorted(part.masked),
        "real": {name: figure_tree(figure) for name, figure in part.real.items()},
        "copy": {name: figure_tree(figure) for name, figure in part.copy.items()},
        "models": [
            {key: value for key, value in vars(model).items() if key not in ("figures", "cost")}
            | {"figures": {name: figure_tree(figure) for name, figure in model.figures.items()}}
            | {"cost": asdict(model.cost)}
            for model in part.models
        ],
        "comparisons": [asdict(comparison) for comparison in part.comparisons],
        "seeds": [asdict(range_) for range_ in part.ranges],
        "unavailable": part.unavailable,
        "cautions": part.cautions,
    }


def figure_tree(figure: Figure) -> dict[str, Any]:
    """A figure as JSON values; what it does not have is left out."""
    tree = {
        key: value for key, value in vars(figure).items() if value is not None and not (key == "details" and not value)
    }
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in tree.items()}


def _finite(tree: Any) -> Any:
    """The same with null in the place of what JSON has no number for."""
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
