"""Whole runs on 2 to 1,024 ranks, played by one process: all ranks ask for the same, and for as much in each world.

So no rank waits for another for ever, and none pays for the number of the others.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.errors import DataError, UserError
from i2i.storage.runs import RunFolder
from i2i.training.agreement import Agreement, Told
from i2i.training.start import resume, train
from i2i.training.trainer import Outcome

from .cluster import Cluster, Collective
from .conftest import make_set, needs_of, small_config

RANKS = {2: (0, 1), 64: (0, 31, 63), 1024: (0, 512, 1023)}
"""Those that are tried, by how many there are; the last one is asked to stop."""
STEPS = 4
UPDATES = {"cyclegan": 2, "cut": 2, "wgan-gp": 6, "unrolled": 2}
"""How many updates one step has."""
HANDFUL = {"cyclegan": 2, "cut": 0, "wgan-gp": 14, "unrolled": 4}
"""What a step asks for besides: one for each history; one for each batch norm that is passed, forward and backward;
one for each step that is unrolled, forward and backward."""
AT_MOST = {"world.items_of_all": 2 * 3 * 16**2 * 4, "agreement.require_same_start": 8192}
"""The bytes of what does not stay the same: the images of a full history, and the settings of a run."""
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
    # But for what is bounded: the settings, which name the size of the batch, and what histories get, which is drawn.
    others = [[each for each in log if each.asked not in AT_MOST] for log in of_rank_0]
    assert others == [others[-1]] * len(RANKS)
    for log in of_rank_0:
        assert len(log) <= len(of_rank_0[-1])
        assert all(each.bytes <= AT_MOST.get(each.asked, each.bytes) for each in log)


def test_a_rank_with_other_settings_images_or_checkpoints_is_refused(
    toy_set: Path, pairs: Path, tmp_path: Path
) -> None:
    config = config_of("cut", pairs, 2)

    def outcome_of_rank_1(start: Callable[[], Outcome]) -> str:
        with pytest.raises(UserError) as refused, cluster.rank(1):
            start()
        return str(refused.value)

    cluster = Cluster(2)
    with cluster.rank(0):
        train(config, tmp_path / "run")
    elsewhere = shutil.copytree(pairs, tmp_path / "elsewhere")
    with cluster.rank(1):
        assert train(changed(config, {"data.path": str(elsewhere)}), tmp_path / "run").step == STEPS
    seed = outcome_of_rank_1(lambda: train(changed(config, {"training.seed": 1}), tmp_path / "run"))
    assert "training.seed (1 against 0)" in seed
    images = outcome_of_rank_1(lambda: train(config_of("cut", toy_set, 2), tmp_path / "run"))
    assert str(toy_set) in images

    cluster = Cluster(2)
    older = Path(shutil.copytree(tmp_path / "run", tmp_path / "older"))
    RunFolder(older).checkpoints()[-1].unlink()
    with cluster.rank(0):
        resume(tmp_path / "run", STEPS + 1)
    assert f"step {STEPS - 1}" in outcome_of_rank_1(lambda: resume(older, STEPS + 1))


def test_a_rank_that_torchrun_adds_later_goes_on_with_the_others(
    labelled_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    config, run = config_of("unrolled", labelled_set, 2), tmp_path / "run"
    before, after = Cluster(2, stopped=1), Cluster(2)
    for rank in (0, 1):
        with before.rank(rank):
            assert train(config, run).interrupted
    as_it_was = Path(shutil.copytree(run, tmp_path / "copy"))
    with after.rank(0) as first:
        assert train(config, run).step == STEPS
    with after.rank(1) as added:
        assert train(config, as_it_was).step == STEPS
    assert added == first
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    with pytest.raises(DataError, match="not empty"), Cluster(2).rank(0):
        train(config, run)


def test_the_ranks_of_a_resumed_run_hear_at_once_of_what_one_is_asked(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, quiet = iter(range(100)), Told(0.0, False, False)
    monkeypatch.setattr("i2i.training.agreement.time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
    with Cluster(2).rank(0):
        agreement = Agreement(config_of("cyclegan", pairs, 2))
        heard = [
            agreement.after(step, quiet._replace(stop=step >= 2002), last=False).stop for step in range(2000, 2004)
        ]
    assert heard == [False, False, True, True]
