"""Run folders: each is one training's, however many start at once, and a disk that fills up costs no checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from i2i.errors import DataError
from i2i.storage import lock as lock_module
from i2i.storage.lock import locked
from i2i.storage.owner import Owner
from i2i.storage.runs import RunFolder, new_run
from i2i.training.callbacks import Callback, every
from i2i.training.start import resume, train

from .conftest import Run, no_space_beyond, small_arguments, small_config
from .toys import assert_refused


def claim(start: Any, claimed: Any) -> None:
    for _ in range(30):
        start.wait()
        claimed.put(str(new_run("cyclegan", None).root))


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fork = get_context("fork")
    start, claimed = fork.Barrier(2), fork.Queue()
    processes = [fork.Process(target=claim, args=(start, claimed)) for _ in range(2)]
    for process in processes:
        process.start()
    names = {claimed.get() for _ in range(60)}
    for process in processes:
        process.join()
    assert len(names) == 60


def test_a_folder_that_another_process_has_just_made_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    mkdir = Path.mkdir
    taken: list[Path] = []

    def too_late(path: Path, *arguments: Any, **named: Any) -> None:
        if path.parent.name == "runs" and not taken:
            taken.append(path)
            mkdir(path)
        mkdir(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", too_late)
    assert new_run("cyclegan", None).root not in taken
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_one_thread_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    inside, refused, most = [0], [0], [0]

    def take(_: int) -> None:
        try:
            with locked(tmp_path / "lock", "it"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1
        except DataError:
            refused[0] += 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, range(50)))
    assert most == [1]
    assert refused[0] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_released_while_it_is_looked_at_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, looks = tmp_path / "lock", iter((lock_is_gone, nothing_happens))
    monkeypatch.setattr("i2i.storage.lock._lock_until_closed", lambda _: next(looks)(lock))
    with locked(lock, "it"):
        assert lock.exists()


def test_an_interrupt_while_a_lock_is_taken_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = lock_module._take

    def take_and_be_interrupted(*arguments: Any, **named: Any) -> None:
        take(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_module, "_take", take_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / "lock", "it"):
        pass
    assert list(tmp_path.iterdir()) == []


def lock_is_gone(lock: Path) -> None:
    lock.unlink()


def nothing_happens(lock: Path) -> None:
    pass


def take_once(path: str) -> bool:
    try:
        with locked(Path(path), "it"):
            time.sleep(0.3)
            return True
    except DataError:
        return False


def test_of_many_processes_that_find_a_stale_lock_one_takes_it(tmp_path: Path) -> None:
    for number in range(5):
        lock = tmp_path / f"lock{number}"
        lock.write_text(json.dumps(vars(gone())))
        with ProcessPoolExecutor(6, mp_context=get_context("fork")) as processes:
            taken = list(processes.map(take_once, [str(lock)] * 6))
        assert sum(taken) == 1
        assert not lock.exists()


def gone() -> Owner:
    """A process that has ended."""
    code = "from i2i.storage.owner import Owner; import json; print(json.dumps(vars(Owner.this())))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Owner(**json.loads(result.stdout))


def test_stale_locks_are_recognised(tmp_path: Path) -> None:
    here, lock = Owner.this(), tmp_path / "lock"
    ended = gone()
    stale = (
        ended,
        Owner(here.host, "another", here.process, here.began),
        Owner(here.host, here.boot, os.getppid(), "1"),  # its number is used again
        here,  # a lock that this process could not remove
    )
    for owner in stale:
        lock.write_text(json.dumps(vars(owner)))
        with locked(lock, "it"):
            assert Owner(**json.loads(lock.read_text())) == here
        assert not lock.exists()
    lock.touch()  # its holder died before it wrote its name
    with locked(lock, "it"):
        pass
    elsewhere = Owner("elsewhere", ended.boot, ended.process, ended.began)
    lock.write_text(json.dumps(vars(elsewhere)))
    with (
        pytest.raises(DataError, match=rf"in use by process {ended.process} on elsewhere.*delete .*lock"),
        locked(lock, "it"),
    ):
        pass
    assert lock.exists()


def test_a_second_process_on_a_run_is_refused_and_a_killed_one_is_not_in_the_way(
    tmp_path: Path, toy_set: Path, i2i: Run
) -> None:
    run = tmp_path / "run"
    arguments = small_arguments("cyclegan", toy_set, run, steps=100_000)
    arguments += ["--set", "training.checkpoint_seconds=0"]
    process = subprocess.Popen([sys.executable, "-m", "i2i", *map(str, arguments)], stderr=subprocess.DEVNULL)
    try:
        while not RunFolder(run).checkpoints() and process.poll() is None:
            time.sleep(0.02)
        before = (run / "config.yaml").read_bytes()
        for again in (("train", "--resume", run), small_arguments("cyclegan", toy_set, run)):
            assert i2i(*again).code == 2
        assert_refused(i2i("train", "--resume", run), f"in use by process {process.pid} on {Owner.this().host}")
        assert (run / "config.yaml").read_bytes() == before
    finally:
        process.kill()
        process.wait()
    left = RunFolder(run).checkpoint(0).parent / f"{temporary_of(process.pid)}"
    left.touch()
    done = int(RunFolder(run).checkpoints()[-1].stem[-8:])
    assert (run / "run.lock").exists()
    assert i2i("train", "--resume", run, "--steps", done + 1).code == 0
    assert not (run / "run.lock").exists()
    assert not left.exists()


def test_a_process_that_is_ended_in_its_start_leaves_no_lock(tmp_path: Path, toy_set: Path) -> None:
    """Another machine could not take it over."""
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run
    command = [sys.executable, "-m", "i2i", "train", "--resume", str(run.root), "--steps", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (run.lock.exists() and run.lock.read_text()) and process.poll() is None:
        time.sleep(0.002)
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == (
        f"error: interrupted: what has been saved goes on with: i2i train --resume {run.root}"
    )
    assert not run.lock.exists()


def temporary_of(process: int) -> str:
    from i2i.storage.files import _temporary_name

    parts = _temporary_name().split("-")
    return "-".join([*parts[:3], str(process), "1", "0.tmp"])


def test_two_that_name_one_new_folder_do_not_share_it(tmp_path: Path, toy_set: Path) -> None:
    run, config = tmp_path / "run", small_config("cyclegan", toy_set, "training.steps=2")
    entered, refusals = threading.Event(), []

    def refuse_second(_: object) -> None:
        try:
            train(config, run)
        except DataError as error:
            refusals.append(str(error))
        entered.set()

    train(config, run, callbacks=[Callback(every(1), refuse_second)])
    assert entered.is_set()
    assert refusals
    assert all("exists and is not empty" in text for text in refusals)
    with pytest.raises(DataError, match="in use by process"):
        resume(run, 4, callbacks=[Callback(every(1), lambda _: _again(run))])
    assert not (run / "run.lock").exists()


def _again(run: Path) -> None:
    resume(run, 4)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints"])
def test_a_run_that_cannot_be_written_is_refused_at_the_start(
    tmp_path: Path, toy_set: Path, i2i: Run, name: str
) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run
    (run.root / name).rename(run.root / "moved")
    if name == "checkpoints":
        (run.root / name).write_text("")
    else:
        (run.root / name).mkdir()
    result = i2i("train", "--resume", run.root, "--steps", 2)
    assert_refused(result, f"cannot write {run.root / name}")
    assert "continuing" not in result.err
    assert not run.lock.exists()


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before_and_the_run_goes_on_later(
    tmp_path: Path, toy_set: Path, i2i: Run
) -> None:
    arguments = small_arguments("cyclegan", toy_set, tmp_path / "run", steps=2)
    assert i2i(*arguments).code == 0
    run = RunFolder(tmp_path / "run")
    before = {path: path.read_bytes() for path in (run.model, *run.checkpoints())}
    undisturbed = shutil.copytree(run.root, tmp_path / "undisturbed")
    for limit in (100, 20_000, run.checkpoints()[-1].stat().st_size - 10):
        with no_space_beyond(limit):
            result = i2i("train", "--resume", run.root, "--steps", 4)
        assert result.code == 2, result.err
        assert result.err.splitlines()[-1].startswith("error: cannot write")
        assert "Traceback" not in result.err
        assert {path: path.read_bytes() for path in (run.model, *run.checkpoints())} == before
        assert not list(run.root.rglob(".*"))
        assert not run.lock.exists()
    for root in (run.root, undisturbed):
        assert i2i("train", "--resume", root, "--steps", 4).code == 0
    assert run.model.read_bytes() == (undisturbed / "model.safetensors").read_bytes() != before[run.model]


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    with no_space_beyond(100):
        result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run"))
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: cannot write")
    assert not (tmp_path / "run").exists()
    assert i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=1)).code == 0


def test_logs_that_cannot_be_written_are_told_once_and_end_nothing(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    for number, broken in enumerate((("tb",), ("metrics.jsonl", "samples"))):
        run = tmp_path / f"run{number}"
        assert i2i(*small_arguments("cyclegan", toy_set, run, steps=2)).code == 0
        for name in broken:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.write_text("") if name != "metrics.jsonl" else path.mkdir()
        result = i2i("train", "--resume", run, "--steps", 6)
        assert result.code == 0, result.err
        assert result.err.count("cannot write logs") == 1
        if "tb" in broken:  # what can be written is
            assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
            assert (run / "samples/step-00000006-AtoB.png").is_file()


def test_the_curves_reach_the_disk_before_a_checkpoint_that_is_beyond_them(
    tmp_path: Path, toy_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        flushed.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    run = train(small_config("cyclegan", toy_set, "training.steps=2"), tmp_path / "run").run
    curves, checkpoint = (path.stat().st_ino for path in (run.metrics, run.checkpoint(2)))
    assert flushed.index(curves) < flushed.index(checkpoint)


def test_an_old_checkpoint_that_cannot_be_removed_is_told_and_ends_nothing(
    tmp_path: Path, toy_set: Path, i2i: Run
) -> None:
    settings = ["--set", "training.checkpoint_seconds=0", "--set", "training.keep_checkpoints=1"]
    assert i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=2), *settings).code == 0
    run = RunFolder(tmp_path / "run")
    run.checkpoint(1).mkdir()
    result = i2i("train", "--resume", run.root, "--steps", 3)
    assert result.code == 0, result.err
    assert f"cannot remove the old checkpoint {run.checkpoint(1)}" in result.err
    assert run.checkpoints() == [run.checkpoint(1), run.checkpoint(3)]


def test_a_checkpoint_that_cannot_be_read_takes_no_place_from_one_that_can(tmp_path: Path, toy_set: Path) -> None:
    """With one place, the first new checkpoint would otherwise have been removed for it."""
    run = train(small_config("cyclegan", toy_set, "training.checkpoint_seconds=0"), tmp_path / "run").run
    before, newest = run.checkpoints()[-2:]
    newest.write_bytes(newest.read_bytes()[:1000])
    left = newest.rename(run.checkpoint(9))
    outcome = resume(run.root, settings={"training.steps": 8, "training.keep_checkpoints": 1})
    assert (outcome.step, before.exists(), left.exists()) == (8, False, False)
    assert run.checkpoints() == [run.checkpoint(8)]
    assert resume(run.root, 9).step == 9


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[list[str]]:
    """The beginning of a command that runs with a disk of ``size`` at ``folder``."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={size} none {folder}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    yield ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
