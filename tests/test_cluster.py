"""Whole runs on 2 to 1,024 ranks, played by one process: all ranks ask the same of each other, and as much on each world.

So no rank can wait for another for ever, and none pays for the number of the others.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from i2i.config.schema import Config
from i2i.training.start import resume, train

from .cluster import Cluster, Collective
from .conftest import make_set, needs_of, small_config

RANKS = {2: (0, 1), 8: (0, 1, 4, 7), 64: (0, 31, 63), 1024: (0, 1, 512, 1023)}
"""Those that are tried, by how many there are; the last one is asked to stop."""
STEPS = 4
UPDATES = {"cyclegan": 2, "cut": 2, "wgan-gp": 6, "unrolled": 2}
"""How many updates one step has."""
HANDFUL = {"cyclegan": 2, "cut": 0, "wgan-gp": 14, "unrolled": 4}
"""What a step asks for besides: one for each history; one for each batch norm that is passed, forward and backward;
one for each step that is unrolled, forward and backward."""
EVALUATING = ("evaluation.every=2", "evaluation.metrics=[l1]", "evaluation.watch=l1", "evaluation.patience=9")
FEWER = {"cyclegan": ("method.history=2",), "unrolled": ("method.unrolled_steps=2",)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of which some are held out, to be evaluated on."""
    return make_set(tmp_path_factory.mktemp("data") / "pairs", trainA=4, trainB=4, testA=12, testB=12)


def config_of(arch: str, data: Path, size: int) -> Config:
    """One image for each rank; everything that a run can do beside its steps takes place."""
    cadences = ("training.checkpoint_seconds=0", "health.enabled=true", "health.every=3")
    evaluating = EVALUATING if needs_of(arch) != "one domain" else ()
    length = {"training.batch_size": size, "training.steps": STEPS}
    return small_config(arch, data, *cadences, *evaluating, *FEWER.get(arch, ()), **length)


def asked(config: Config, size: int, folder: Path) -> list[list[Collective]]:
    """What every rank asks of all others in a run: up to a stop after the first step, and from there to its end."""
    stopped, goes_on = Cluster(size, stopped=size - 1), Cluster(size)
    before, after = [], []
    for rank in RANKS[size]:
        with stopped.rank(rank) as log:
            assert train(config, folder / "run").interrupted
        before.append(log)
    for rank in RANKS[size]:
        copied = Path(shutil.copytree(folder / "run", folder / str(rank)))
        with goes_on.rank(rank) as log:
            outcome = resume(copied)
        assert (outcome.step, outcome.interrupted) == (STEPS, False)
        after.append(log)
    return [one + other for one, other in zip(before, after, strict=True)]


@pytest.mark.parametrize("arch", UPDATES)
def test_every_rank_of_every_world_asks_for_the_same(
    arch: str, pairs: Path, data_for: Callable[[str], Path], tmp_path: Path
) -> None:
    data = data_for(arch) if needs_of(arch) == "one domain" else pairs
    of_rank_0 = []
    for size, ranks in RANKS.items():
        logs = asked(config_of(arch, data, size), size, tmp_path / str(size))
        for rank, log in zip(ranks, logs, strict=True):
            assert log == logs[0], f"rank {rank} of {size}"
        of_rank_0.append(logs[0])
    counts = Counter(each.asked for each in of_rank_0[-1])
    assert counts["world.average_over_ranks"] == STEPS * UPDATES[arch]
    assert counts["world.forward"] + counts["world.items_of_all"] == STEPS * HANDFUL[arch]
    if arch != "cyclegan":
        assert of_rank_0 == [of_rank_0[-1]] * len(RANKS)
        return
    # What a history gets is drawn, and at most its capacity.
    others = [[each for each in log if each.asked != "world.items_of_all"] for log in of_rank_0]
    assert others == [others[-1]] * len(RANKS)
    for log in of_rank_0:
        assert len(log) <= len(of_rank_0[-1])
        assert all(each.bytes <= 2 * 3 * 16**2 * 4 for each in log if each.asked == "world.items_of_all")
