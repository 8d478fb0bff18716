"""A run knows its images by names, sizes and contents, wherever they lie, and what may change when it goes on."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
import torch

from i2i.data.batches import batches_from
from i2i.data.batches import draw as order_of
from i2i.data.identity import ImageList
from i2i.data.images import list_images
from i2i.data.load import load_training_set
from i2i.errors import ConfigError, DataError
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree, save_tree
from i2i.training.callbacks import Callback, every
from i2i.training.start import resume, train
from i2i.training.trainer import Trainer

from .conftest import Run, draw, make_set, small_arguments, small_config
from .test_resume import assert_equal_runs, state_of
from .toys import assert_same, dataset_of

EACH_STEP = ("training.checkpoint_seconds=0", "training.keep_checkpoints=20", "training.batch_size=1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images of which all files have the same size."""
    for number, folder in enumerate(("trainA", "trainB")):
        for i in range(8):
            draw(tmp_path / f"data/{folder}/{i}.bmp", 10 * number + i)
    return tmp_path / "data"


def in_order(data: Path, place: int) -> Path:
    """The image of A that a run of seed 0 shows at ``place``."""
    files = list_images(data / "trainA")
    return files[order_of(0, "A", len(files), place)]


def replace(path: Path, seed: int = 99) -> None:
    """Another image under the same name, and of the same size."""
    size = path.stat().st_size
    draw(path, seed)
    assert path.stat().st_size == size


def stopped_at(run: Path, step: int, copy: Path) -> Path:
    """A copy of a run as it was after ``step`` steps."""
    stopped = RunFolder(Path(shutil.copytree(run, copy)))
    for checkpoint in stopped.checkpoints()[step:]:
        checkpoint.unlink()
    return copy


@pytest.mark.parametrize("workers", [0, 2])
def test_other_contents_under_a_name_that_was_read_end_a_resumed_run(
    data: Path, tmp_path: Path, i2i: Run, workers: int
) -> None:
    run = tmp_path / "run"
    train(small_config("cyclegan", data, *EACH_STEP, f"data.workers={workers}", "training.steps=8"), run)
    late = in_order(data, 3)
    before = late.read_bytes()
    replace(late)
    result = i2i("train", "--resume", run, "--steps", 16)
    assert result.code == 2
    (line,) = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert f"{late}: its contents have changed since the run was started" in line
    assert "Traceback" not in result.err
    late.write_bytes(before)
    assert i2i("train", "--resume", run, "--steps", 16).code == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_other_contents_are_noticed_within_a_run(data: Path, tmp_path: Path, workers: int) -> None:
    first = in_order(data, 0)
    change = Callback(every(1), lambda trainer: replace(first) if trainer.position.step == 4 else None)
    settings = (*EACH_STEP, f"data.workers={workers}", "data.memory_gib=0", "training.steps=40")
    with pytest.raises(DataError, match=rf"{first}: its contents have changed .* the last good state is") as caught:
        train(small_config("cyclegan", data, *settings), tmp_path / "run", callbacks=[change])
    assert "\n" not in str(caught.value)
    assert len(RunFolder(tmp_path / "run").checkpoints()) >= 4


