"""A run that was stopped, however it was stopped, ends bit for bit as the run that was not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from i2i.config.resolve import changed, read_recipe
from i2i.data.batches import draw as order_of
from i2i.errors import ConfigError, DataError, TrainingStopped, WeightsError
from i2i.report.facts import read_facts
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree, save_tree
from i2i.training.start import resume, train
from i2i.training.trainer import Outcome, Trainer

from .conftest import Run, make_set, small_arguments, small_config
from .toys import ONE_OF_EACH_METHOD, SAMPLERS, assert_refused, assert_same

STEPS = 30
# A short history, so that fakes are exchanged on both sides of every stop.
SETTINGS = ["method.history=5", "training.ema.half_life=10", "training.checkpoint_seconds=0", "training.log_every=4"]


def state_of(run: Path) -> dict[str, object]:
    tree, _ = load_tree(RunFolder(run).checkpoints()[-1], kind="checkpoint")
    return {key: value for key, value in tree.items() if key != "seconds"}


def curves_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("speed/")]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def assert_equal_runs(one: Path, other: Path) -> None:
    assert_same(state_of(one), state_of(other))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert curves_of(one) == curves_of(other)
    assert {path.name for path in (one / "samples").iterdir()} == {path.name for path in (other / "samples").iterdir()}


@pytest.fixture(scope="module")
def uninterrupted(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(small_config("cyclegan", toy_set, *SETTINGS, f"training.steps={STEPS}"), run)
    return run


def start(toy_set: Path, run: Path, workers: int) -> subprocess.Popen[str]:
    arguments = small_arguments("cyclegan", toy_set, run, steps=STEPS)
    settings = [*SETTINGS, f"data.workers={workers}"]
    arguments += [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "i2i", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(process: subprocess.Popen[str], run: Path, steps: int) -> None:
    while process.poll() is None and not any(
        int(path.stem.partition("-")[2]) >= steps for path in RunFolder(run).checkpoints()
    ):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


@pytest.mark.parametrize(
    ("number", "at", "workers"),
    [(signal.SIGINT, 9, 2), (signal.SIGKILL, 5, 0)],
)
def test_a_stopped_run_continues_bit_for_bit(
    toy_set: Path, uninterrupted: Path, tmp_path: Path, i2i: Run, number: signal.Signals, at: int, workers: int
) -> None:
    run = tmp_path / "run"
    process = start(toy_set, run, workers)
    wait_for_steps(process, run, at)
    process.send_signal(number)
    out, err = process.communicate()
    if number != signal.SIGKILL:
        assert process.returncode == 130, err
        assert f"i2i train --resume {run}" in out
        assert "Traceback" not in err
    assert len(RunFolder(run).checkpoints()) <= 3
    assert i2i("train", "--resume", run).code == 0
    assert_equal_runs_but_workers(uninterrupted, run)


def assert_equal_runs_but_workers(one: Path, other: Path) -> None:
    """The weight file's header carries the number of workers; its tensors are compared through the state."""
    assert_same(state_of(one), state_of(other))
    weights = [load_tree(run / "model.safetensors", kind="weights")[0] for run in (one, other)]
    assert_same(*weights)
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert curves_of(one) == curves_of(other)


