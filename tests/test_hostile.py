"""Hostile and broken input that is no image: one line that names it, the right exit code, nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .hostile import Case

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bounds of memory are Linux's")


CASES = [
    Case("no such config", lambda folder: ["train", "--arch", "dcgan", "--config", "missing.yaml"], 2, "missing.yaml"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    case.check(folder)
