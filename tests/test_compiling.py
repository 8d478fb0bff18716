"""Compiled networks train as they do otherwise: shown, to the bit, with graphs that torch's own kernels compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from i2i.compiling import compile_networks
from i2i.training.engine import Engine

from .conftest import Run, small_arguments
from .toys import CPU, assert_refused, assert_same, prepare, stream_of

DataFor = Callable[[str], Path]
TWICE_DIFFERENTIATED = ["method.history=3", "method.mixed_penalty=1", "method.penalty_every=2"]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def states(arch: str, data: Path, compiled: bool, *settings: str) -> list[dict[str, Any]]:
    config, loaded = prepare(arch, data, *settings)
    engine = Engine(config, CPU)
    if compiled:
        networks = [network for networks in engine.method.players().values() for network in networks]
        compile_networks(networks, backend="aot_eager")
    found: list[dict[str, Any]] = []
    stream = stream_of(config, loaded)
    for step in range(2):
        found += [engine.step(stream, step / 2), engine.preview(loaded.preview(2))]
    return [*found, engine.state_dict()]


@pytest.mark.parametrize(("arch", "settings"), [("cyclegan", TWICE_DIFFERENTIATED), ("cut", [])])
@pytest.mark.usefixtures("compiler")
def test_penalties_feature_maps_and_previews_work_beside(arch: str, settings: list[str], data_for: DataFor) -> None:
    plain, compiled = (states(arch, data_for(arch), compiled, *settings) for compiled in (False, True))
    assert counters["frames"]["ok"] > 1
    for one, other in zip(plain, compiled, strict=True):
        assert_same(one, other)


def test_without_a_compiler_nothing_is_begun(
    toy_set: Path, tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run"), "--compile")
    assert_refused(result, "--compile needs a C++ compiler")
    assert not (tmp_path / "run").exists()
