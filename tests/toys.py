"""What several test files need: toy data for a recipe, its batches, and comparisons that say what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i.batch import Batch
from i2i.config.resolve import recipe_names
from i2i.config.schema import Config
from i2i.data.batches import batches_from
from i2i.data.load import load_training_set
from i2i.data.training_set import TrainingData

from .conftest import Result, needs_of, small_config

CPU = torch.device("cpu")
TRANSLATORS = [name for name in recipe_names() if needs_of(name) != "one domain"]
SAMPLERS = [name for name in recipe_names() if needs_of(name) == "one domain"]


def prepare(arch: str, data: Path, *settings: str) -> tuple[Config, TrainingData]:
    config = small_config(arch, data, *settings)
    training_data = load_training_set(config, needs_of(arch))
    return training_data.settled(config), training_data


def stream_of(config: Config, data: TrainingData, start: int = 0) -> Iterator[Batch]:
    return batches_from(data.dataset(config, (0, 1)), start, workers=0, device=CPU)


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flat(value, f"{path}/{key}").items()}
    if isinstance(tree, list | tuple):
        return {k: v for i, value in enumerate(tree) for k, v in flat(value, f"{path}/{i}").items()}
    return {path: tree}


def assert_same(one: Any, other: Any) -> None:
    left, right = flat(one), flat(other)
    assert left.keys() == right.keys()
    for path, value in left.items():
        same = torch.equal(value, right[path]) if isinstance(value, Tensor) else value == right[path]
        assert same, path


def assert_refused(result: Result, *named: str, code: int = 2) -> None:
    """The command ended with ``code`` and one line on stderr, which names all of ``named``."""
    assert result.code == code, result.err or result.out
    assert result.err.count("\n") == 1, result.err
    for part in named:
        assert part in result.err