def test_the_same_seed_gives_the_same_run_and_another_does_not(
    toy_set: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    config = small_config("cyclegan", toy_set, *SETTINGS, f"training.steps={STEPS}")
    train(config, tmp_path / "again")
    assert_equal_runs(uninterrupted, tmp_path / "again")
    train(changed(config, {"training.seed": 1}), tmp_path / "other")
    assert (tmp_path / "other/metrics.jsonl").read_text() != (uninterrupted / "metrics.jsonl").read_text()


def test_steps_extend_a_finished_run(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    assert i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run")).code == 0
    extended = i2i("train", "--resume", tmp_path / "run", "--steps", 9)
    assert extended.code == 0
    assert "continuing at step 6" in extended.err
    assert "trained 9 steps" in extended.out
    assert RunFolder(tmp_path / "run").read_config().training.steps == 9
    again = i2i("train", "--resume", tmp_path / "run")
    assert again.code == 0
    assert "trained 9 steps" in again.out
    assert "nothing is left to train; a larger --steps, --epochs or --max-time trains on" in again.err
    assert "nothing is left" not in extended.err
    assert ("train on", f"i2i train --resume {tmp_path / 'run'} --steps 18") in read_facts(
        RunFolder(tmp_path / "run")
    ).commands
    fewer = i2i("train", "--resume", tmp_path / "run", "--steps", 5)
    assert fewer.code == 2
    assert "has done 9 steps already" in fewer.err


def test_a_run_keeps_its_threads_and_a_resume_may_change_them(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    before = torch.get_num_threads()
    try:
        result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=2), "--threads", 1)
        assert (result.code, torch.get_num_threads()) == (0, 1)
        assert "CPU threads: 1" in result.err
        torch.set_num_threads(2)
        assert i2i("train", "--resume", tmp_path / "run", "--steps", 3).code == 0
        assert torch.get_num_threads() == 1
        again = i2i("train", "--resume", tmp_path / "run", "--steps", 4, "--threads", 2, "--device", "cpu")
        assert again.code == 0, again.err
        assert RunFolder(tmp_path / "run").read_config().training.threads == 2
        probed = i2i("train", "--resume", tmp_path / "run", "--steps", 5, "--threads", "auto")
        assert probed.code == 0, probed.err
        assert RunFolder(tmp_path / "run").read_config().training.threads in (1, 2), "what was found is kept"
    finally:
        torch.set_num_threads(before)


def test_another_environment_is_said_when_a_run_goes_on(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=2"), tmp_path / "run").run
    (checkpoint,) = run.checkpoints()
    state, header = load_tree(checkpoint, kind="checkpoint")
    save_tree(checkpoint, state, header | {"environment": "torch 1.0 on a PDP-11"}, kind="checkpoint")
    result = i2i("train", "--resume", run.root, "--steps", 3)
    assert result.code == 0
    assert "made by torch 1.0 on a PDP-11" in result.err
    assert "not bit for bit the same" in result.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--batch-size", 3], "training.batch_size"),
        (["--arch", "cyclegan"], "arch"),
        (["--seed", 3], "training.seed"),
        (["--set", "training.ema.half_life=5"], "training.ema"),
        (["--run", "elsewhere"], "--run"),
    ],
)
def test_anything_else_is_refused_by_name(uninterrupted: Path, i2i: Run, arguments: list[object], named: str) -> None:
    result = i2i("train", "--resume", uninterrupted, *arguments)
    assert result.code == 2
    assert named in result.err
    assert result.err.count("\n") == 1


def test_a_damaged_checkpoint_is_refused(toy_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small_config("cyclegan", toy_set, "training.steps=2"), run)
    checkpoint = RunFolder(run).checkpoints()[-1]
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(Exception, match="damaged"):
        resume(run, 4)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(toy_set: Path, tmp_path: Path) -> None:
    config = small_config("cyclegan", toy_set, "training.checkpoint_seconds=0")
    train(config, tmp_path / "run")
    train(config, tmp_path / "straight")
    newest = RunFolder(tmp_path / "run").checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    newest.with_name("step-old.safetensors").write_text("a stray file")
    assert resume(tmp_path / "run").step == 6
    assert_equal_runs(tmp_path / "straight", tmp_path / "run")


