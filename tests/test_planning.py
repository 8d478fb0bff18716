"""Plans for devices that are not here: what steps take, what fits, what binds."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.planning.apart import on_stage
from i2i.planning.convolutions import Workspace
from i2i.planning.fitting import SIZES, largest, largest_batch, largest_size
from i2i.planning.hardware import GPU, LAUNCH
from i2i.planning.memory import Ledger
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.report import images_on_device, plans, with_known_data
from i2i.planning.roofline import bound
from i2i.planning.stage import CPU
from i2i.planning.work import Work
from i2i.training.engine import Engine

from .conftest import Run, small_config, small_settings
from .toys import TRANSLATORS_OF_PAPERS, assert_refused, prepare


def elsewhere(*options: str) -> list[str]:
    """The arguments of a plan for a GPU."""
    settings = [part for setting in small_settings("pix2pix") for part in ("--set", setting)]
    return ["train", "--arch", "pix2pix", "--image-size", "32", *settings, "--dry-run", "--device", "cuda", *options]


def test_a_plan_for_a_gpu_needs_none(toy_set: Path, tmp_path: Path) -> None:
    # In a process of its own: planning for another device is the last thing that a process does.
    command = [sys.executable, "-m", "i2i", *elsewhere("--data", str(toy_set), "--memory", "600MB")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for part in (
        "cuda, which is not here",
        "generator          ",
        "memory in bf16",
        "memory in fp32",
        "CUDA's context",
        "fits into 0.56 GiB",
        "largest batch at 32 px: ",
        "largest image with a batch of 1: ",
        "not measured",
        "does not compute in bf16",
    ):
        assert part in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_plan_for_an_accelerator_is_made_after_real_steps(toy_set: Path) -> None:
    torch.ones(1, requires_grad=True).sum().backward()  # from now on this process cannot register another one
    lines = on_stage("cuda", plans, partial(at_size, toy_set), "cuda", "bf16", None)
    assert [line[:14] for line in lines if line.startswith("memory in")] == ["memory in bf16", "memory in fp32"]
    assert sum("images 0.03; " in line for line in lines) == 2


def at_size(data: Path, size: int) -> Config:
    on_device = "data.on_device=true", "data.load_size=1000"
    return small_config("pix2pix", data, *([f"image_size={size}"] if size else []), *on_device)


def test_images_that_lie_on_the_device_are_counted_at_every_size(toy_set: Path) -> None:
    here, there = (small_config("pix2pix", toy_set, f"data.on_device={on}") for on in ("false", "true"))
    assert images_on_device(here)(here) == 0
    images, large = images_on_device(there), small_config("pix2pix", toy_set, "image_size=64")
    assert images(there) == prepare("pix2pix", toy_set, "data.on_device=true")[1].bytes_on_device > 0
    assert images(large) == prepare("pix2pix", toy_set, "data.on_device=true", "image_size=64")[1].bytes_on_device


@pytest.mark.parametrize("memory", ["8", "8 apples", "-1GB", "0GB", "GB", "1e9GB", ""])
def test_memory_that_is_none_is_refused(memory: str, i2i: Run) -> None:
    assert_usage(i2i, elsewhere("--memory", memory), "--memory")


def test_memory_and_devices_elsewhere_go_with_a_dry_run(toy_set: Path, i2i: Run) -> None:
    assert_usage(i2i, ["train", "--arch", "cyclegan", "--memory", "8GB"], "--dry-run")
    if not torch.cuda.is_available():
        training = [argument for argument in elsewhere("--data", str(toy_set)) if argument != "--dry-run"]
        assert_refused(i2i(*training), "cuda")
    assert_refused(i2i(*elsewhere("--data", str(toy_set), "--device", "tpu")), "tpu")


def assert_usage(i2i: Run, arguments: list[str], named: str) -> None:
    result = i2i(*arguments)
    assert result.code == 2
    assert named in result.err


class Tensors(CPU):
    """A CPU whose operators take nothing beside their results, and whose allocator loses nothing."""

    @staticmethod
    def taken(size: int) -> int:
        return size

    def workspace(self, operator: Any, args: Any) -> Workspace:
        return Workspace(0, 0)


class Watched(TorchDispatchMode):
    """Follows the memory of real tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(Tensors.taken)

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = operator(*args, **(kwargs or {}))
        self.ledger.made(out)
        return out


