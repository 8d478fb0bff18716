"""Shells complete what users would otherwise look up: recipes, runs, keys of settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from i2i.cli.entry import cli
from i2i.config.resolve import recipe_names


def completed(*words: str) -> list[tuple[str, str]]:
    """What a shell offers for the last of these ``words`` after ``i2i``: kinds and values."""
    *before, last = words
    offers = BashComplete(cli, {}, "i2i", "_I2I_COMPLETE").get_completions(before, last)
    return [(offer.type, offer.value) for offer in offers]


def test_recipes_and_keys_are_completed() -> None:
    assert completed("train", "--arch", "") == [("plain", name) for name in recipe_names()]
    assert ("plain", "pix2pix") in completed("archs", "pi")
    assert completed("bench", "--arch", "pix") == [("plain", "pix2pix"), ("plain", "pix2pix-fast")]
    assert completed("train", "--set", "training.ep") == [("plain", "training.epochs=")]
    assert ("plain", "method.cycle_weight=") in completed("train", "--arch", "cyclegan", "--set", "method.")
    assert ("plain", "method.cycle_weight=") in completed("bench", "--arch", "cyclegan", "--set", "method.")
    assert completed("train", "--arch", "no-such-recipe", "--set", "method.") == []


@pytest.mark.parametrize(
    "words",
    [("train", "--resume"), ("translate", "x.png", "--model"), ("bench",), ("doctor",), ("compare",), ("report",)],
)
def test_runs_are_completed_and_other_files_too(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(*words, "runs/") == [("file", "runs/")]
    for name in ("one", "other", "no-run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("one", "other"):
        (tmp_path / "runs" / name / "config.yaml").touch()
    assert completed(*words, "ru") == [("plain", "runs/one"), ("plain", "runs/other")]
    assert completed(*words, "photos/") == [("file", "photos/")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_i2i(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_I2I_COMPLETE={shell}_complete" in result.output
