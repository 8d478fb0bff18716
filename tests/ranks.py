"""Every recipe for some steps, and batch norm, on the ranks of this launch; rank 0 leaves results for test_ranks.py.

``python -m tests.ranks FILE STEPS``, started by ``torch.distributed.run``, or as one process. Recipes are
in double precision: in single, rounding alone parts runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from i2i.batch import Batch
from i2i.config.resolve import read_recipe
from i2i.config.schema import Config
from i2i.methods.base import Method
from i2i.networks.batch_norm import BatchNorm2d
from i2i.training.engine import Engine
from i2i.training.start import leave_processes
from i2i.world import mean_over_ranks, own_part, world

from .conftest import needs_of, small_config
from .toys import OF_PAPERS, ONE_OF_EACH_METHOD, augmented

BATCH, CLASSES = 6, ("a", "b", "c")
NORMS = {torch.float64: 0.0, torch.float32: 1000.0, torch.bfloat16: 0.0}
"""The mean of what batch norm is tried with, by its precision."""


def config_of(arch: str, *settings: str) -> Config:
    if "history" in read_recipe(arch)["method"]:
        settings = (*settings, "method.history=8")  # full in the second step
    config = small_config(arch, Path("digits"), f"training.batch_size={BATCH}", *settings)
    if needs_of(arch) != "one domain":
        return config
    labels = () if Method.named(config.method["name"]).uses_labels(config.method) == "ignored" else CLASSES
    return config.model_copy(update={"data": config.data.model_copy(update={"channels_a": 1, "labels": labels})})


def batches(config: Config) -> Iterator[Batch]:
    """This rank's part of batches that are the same for every world size."""
    images = config.data.images
    random = torch.Generator().manual_seed(5)
    while True:
        a, b = (
            torch.rand(BATCH, channels, 16, 16, generator=random).mul(2).sub(1)
            for channels in (images.channels_a, images.channels_b)
        )
        label = torch.randint(len(CLASSES), (BATCH,), generator=random) if images.labels else None
        yield Batch(own_part(a), own_part(b), None if label is None else own_part(label))


def trained(config: Config, steps: int) -> dict[str, Any]:
    engine, stream = Engine(config, torch.device("cpu")), batches(config)
    losses: list[dict[str, Tensor]] = [engine.step(stream, 0.0) for _ in range(steps)]
    state = engine.method.state_dict()
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()}
    return {"weights": tensors, "losses": losses}


def plain_gradient_steps(arch: str) -> Config:
    players = config_of(arch).optimizers
    return config_of(arch, *(f"optimizers.{player}={{name: sgd, lr: 0.005}}" for player in players))


def batch_norm(precision: torch.dtype, offset: float) -> dict[str, Tensor]:
    """What batch norm makes of this rank's part of a batch, and gradients, and gradients of gradients."""
    random = torch.Generator().manual_seed(3)
    whole, wanted = torch.randn(2, BATCH, 3, 4, 4, generator=random, dtype=torch.float64)
    norm = BatchNorm2d(3, dtype=torch.promote_types(precision, torch.float32))
    nn.init.uniform_(norm.weight, 0.5, 1.5, generator=random)
    x = own_part(whole + offset).to(precision).requires_grad_()
    out = norm(x)
    loss = (out * own_part(wanted)).sum()
    of_x, of_weight = torch.autograd.grad(loss, [x, norm.weight], retain_graph=True)
    again, of_weight_again = torch.autograd.grad(loss, [x, norm.weight], create_graph=True)
    twice, of_weight_twice = torch.autograd.grad(again.double().square().sum(), [x, norm.weight])
    own = {"out": out, "gradient": of_x, "again": again, "twice": twice}
    sums = {"weight": of_weight, "weight, again": of_weight_again, "weight, twice": of_weight_twice}
    same = {"mean": norm.running_mean, "variance": norm.running_var}
    same |= {name: mean_over_ranks(value.detach()) * world().size for name, value in sums.items()}
    return {name: value.detach()[:1].double() for name, value in own.items()} | same


def threads_of_groups() -> list[str]:
    """The threads of this process that do a group's work; one that outlives it can abort the interpreter's end."""
    return [name for path in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := path.read_text().strip())]


if __name__ == "__main__":
    torch.set_num_threads(1)
    PartialState(cpu=True)
    norms = {str(precision): batch_norm(precision, offset) for precision, offset in NORMS.items()}
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    path, steps = sys.argv[1], int(sys.argv[2])
    results = {
        arch: {"sgd": trained(plain_gradient_steps(arch), steps)}
        | ({"own": trained(config_of(arch, augmented(arch)), steps)} if arch in ONE_OF_EACH_METHOD else {})
        for arch in OF_PAPERS
    }
    if world().rank == 0:
        torch.save(results | {"batch norm": norms}, path)
    leave_processes()
    assert not threads_of_groups(), threads_of_groups()