disk, command = Path(sys.argv[1]), sys.argv[2:]
ballast = disk / "ballast"
result = subprocess.run([*command, "--steps", "400"], capture_output=True, text=True)
assert result.returncode == 2, result
assert result.stderr.splitlines()[-1].startswith("error: cannot write"), result.stderr
assert "No space left on device" in result.stderr and "Traceback" not in result.stderr, result.stderr
run = disk / "run"
assert not list(run.rglob(".*")), list(run.rglob(".*"))
ballast.unlink()
done = int(sorted(run.glob("checkpoints/*"))[-1].stem[-8:])
result = subprocess.run([sys.executable, "-m", "i2i", "train", "--resume", str(run), "--steps", str(done + 1)],
    capture_output=True, text=True)
assert result.returncode == 0, result.stderr
assert "continuing at step" in result.stderr, result.stderr
"""


def test_a_disk_that_fills_up_in_training_stops_it_in_one_line_and_space_lets_it_go_on(
    tmp_path: Path, toy_set: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as on_disk:
        arguments = small_arguments("cyclegan", toy_set, tmp_path / "disk/run")
        at = arguments.index("--steps")
        arguments[at : at + 2] = []
        settings = ["training.checkpoint_seconds=0", "training.keep_checkpoints=100", "training.log_every=1"]
        arguments += [part for setting in settings for part in ("--set", setting)]
        fill = f'head -c 2000000 /dev/zero > {tmp_path}/disk/ballast; exec "$@"'
        command = [*on_disk, "sh", "-c", fill, "sh", sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path / "disk")]
        result = subprocess.run(
            [*command, sys.executable, "-m", "i2i", *map(str, arguments)], capture_output=True, text=True
        )
    assert result.returncode == 0, result.stderr
