"""What several test files need: toy data for a recipe, its batches, and comparisons that say what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.config.resolve import read_recipe, recipe_names
from i2i.config.schema import Config
from i2i.data.batches import NumberedBatches
from i2i.data.training_set import TrainingData
from i2i.data.two_domains import TwoDomains
from i2i.methods.base import Method
from i2i.training.settling import data_of

from .conftest import Result, needs_of, small_config

CPU = torch.device("cpu")
TRANSLATORS = [name for name in recipe_names() if needs_of(name) != "one domain"]
SAMPLERS = [name for name in recipe_names() if needs_of(name) == "one domain"]
OF_PAPERS = [name for name in recipe_names() if not name.endswith("-fast")]
"""The others, for minutes on a CPU, have methods and layers of these in other sizes: dear tests leave them out."""
ONE_OF_EACH_METHOD = [
    name for name in OF_PAPERS if name in {read_recipe(other)["method"]["name"] for other in OF_PAPERS}
]
"""The recipes that are called as their methods, for what does not depend on networks and objectives."""
TRANSLATORS_OF_PAPERS = [name for name in TRANSLATORS if name in OF_PAPERS]


class TwoWeights(Method):
    """A critic and a generator of one weight each, which is 1."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.critic, self.generator = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.critic.weight)
        nn.init.ones_(self.generator.weight)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"critic": [self.critic], "generator": [self.generator]}

    def averaged(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def kept_for_inference(self) -> list[nn.Module]:
        return [self.generator]

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {}


def prepare(arch: str, data: Path, *settings: str) -> tuple[Config, TrainingData]:
    config = small_config(arch, data, *settings)
    loaded = data_of(config)
    return config.model_copy(update={"data": loaded.config}), loaded


def stream_of(config: Config, data: TrainingData, start: int = 0) -> Iterator[Batch]:
    return data.batches(dataset_of(config, data), start, workers=0, device=CPU)


def dataset_of(config: Config, data: TrainingData, rank: int = 0, world_size: int = 1) -> NumberedBatches:
    training = config.training
    return data.dataset(batch_size=training.batch_size, seed=training.seed, rank=rank, world_size=world_size)


def augmented(arch: str) -> str:
    """An assignment that augments what a recipe's discriminators see, adaptively where their scores have a sign."""
    adapts = read_recipe(arch)["method"].get("objective") not in (None, "wasserstein")
    return f"discriminator_augmentation={{mode: {'adaptive' if adapts else 'fixed'}, strength: 0.5}}"


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


def two_domains(config: Config, *, paired: bool) -> TwoDomains:
    return TwoDomains.read(config.data, config.image_size, paired=paired)


def joined(weights: dict[str, Tensor]) -> Tensor:
    """All weights in one row, by their names."""
    return torch.cat([weights[name].flatten() for name in sorted(weights)])