def test_a_checkpoint_that_no_run_wrote_is_refused_in_a_line(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    """Its digest is right; what it says is not."""
    run = train(small_config("cyclegan", toy_set, "training.steps=2"), tmp_path / "run").run
    [path] = run.checkpoints()[-1:]
    tree, header = load_tree(path, kind="checkpoint")
    method = dict(tree["engine"]["method"])
    name = next(key for key, value in method.items() if isinstance(value, torch.Tensor) and value.is_floating_point())
    method[name] = torch.full_like(method[name], float("nan"))
    forged: list[tuple[Any, Any, str]] = [
        (tree | {"engine": tree["engine"] | {"method": method}}, header, "holds values that are no numbers"),
        (tree | {"engine": 3}, header, "does not fit"),
        (tree | {"batches": "many"}, header, "does not fit"),
        (tree | {"seconds": "long"}, header, "does not fit"),
        ({}, header, "does not fit"),
        (tree, [], "does not fit"),
        (tree, {}, "does not fit"),
        (tree, header | {"config": {"training": 3}}, "does not fit"),
        (tree, header | {"unreadable": [3]}, "does not fit"),
    ]
    for other_tree, other_header, line in forged:
        save_tree(path, other_tree, other_header, kind="checkpoint")
        assert_refused(i2i("train", "--resume", run.root, "--steps", 4), str(path), line)
    save_tree(path, tree, header, kind="checkpoint")
    assert resume(run.root, 4).step == 4


def test_a_run_without_its_checkpoints_is_not_trained_over(toy_set: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", toy_set), tmp_path / "run").run
    before = run.model.read_bytes()
    for path in run.checkpoints():
        path.unlink()
    with pytest.raises(WeightsError, match="would overwrite"):
        resume(run.root, 8)
    assert run.model.read_bytes() == before


@pytest.mark.parametrize(("old", "new"), [("seed: 0", "seed: 7"), ("cycle_weight: 10.0", "cycle_weight: 1.0")])
def test_an_edited_configuration_is_refused(toy_set: Path, tmp_path: Path, old: str, new: str) -> None:
    run = train(small_config("cyclegan", toy_set), tmp_path / "run").run
    run.config.write_text(run.config.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=f"set back .*{old.partition(':')[0]}"):
        resume(run.root, 8)


def test_a_spoilt_metrics_file_does_not_stop_a_run(toy_set: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", toy_set), tmp_path / "run").run
    run.metrics.write_bytes(run.metrics.read_bytes() + b'{"a": 1}\n\xff\n[]\n')
    assert resume(run.root, 8).step == 8
    assert [line[:10] for line in run.metrics.read_text().splitlines()] == [f'{{"step": {n}' for n in (2, 4, 6, 8)]


def test_the_shortest_run_leaves_a_model(toy_set: Path, tmp_path: Path) -> None:
    outcome = train(small_config("cyclegan", toy_set, "training.max_time=0.0001"), str(tmp_path / "run"))
    assert outcome.step == 1
    assert outcome.run.model.is_file()


def test_a_run_does_not_go_into_its_data(toy_set: Path) -> None:
    with pytest.raises(DataError, match="would lie in the data"):
        train(small_config("cyclegan", toy_set), toy_set / "trainA/run")


def test_a_run_without_a_name_does_not_go_into_its_data_either(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Path(shutil.copytree(toy_set / "trainA", tmp_path / "images"))
    monkeypatch.chdir(images)
    with pytest.raises(DataError, match=r"the run runs would lie in the data \., .*: give another place with --run"):
        train(small_config("dcgan", Path(".")))
    assert not Path("runs").exists()
    monkeypatch.chdir(shutil.copytree(toy_set, tmp_path / "set"))
    assert train(small_config("cyclegan", Path("."), "training.steps=1")).run.root.parent.name == "runs"


def test_networks_that_do_not_fit_in_memory_name_the_settings(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lower networks\.generator\.width"):
        train(small_config("cyclegan", toy_set, "networks.generator.width=60000"), tmp_path / "run")


def test_a_run_is_never_overwritten(toy_set: Path, uninterrupted: Path) -> None:
    with pytest.raises(DataError, match="continue it with --resume"):
        train(small_config("cyclegan", toy_set), uninterrupted)


def test_training_stops_at_the_first_loss_that_is_not_finite(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = tmp_path / "run"
    arguments = small_arguments("cyclegan", toy_set, run)
    result = i2i(*arguments, "--set", "optimizers.generator.lr=1e30", "--set", "training.checkpoint_seconds=0")
    assert result.code == 3
    assert "loss/" in result.err.splitlines()[-1]
    assert "last good state is" in result.err
    kept, _ = load_tree(RunFolder(run).checkpoints()[-1], kind="checkpoint")
    assert all(torch.as_tensor(value).isfinite().all() for value in kept["engine"]["method"].values())
    with pytest.raises(TrainingStopped):
        resume(run)


def test_the_time_limit_ends_a_run_with_its_rate_at_zero(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own, a tenth of a second for a step: how near to zero depends on how long the last one is."""
    monkeypatch.setattr(Trainer, "seconds", lambda trainer: trainer.engine.step_count / 10)
    config = small_config(
        "cyclegan", toy_set, "training.schedule.over=budget", "training.max_time=3", "training.steps=100000"
    )
    outcome: Outcome = train(config, tmp_path / "run")
    assert outcome.step == 30
    assert not outcome.interrupted
    rates = [rate for _, rate in curves_of(tmp_path / "run")["lr/generator"]]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[-1] < 2e-5
    extended = resume(tmp_path / "run", outcome.step + 2)
    assert extended.step == outcome.step + 2


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(toy_set: Path, tmp_path: Path) -> None:
    for settings, expected in (
        (["networks.discriminator.layers=3"], "does not fit discriminator_A"),
        (["networks.generator.name=unet", "networks.generator.depth=5", "networks.generator.blocks=1"], "blocks"),
        (["training.precision=fp16"], "needs an accelerator"),
    ):
        with pytest.raises(ConfigError, match=expected):
            train(small_config("cyclegan", toy_set, *settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arch", ["wgan", *(name for name in ONE_OF_EACH_METHOD if name in SAMPLERS)])
def test_noise_to_image_runs_are_extended_exactly(arch: str, labelled_set: Path, tmp_path: Path) -> None:
    """Several critic steps take several batches in a step: the position in the data is theirs, and not the step's."""
    config = small_config(arch, labelled_set, "training.steps=5", "training.ema.half_life=10")
    train(config, tmp_path / "straight")
    train(changed(config, {"training.steps": 2}), tmp_path / "extended")
    resume(tmp_path / "extended", steps=5)
    one, other = (state_of(tmp_path / name) for name in ("straight", "extended"))
    assert_same({key: one[key] for key in ("engine", "batches")}, {key: other[key] for key in ("engine", "batches")})
    assert one["batches"] == 5 * read_recipe(arch)["method"].get("discriminator_steps", 1)


def test_a_run_whose_labels_have_changed_is_not_continued(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path / "data", **{"train/red": 2, "train/blue": 2})
    train(small_config("cgan", data, "training.steps=1"), tmp_path / "run")
    (data / "train/red").rename(data / "train/green")
    result = i2i("train", "--resume", tmp_path / "run", "--steps", 2)
    assert result.code == 2
    assert "data.labels" in result.err


@pytest.mark.parametrize("workers", [0, 2])
def test_runs_that_meet_unreadable_images_are_exact_and_end_with_exit_1(tmp_path: Path, i2i: Run, workers: int) -> None:
    """One is met before the stop and one after it; the first is repaired in between, and stays replaced."""
    data = make_set(tmp_path / "data", trainA=12, trainB=12)
    order = [order_of(0, "A", 12, position) for position in range(12)]
    early, late = (data / f"trainA/image{order[place]:02}.png" for place in (1, 9))
    whole = early.read_bytes()
    for path in (early, late):
        path.write_bytes(path.read_bytes()[:60])
    settings = ["training.batch_size=1", f"data.workers={workers}", "training.checkpoint_seconds=0"]
    arguments = [part for setting in (*settings, "training.keep_checkpoints=20") for part in ("--set", setting)]
    straight = i2i(*small_arguments("cyclegan", data, tmp_path / "straight", steps=12), *arguments)
    assert straight.code == 1
    assert (straight.err.count(str(early)), straight.err.count(str(late))) == (1, 1)
    stopped = RunFolder(Path(shutil.copytree(tmp_path / "straight", tmp_path / "stopped")))
    for checkpoint in stopped.checkpoints()[4:]:
        checkpoint.unlink()
    early.write_bytes(whole)
    resumed = i2i("train", "--resume", stopped.root)
    assert (resumed.code, "continuing at step 4" in resumed.err) == (1, True)
    assert (resumed.err.count(str(early)), resumed.err.count(str(late))) == (1, 1)
    assert_equal_runs(tmp_path / "straight", stopped.root)


def test_too_many_unreadable_images_end_a_run_that_can_go_on_once_they_are_repaired(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path / "data", trainA=10, trainB=2)
    contents = {path: path.read_bytes() for path in sorted((data / "trainA").iterdir())[:5]}
    for path, content in contents.items():
        path.write_bytes(content[:60])
    result = i2i(*small_arguments("cyclegan", data, tmp_path / "run", steps=20))
    assert result.code == 2
    (line,) = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert "more than 3 of 12 items cannot be read" in line
    assert sum(str(path) in line for path in contents) == 4
    (checkpoint,) = RunFolder(tmp_path / "run").checkpoints()
    assert str(checkpoint) in line
    assert i2i("train", "--resume", tmp_path / "run").code == 2
    for path, content in contents.items():
        path.write_bytes(content)
    assert i2i("train", "--resume", tmp_path / "run").code == 0