@pytest.mark.parametrize(
    ("arch", "precision"),
    [*((arch, "fp32") for arch in TRANSLATORS_OF_PAPERS), ("cyclegan", "bf16"), ("pix2pix", "bf16")],
)
def test_planned_tensors_are_those_of_real_steps(arch: str, precision: str, toy_set: Path) -> None:
    config = small_config(arch, toy_set, "image_size=32", f"training.precision={precision}")
    planned = Rehearsal(config, Tensors()).peak().total
    with Watched() as watched:
        engine = Engine(config, torch.device("cpu"))
        watched.ledger.mark("weights", [*engine.method.parameters(), *engine.method.buffers()])
        engine.step(noise(config), 0.0)
        watched.ledger.restart()
        engine.step(noise(config), 0.0)
    assert planned == pytest.approx(watched.ledger.peak().total, rel=0.02)


def test_augmentation_that_is_left_to_the_data_is_planned(toy_set: Path) -> None:
    few = with_known_data(lambda _: small_config("pix2pix", toy_set, "discriminator_augmentation.mode=auto"))(0)
    plain, augmented = (Rehearsal(config, Tensors()).peak() for config in (small_config("pix2pix", toy_set), few))
    assert augmented.by_kind["activations"] > plain.by_kind["activations"]


def noise(config: Config) -> Iterator[Batch]:
    shape = (config.training.batch_size, 3, config.image_size, config.image_size)
    while True:
        yield Batch(torch.rand(shape), torch.rand(shape))


def test_every_kind_of_memory_is_known(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set, "training.ema.half_life=10", "method.history=5")
    rehearsal = Rehearsal(config, CPU())
    of = rehearsal.peak().by_kind
    trained = [p for parameters in rehearsal.engine.parameters.values() for p in parameters]
    weights = sum(4 * parameter.numel() for parameter in trained)
    assert of["weights"] == of["gradients"] == weights
    assert 2 * weights <= of["optimisers"] < 2 * weights + 8 * 2 * len(trained)  # Adam's two, and its counts
    assert of["history"] == 2 * 5 * 3 * 16 * 16 * 4
    generators = sum(4 * parameter.numel() for parameter in rehearsal.engine.parameters["generator"])
    assert of["moving average"] == generators
    assert of["batch"] == 2 * 2 * 3 * 16 * 16 * 4


def test_halved_precision_takes_less(toy_set: Path) -> None:
    full, half = (
        Rehearsal(small_config("cyclegan", toy_set, f"training.precision={each}"), CPU()).peak()
        for each in ("fp32", "bf16")
    )
    assert half.by_kind["activations"] < 0.8 * full.by_kind["activations"]
    assert half.by_kind["weights"] == full.by_kind["weights"]


def test_the_largest_number_is_found_from_any_guess() -> None:
    for most in (1, 2, 7, 30):
        for limit in range(most + 1):
            for guess in (-3, 0, 1, 5, 30, 99):
                assert largest(lambda count, limit=limit: count <= limit, guess, most) == limit  # type: ignore[misc]


def test_the_largest_batch_and_image_fit_and_the_next_do_not(toy_set: Path) -> None:
    def resized(size: int) -> Config:
        return small_config("pix2pix", toy_set, *([f"image_size={size}"] if size else []))

    config = resized(0)
    rehearsal = Rehearsal(config, CPU())
    peak = rehearsal.peak()
    room = 5 * peak.total
    batch = largest_batch(lambda count: rehearsal.peak(count).total, 2, room)
    assert rehearsal.peak(batch).total <= room < rehearsal.peak(batch + 1).total

    def needed(other: Config) -> int:
        return Rehearsal(other, CPU()).peak().total

    size = largest_size(needed, resized, 16, peak, room)
    larger = next(each for each in SIZES if each > size and each % 8 == 0)
    assert needed(resized(size)) <= room < needed(resized(larger))
    assert largest_size(needed, resized, 16, peak, 1000) == 0


def test_the_longest_part_of_a_step_binds() -> None:
    gpu = GPU("toy", 1, bandwidth=1e9, flops={"fp32": 1e12}, source="")
    work = Work(flop=2 * 10**9, bytes=5 * 10**6, kernels=1000)
    least = bound(work, gpu, "fp32")
    assert least is not None
    assert tuple(least) == pytest.approx((2e-3, 5e-3, 1000 * LAUNCH))
    assert least.seconds == pytest.approx(5e-3)
    assert least.binding == "memory"
    assert bound(work, gpu, "bf16") is None
