"""Toy images, toy networks, and the command line run in this process."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests run side by side, each process on a core

import torch
from PIL import Image

from i2i.batch import Needs
from i2i.cli import main
from i2i.config.resolve import read_recipe, resolve_config
from i2i.config.schema import Config
from i2i.methods.base import Method

from .browser import Browser, browsing, find_browser

CADENCES = ["training.log_every=2", "training.sample_every=3", "health.enabled=false"]
"""The doctor, which warns of sets and runs as small as these, has tests of its own."""
SMALL = {"width": 4, "blocks": 1, "depth": 3, "layers": 1, "hidden": 8}


class Result(NamedTuple):
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["I2I_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """A run sets the number of its threads for its process, which other tests share."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def i2i(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``i2i ARGUMENTS`` through its entry point."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["i2i", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Result(stop.value.code, captured.out, captured.err)

    return run


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
    """An image of a coloured disc on white; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    disc = (x - random.uniform(0, size[0])) ** 2 + (y - random.uniform(0, size[1])) ** 2 < (max(size) / 3) ** 2
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels[disc] = random.integers(0, 200, 3)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def make_set(root: Path, **counts: int) -> Path:
    """A data folder; ``counts`` says how many images are in trainA and so on."""
    for number, (folder, count) in enumerate(counts.items()):
        for i in range(count):
            draw(root / folder / f"image{i:02}.png", 100 * number + i)
    return root


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpaired set of 8 and 6 training and 3 and 2 test images, 24x20."""
    return make_set(tmp_path_factory.mktemp("data") / "toy", trainA=8, trainB=6, testA=3, testB=2)


@pytest.fixture(scope="session")
def labelled_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with the labels blue (5 images), green (4) and red (3), and a test image of each, 24x20."""
    folders = {f"train/{name}": count for name, count in (("red", 3), ("green", 4), ("blue", 5))}
    folders |= {f"test/{name}": 1 for name in ("red", "green", "blue")}
    return make_set(tmp_path_factory.mktemp("data") / "labelled", **folders)


def needs_of(arch: str) -> Needs:
    """What the method of a recipe learns from."""
    return Method.named(read_recipe(arch)["method"]["name"]).needs


@pytest.fixture
def data_for(toy_set: Path, labelled_set: Path) -> Callable[[str], Path]:
    """The toy set that suits a recipe."""
    return lambda arch: labelled_set if needs_of(arch) == "one domain" else toy_set


def small_settings(arch: str) -> list[str]:
    """Assignments that make the networks of a recipe tiny; for points, with images in their place."""
    networks = read_recipe(arch)["networks"]
    return [
        f"networks.{role}.{key}={value}"
        for role, settings in networks.items()
        for key, value in SMALL.items()
        if key in settings
    ]


def small_config(arch: str, data: Path, *assignments: str, **options: Any) -> Config:
    """A recipe at 16 px with tiny networks, on the CPU in float32."""
    named = {
        "data.path": str(data),
        "image_size": 16,
        "training.batch_size": 2,
        "training.steps": 6,
        "training.device": "cpu",
        "training.precision": "fp32",
    }
    settings = [*small_settings(arch), *CADENCES, *assignments]
    return resolve_config(arch, options=named | options, assignments=settings)


def small_arguments(arch: str, data: Path, run: Path, *, steps: int = 6) -> list[object]:
    """The same as ``small_config``, for the command line."""
    settings = [*small_settings(arch), *CADENCES]
    return [
        *("train", "--arch", arch, "--data", data, "--run", run, "--image-size", 16, "--batch-size", 2),
        *("--steps", steps, "--device", "cpu", "--precision", "fp32"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; without one, its tests are skipped."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here: put one in the PATH, or name it in I2I_BROWSER")
    with browsing(program) as browser:
        yield browser


@contextmanager
def no_space_beyond(size: int) -> Iterator[None]:
    """Within the context no file can grow beyond ``size`` bytes: the system refuses the write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_memory_beyond(more: int) -> Iterator[None]:
    """Within the context this process can address ``more`` bytes than now: the system refuses it what is beyond."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
