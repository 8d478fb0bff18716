"""A short form of benchmarks/soak.py: a training that is killed in the middle of a write loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = ["kill_in_write"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_a_disturbed_training_ends_bit_for_bit_as_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--faults", str(len(FAULTS)), "--only", *FAULTS]
    result = subprocess.run([*command, "--json", tmp_path / "soak.json"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["identical"] == {"weights": True, "curves": True, "training state": True}
    assert {name: (fault["tried"], fault["survived"]) for name, fault in report["faults"].items()} == dict.fromkeys(
        FAULTS, (1, 1)
    )
