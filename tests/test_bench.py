"""`i2i bench` times real ways, and what it keeps beside a run is used by `i2i translate` while it still holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i.data.images import read_image
from i2i.device import cpu_has_bf16, resolve_precision
from i2i.inference.fastest import Fastest, keep_fastest, kept_fastest
from i2i.inference.load import load_translator
from i2i.inference.precision import Choice, distance_of
from i2i.storage.runs import RunFolder
from i2i.storage.verdicts import verdict
from i2i.timing import in_turns
from i2i.training.start import train

from .conftest import Run, draw, small_config, small_settings


@pytest.fixture(scope="module")
def trained(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config("cyclegan", toy_set), tmp_path_factory.mktemp("runs") / "run").run.root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_run_is_translated_as_bench_found_fastest(run: Path, tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    report = tmp_path / "bench.json"
    result = i2i("bench", run, "--device", "cpu", "--json", report)
    assert (result.code, "AtoB: an image of 16x16 px" in result.out) == (0, True), result.err
    tables = json.loads(report.read_text())["tables"]
    assert [table["title"].split(":")[0] for table in tables[:2]] == ["AtoB", "BtoA"]
    assert all(row["seconds"] > 0 and row["turns"] for table in tables for row in table["rows"])
    assert "a training step, batch 2 of 16 px" in tables[2]["title"]
    kept = json.loads((run / "fastest.json").read_text())
    for table in tables[:2]:
        fastest = next(row for row in table["rows"] if row["fastest"])
        assert fastest["seconds"] == min(row["seconds"] for row in table["rows"] if row["allowed"])
        choice = kept["directions"][table["title"].split(":")[0]]
        assert fastest["way"] == f"{choice['layers']}, {choice['precision']}"

    out = tmp_path / "out"
    used = i2i("translate", toy_set / "testA", "-o", out, "--model", run, "--device", "cpu")
    choice = kept["directions"]["AtoB"]
    named = f"{choice['layers']} layers in {choice['precision']}, which i2i bench found to be fastest"
    assert (used.code, named in used.err) == (0, True), used.err
    assert json.loads((out / "report.json").read_text())["layers"] == choice["layers"]
    again = i2i("translate", toy_set / "testA", "-o", out, "--model", run, "--device", "cpu")
    assert "3 of 3 were translated before and are kept" in again.err


@pytest.mark.parametrize("layers", ["torch", "channels last", "fast"])
def test_all_layers_translate_alike(run: Path, layers: str, tmp_path: Path) -> None:
    translator = load_translator(run, device="cpu")
    images = [read_image(draw(tmp_path / f"{number}.png", number, (16, 16))) for number in range(2)]
    before = [translator(image) for image in images]
    way = translator.faster("AtoB", "fp32", layers)  # type: ignore[arg-type]
    pairs = [(one, way.translate_pixels([image], "AtoB")[0]) for one, image in zip(before, images, strict=True)]
    assert distance_of("fp32", pairs).largest <= 1
    half = translator.faster("AtoB", "bf16", layers)  # type: ignore[arg-type]
    assert half.translate_pixels(images[:1], "AtoB")[0].shape == (16, 16, 3)
    assert all(np.array_equal(one, translator(image)) for one, image in zip(before, images, strict=True))


def test_what_was_kept_holds_for_these_weights_on_this_machine(
    run: Path, i2i: Run, tmp_path: Path, toy_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator, fastest = load_translator(run, device="cpu"), Fastest({"AtoB": Choice("fp32", None, "torch")}, 1)
    keep_fastest(RunFolder(run), translator, fastest)
    assert kept_fastest(run / "model.safetensors", translator) == fastest

    def refusal(name: str) -> str:
        result = i2i("translate", toy_set / "testA", "-o", tmp_path / name, "--model", run, "--device", "cpu")
        assert result.code == 0
        return result.err

    with monkeypatch.context() as other:
        other.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
        assert "fastest.json is not used: it was measured with another machine" in refusal("elsewhere")
    translator.step += 1
    keep_fastest(RunFolder(run), translator, fastest)
    assert "fastest.json is not used: it was measured with another weights" in refusal("older")
    for damaged in ("", "[]", "{}", '{"directions": 3}'):
        (run / "fastest.json").write_text(damaged)
        assert "fastest.json is not used: it cannot be read" in refusal(f"damaged{len(damaged)}")


def test_a_translator_from_python_takes_what_is_kept(run: Path, i2i: Run, tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 3, (20, 12))
    exact = load_translator(run, device="cpu")
    expected = exact(read_image(path), "BtoA")
    choices = {"AtoB": Choice("fp32", None, "fast"), "BtoA": Choice("bf16", None, "fast")}
    keep_fastest(RunFolder(run), exact, Fastest(choices, 1))
    loaded = load_translator(run, device="cpu")
    made = loaded(read_image(path), "BtoA")
    assert not np.array_equal(made, expected)
    assert np.array_equal(load_translator(run, device="cpu", fastest=False)(read_image(path), "BtoA"), expected)
    assert np.array_equal(loaded.faster("BtoA", "fp32", "torch")(read_image(path), "BtoA"), expected)
    result = i2i("translate", path, "-o", tmp_path / "b.png", "--model", run, "--direction", "BtoA", "--device", "cpu")
    assert result.code == 0, result.err
    assert np.array_equal(read_image(tmp_path / "b.png"), made)
    tiled = loaded(read_image(path), "BtoA", tile=8)
    assert not np.array_equal(tiled, expected)
    assert np.abs(tiled.astype(int) - made).max() <= 16


def test_without_held_out_images_nothing_is_kept(run: Path, tmp_path: Path, toy_set: Path, i2i: Run) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(toy_set), str(tmp_path / "gone")))
    result = i2i("bench", run, "--device", "cpu", "--max-time", "1s")
    assert (result.code, "nothing is kept, because there are no images to compare" in result.out) == (1, True)
    assert not (run / "fastest.json").exists()


@pytest.mark.parametrize("arch", ["dcgan", "pix2pix"])
def test_a_recipe_is_timed_on_random_images(arch: str, i2i: Run) -> None:
    small = [part for setting in small_settings(arch) for part in ("--set", setting)]
    size = 16 if arch == "dcgan" else 32
    result = i2i(
        *("bench", "--arch", arch, "--image-size", size, "--batch-size", 2, "--max-time", "1s", "--device", "cpu"),
        *small,
    )
    assert (result.code, f"a training step, batch 2 of {size} px" in result.out) == (0, True), result.err
    assert ("AtoB" in result.out) == (arch == "pix2pix")


def test_bench_wants_a_run_or_a_recipe(run: Path, i2i: Run) -> None:
    for arguments in ([], [run, "--arch", "dcgan"], [run, "--image-size", 16], ["nowhere"]):
        result = i2i("bench", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), result.err


def test_turns_end_with_the_time_and_leave_out_what_falls_behind() -> None:
    called: list[str] = []
    ways = {name: lambda turn, name=name: called.append(f"{name}{turn}") for name in ("plain", "other")}
    assert {way: len(each) for way, each in in_turns(ways, 3).items()} == {"plain": 3, "other": 3}
    assert called == ["plain0", "other0", "plain1", "other1", "plain2", "other2"]
    assert {way: len(each) for way, each in in_turns(ways, 3, limit=0).items()} == {"plain": 1}


def test_a_verdict_is_measured_once_on_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    answers = iter([True, False])
    assert verdict("is it faster", "here", lambda: next(answers))
    assert verdict("is it faster", "here", lambda: next(answers))
    assert not verdict("is it faster", "there", lambda: next(answers))


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a CPU with bf16")
def test_auto_finds_a_precision_on_a_machine_so_busy_that_a_convolution_takes_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    clock = time.perf_counter
    monkeypatch.setattr("i2i.timing.time.perf_counter", lambda: 1000 * clock())
    assert resolve_precision("auto", torch.device("cpu")) in ("bf16", "fp32")


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="needs a CPU with AVX-512 and bf16")
def test_auto_measures_whether_bf16_is_fast(tmp_path: Path) -> None:
    """Where torch is told to leave AVX-512 alone, the CPU's flags still promise bf16, which is then emulated."""
    code = "from i2i.device import *; print(cpu_has_bf16(), resolve_precision('auto', torch.device('cpu')))"
    told = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "I2I_CACHE": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | told)
    assert result.stdout == "True fp32\n", result.stderr
