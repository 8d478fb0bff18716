"""What is said beside results: by logging to a Python program, and by the command line on its stderr."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import i2i as package

from .conftest import Run, draw, make_set, small_arguments, small_config

REPOSITORY = Path(__file__).parent.parent
LOGGER = logging.getLogger("i2i")


@pytest.fixture
def damaged_set(tmp_path: Path) -> Path:
    """A set in which one image cannot be read; its name has a control character."""
    data = make_set(tmp_path / "data", trainA=3, trainB=3)
    bad = draw(data / "trainA/cut.jpg", 7)
    bad.write_bytes(bad.read_bytes()[:100])
    bad.rename(bad.with_name("cut\x1b[31m.jpg"))
    return data


def test_a_python_program_gets_messages_by_logging_and_nothing_else(
    tmp_path: Path, damaged_set: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="i2i"):
        package.train(small_config("cyclegan", damaged_set), tmp_path / "run")
    told = [(record.name, record.levelname, record.module, record.getMessage()) for record in caplog.records]
    (problem,) = (message for _, level, _, message in told if level == "WARNING")
    assert problem.startswith("left out: ")
    assert "cut\\x1b[31m.jpg" in problem
    assert any(message.startswith("step 6/6") for _, _, _, message in told)
    assert {name for name, _, _, _ in told} == {"i2i"}
    assert told[0][2] == "start"
    assert capfd.readouterr() == ("", "")


def test_a_program_without_logging_sees_warnings_and_can_silence_them(tmp_path: Path, damaged_set: Path) -> None:
    code = (
        "import logging, sys, i2i\n"
        "from pathlib import Path\n"
        "from tests.conftest import small_config\n"
        "config = small_config('cyclegan', Path(sys.argv[1]), 'training.steps=1')\n"
        "i2i.train(config, sys.argv[2] + '/seen')\n"
        "logging.getLogger('i2i').setLevel(logging.ERROR)\n"
        "i2i.train(config, sys.argv[2] + '/silent')\n"
    )
    command = [sys.executable, "-c", code, str(damaged_set), str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "silent/model.safetensors").is_file()
    (line,) = result.stderr.splitlines()
    assert line.startswith("left out: ")
    assert result.stdout == ""


def test_the_command_line_says_everything_once_and_leaves_logging_as_it_was(
    tmp_path: Path, damaged_set: Path, i2i: Run, caplog: pytest.LogCaptureFixture
) -> None:
    before = (LOGGER.level, LOGGER.propagate, list(LOGGER.handlers))
    for name in ("first", "second"):
        lines = i2i(*small_arguments("cyclegan", damaged_set, tmp_path / name)).err.splitlines()
        assert [line for line in lines if "cut" in line] == [lines[0]]
        assert lines[0].startswith("warning: left out: ")
        assert sum(line.startswith(f"{tmp_path / name}: cyclegan") for line in lines) == 1
        assert (LOGGER.level, LOGGER.propagate, LOGGER.handlers) == before
    assert i2i("translate", tmp_path / "nowhere").code == 2
    assert (LOGGER.level, LOGGER.propagate, LOGGER.handlers) == before
    assert not caplog.records  # what the root logger's handlers get, a program would show a second time


def test_only_the_command_line_draws_on_a_terminal(
    tmp_path: Path, damaged_set: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    package.train(small_config("cyclegan", damaged_set), tmp_path / "python")
    assert capsys.readouterr() == ("", "")
    shown = i2i("translate", damaged_set / "trainA", "-o", tmp_path / "out", "--model", tmp_path / "python").err
    assert "translating" in shown
    assert "\x1b[33mwarning: skipped: " in shown


def test_only_the_first_of_several_processes_speaks(
    tmp_path: Path, damaged_set: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = package.train(small_config("cyclegan", damaged_set, "training.steps=1"), tmp_path / "run").run.root
    command = ("translate", damaged_set / "trainB/image00.png", "--model", run, "--seed", 3, "--overwrite")
    assert i2i(*command).err.startswith("warning: --seed changes nothing")
    monkeypatch.setenv("RANK", "1")
    assert i2i(*command).err == ""