def test_another_size_is_noticed_before_the_first_step(data: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", data, *EACH_STEP, "training.steps=1"), tmp_path / "run").run
    unread = in_order(data, 5)
    draw(unread, 1, (40, 30))
    before = run.config.read_bytes()
    with pytest.raises(DataError, match=f"{unread}: its contents have changed"):
        resume(run.root, 2)
    assert run.config.read_bytes() == before
    assert len(run.checkpoints()) == 1


def test_an_image_that_was_damaged_in_a_pause_is_replaced(data: Path, tmp_path: Path, i2i: Run) -> None:
    run = train(small_config("cyclegan", data, *EACH_STEP, "training.steps=8"), tmp_path / "run").run
    damaged = in_order(data, 2)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    result = i2i("train", "--resume", run.root, "--steps", 10)
    assert (result.code, result.err.count(str(damaged))) == (1, 1)
    damaged.write_bytes(whole)
    assert i2i("train", "--resume", run.root, "--steps", 12).code == 1


def test_images_that_were_never_readable_may_be_repaired_to_what_they_like(
    data: Path, tmp_path: Path, i2i: Run
) -> None:
    bad = [in_order(data, place) for place in range(4)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    run = tmp_path / "run"
    result = i2i(*small_arguments("cyclegan", data, run))
    assert result.code == 2
    assert "more than 3 of 16 items" in result.err
    assert RunFolder(run).checkpoints()
    for path in bad:
        draw(path, 5, (30, 30))
    for steps in (6, 8):
        assert i2i("train", "--resume", run, "--steps", steps).code == 0
    draw(bad[0], 6, (31, 31))
    assert i2i("train", "--resume", run, "--steps", 10).code == 2


@pytest.mark.parametrize("arch", ["cyclegan", "pix2pix", "dcgan"])
def test_a_run_goes_on_while_few_images_are_missing(arch: str, data: Path, tmp_path: Path, i2i: Run) -> None:
    source = data / "trainA" if arch == "dcgan" else data
    run = train(small_config(arch, source, "training.steps=2"), tmp_path / "run").run
    names = ImageList.from_json(run.images.read_bytes()).names
    missing = in_order(data, 0)
    missing.rename(tmp_path / "away.bmp")
    result = i2i("train", "--resume", run.root, "--steps", 12)
    assert result.code == 1
    assert f"{missing}: no such file" in result.err
    assert "no partner" not in result.err
    assert ImageList.from_json(run.images.read_bytes()).names == names
    (tmp_path / "away.bmp").rename(missing)
    assert i2i("train", "--resume", run.root, "--steps", 14).code == 1  # it stays replaced


def test_too_many_missing_images_stop_a_run_until_they_are_back(data: Path, tmp_path: Path, i2i: Run) -> None:
    train(small_config("cyclegan", data, *EACH_STEP, "training.steps=12"), tmp_path / "straight")
    run = stopped_at(tmp_path / "straight", 4, tmp_path / "run")
    missing = list_images(data / "trainA")[:4]
    for path in missing:
        path.rename(tmp_path / path.name)
    result = i2i("train", "--resume", run)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"4 of the run's 16 items are not there, first {missing[0]}: no such file" in result.err
    for path in missing:
        (tmp_path / path.name).rename(path)
    assert i2i("train", "--resume", run).code == 0
    assert_equal_runs(tmp_path / "straight", run)


def test_new_images_are_named_and_not_used(data: Path, tmp_path: Path, i2i: Run) -> None:
    train(small_config("cyclegan", data, *EACH_STEP, "training.steps=12"), tmp_path / "straight")
    run = stopped_at(tmp_path / "straight", 4, tmp_path / "run")
    draw(data / "trainA/0-new.bmp", 50)
    result = i2i("train", "--resume", run)
    assert result.code == 0
    assert "new since the run was started, and not used: 1, first trainA/0-new.bmp" in result.err
    assert_equal_runs(tmp_path / "straight", run)


def test_a_run_without_its_list_of_images_needs_the_same_names(data: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", data, "training.steps=2"), tmp_path / "run").run
    for content in (None, b"[]", b"\xff", b'{"names": {"A": ["0.bmp"]}, "labels": []}'):
        run.images.unlink(missing_ok=True)
        if content is not None:
            run.images.write_bytes(content)
        extra = draw(data / "trainA/more.bmp", 1)
        with pytest.raises(DataError, match=r"images have changed|other domains"):
            resume(run.root, 4)
        extra.unlink()
    run.images.unlink()
    assert resume(run.root, 4).step == 4
    assert run.images.is_file()


@pytest.mark.parametrize("to", ["renamed", "relative"])
def test_data_may_move(to: str, data: Path, tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = train(small_config("cyclegan", data, *EACH_STEP, "training.steps=12"), tmp_path / "straight").run
    run = stopped_at(straight.root, 4, tmp_path / "run")
    moved = data.rename(tmp_path / "moved")
    result = i2i("train", "--resume", run)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{data}: no such folder; if the data of this run has moved, add --data FOLDER" in result.err
    monkeypatch.chdir(tmp_path)
    assert i2i("train", "--resume", run, "--data", moved if to == "renamed" else "moved").code == 0
    assert_same(state_of(straight.root), state_of(run))
    assert RunFolder(run).read_config().data.path == str(moved)
    monkeypatch.chdir(tmp_path.parent)
    assert i2i("train", "--resume", run, "--steps", 13).code == 0


def test_two_folders_may_move_and_other_contents_are_refused(data: Path, tmp_path: Path, i2i: Run) -> None:
    options = {"data.path": None, "data.a": str(data / "trainA"), "data.b": str(data / "trainB")}
    train(small_config("cyclegan", data, "training.steps=2", **options), tmp_path / "run")
    other = Path(shutil.copytree(data, tmp_path / "other"))
    shutil.rmtree(data)
    places = ("--a", other / "trainA", "--b", other / "trainB")
    assert i2i("train", "--resume", tmp_path / "run", *places, "--steps", 4).code == 0
    assert i2i("train", "--resume", tmp_path / "run", "--steps", 8).code == 0
    result = i2i("train", "--resume", tmp_path / "run", "--data", other)
    assert (result.code, "give its new location with --a and --b" in result.err) == (2, True)
    for path in list_images(other / "trainB"):
        replace(path)
    result = i2i("train", "--resume", tmp_path / "run", "--steps", 16)
    assert (result.code, f"{other}/trainB" in result.err) == (2, True)


@pytest.mark.parametrize("by", ["--set", "config.yaml"])
def test_what_does_not_matter_to_a_result_may_change(by: str, data: Path, tmp_path: Path, i2i: Run) -> None:
    straight = train(small_config("cyclegan", data, *EACH_STEP, "training.steps=12"), tmp_path / "straight").run
    run = stopped_at(straight.root, 4, tmp_path / "run")
    new = {"log_every": 5, "sample_every": 4, "checkpoint_seconds": 60.0, "keep_checkpoints": 1}
    given = [f"training.{key}={value}" for key, value in new.items()] + ["data.workers=1", "data.memory_gib=0.5"]
    if by == "--set":
        result = i2i("train", "--resume", run, *(part for setting in given for part in ("--set", setting)))
    else:
        text = (run / "config.yaml").read_text()
        for old, now in (
            ("log_every: 2", "log_every: 5"),
            ("sample_every: 3", "sample_every: 4"),
            ("keep_checkpoints: 20", "keep_checkpoints: 1"),
            ("workers: auto", "workers: 1"),
        ):
            assert old in text
            text = text.replace(old, now)
        (run / "config.yaml").write_text(text)
        result = i2i("train", "--resume", run)
    assert result.code == 0, result.err
    assert len(RunFolder(run).checkpoints()) == 1
    assert RunFolder(run).read_config().training.log_every == 5
    one, other = state_of(straight.root), state_of(run)
    assert_same({key: one[key] for key in ("engine", "batches")}, {key: other[key] for key in ("engine", "batches")})


def test_other_settings_are_refused_by_name_also_from_python(data: Path, tmp_path: Path) -> None:
    train(small_config("cyclegan", data, "training.steps=1"), tmp_path / "run")
    for path, value in (("training.seed", 1), ("data.flip", False), ("image_size", 32), ("data.pathh", "x")):
        with pytest.raises(ConfigError, match=f"leave out {path} "):
            resume(tmp_path / "run", 2, settings={path: value})


def test_other_threads_and_devices_are_said_in_a_line_each(data: Path, tmp_path: Path, i2i: Run) -> None:
    threads = torch.get_num_threads()
    run = train(small_config("cyclegan", data, "training.steps=1", "training.threads=1"), tmp_path / "run").run
    try:
        result = i2i("train", "--resume", run.root, "--steps", 2, "--threads", 2)
        assert "warning: this run had 1 CPU threads, and has 2 now: not bit for bit the same\n" in result.err
        result = i2i("train", "--resume", run.root, "--steps", 3, "--threads", 2)
        assert "not bit for bit" not in result.err
    finally:
        torch.set_num_threads(threads)
    checkpoint = run.checkpoints()[-1]
    state, header = load_tree(checkpoint, kind="checkpoint")
    header["config"]["training"]["device"] = "cuda"
    save_tree(checkpoint, state, header, kind="checkpoint")
    result = i2i("train", "--resume", run.root, "--steps", 4, "--device", "cpu")
    assert "warning: this run was trained on cuda, and goes on on cpu: not bit for bit the same\n" in result.err


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter and write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """In ``folder``, as a user to whom permissions apply."""
    before, was_root = Path.cwd(), os.geteuid() == 0
    os.chdir(folder)
    try:
        if was_root:
            os.seteuid(65534)
        yield
    finally:
        if was_root:
            os.seteuid(0)
        os.chdir(before)


@pytest.mark.skipif(os.name == "nt", reason="no such permissions")
@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("arch", ["cyclegan", "dcgan", "cgan"])
def test_folders_that_cannot_be_entered_are_named(arch: str, command: str, shared_folder: Path, i2i: Run) -> None:
    folders = {"cyclegan": ("trainA", "trainB"), "dcgan": ("one", "two/deep"), "cgan": ("train/red", "train/blue")}[
        arch
    ]
    make_set(shared_folder / "data", **dict.fromkeys(folders, 4))
    closed, top = Path("data", folders[0], "closed"), Path("data", folders[0] if arch != "dcgan" else "")
    draw(shared_folder / closed / "image.png", 1)
    arguments = ["data", "check", "data", "--unpaired"]
    if command == "train":
        arguments = [str(part) for part in small_arguments(arch, Path("data"), Path("run"), steps=1)]
    (shared_folder / closed).chmod(0)
    try:
        with nobody(shared_folder):
            result = i2i(*arguments)
        shown = result.out + result.err
        assert (result.code, f"{closed}: Permission denied" in shown) == (1, True), shown
        shutil.rmtree(shared_folder / "run", ignore_errors=True)
        (shared_folder / top).chmod(0)
        with nobody(shared_folder):
            result = i2i(*arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result.err
        assert re.match(rf"error: {top}\S*: Permission denied", result.err)
    finally:
        (shared_folder / top).chmod(0o755)
        (shared_folder / closed).chmod(0o755)


def test_dead_loader_workers_are_replaced(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config("cyclegan", data)
    cpu = torch.device("cpu")
    dataset = dataset_of(config, load_training_set(config.data, "unpaired", image_size=16))
    straight = list(islice(batches_from(dataset, 0, workers=0, device=cpu), 30))
    batches = batches_from(dataset, 0, workers=2, device=cpu)
    drawn = list(islice(batches, 3))
    for worker in multiprocessing.active_children():
        os.kill(worker.ident or 0, signal.SIGKILL)
    drawn += islice(batches, 27)
    for one, other in zip(straight, drawn, strict=True):
        assert_same(one.a, other.a)
        assert_same(one.b, other.b)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "a loader worker died" in line


def test_workers_that_die_again_and_again_end_a_run_in_one_line(
    data: Path, tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.data.batches.DEATHS", 0)
    config = small_config("cyclegan", data, *EACH_STEP, "data.workers=1", "training.steps=40")

    def kill(trainer: Trainer) -> None:
        if trainer.position.step == 3:
            os.kill(multiprocessing.active_children()[0].ident or 0, signal.SIGKILL)

    with pytest.raises(DataError, match=r"loader workers died .* data\.workers=0 .* the last good state is") as caught:
        train(config, tmp_path / "run", callbacks=[Callback(every(1), kill)])
    assert "\n" not in str(caught.value)
    assert len(RunFolder(tmp_path / "run").checkpoints()) >= 3
    assert i2i("train", "--resume", tmp_path / "run", "--set", "data.workers=0").code == 0
