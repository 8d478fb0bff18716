"""What a device can do, and what its errors mean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from i2i.device import determinism, fewest_that_pay, is_out_of_memory, peak_memory, use_threads
from i2i.errors import ConfigError
from i2i.training.start import train

from .conftest import small_config

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("MPS backend out of memory (MPS allocated: 8 GB)", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes", True),
        ("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes", True),
        ("Storage size calculation overflowed with sizes=[9223372036854775807]", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("required rank 4 tensor to use channels_last memory format", False),
        ("out of resource: shared memory, Required: 131072, Hardware limit: 101376", False),
    ],
)
def test_only_lack_of_memory_is_taken_for_it(message: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is expected


def test_what_this_machine_says_when_memory_runs_out_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


def test_training_needs_nothing_that_windows_or_another_torch_may_lack() -> None:
    lacking = dict.fromkeys(("resource", "i2i.planning.fake", "i2i.planning.registering"))
    imports = "import i2i.training.dry_run, i2i.training.start, i2i.cli"
    code = f"import sys; sys.modules.update({lacking}); {imports}; print('imported')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "imported\n", result.stderr


def test_the_peak_counts_what_was_freed() -> None:
    large = torch.ones(2**27)
    during = psutil.Process().memory_info().rss / 2**30
    del large
    assert peak_memory(CPU) >= during - 0.01


def test_a_cpu_needs_no_deterministic_mode() -> None:
    with determinism(True, CPU):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("wanted", [False, True])
def test_kernels_are_chosen_by_speed_only_where_bits_may_differ(wanted: bool) -> None:
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic
    with determinism(wanted, torch.device("meta")):  # no CPU, and so one with modes
        assert (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark) == (wanted, not wanted)
        assert cudnn.deterministic == wanted
    assert (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic) == before


@needs_cuda
@pytest.mark.parametrize("arch", ["cyclegan", "cut", "pix2pix", "sagan"])
def test_two_runs_on_a_gpu_give_the_same_bytes(arch: str, toy_set: Path, labelled_set: Path, tmp_path: Path) -> None:
    data = labelled_set if arch == "sagan" else toy_set
    config = small_config(arch, data, "training.device=cuda", "training.precision=bf16")
    runs = [train(config, tmp_path / name).run for name in ("one", "two")]
    assert runs[0].model.read_bytes() == runs[1].model.read_bytes()
    assert not torch.are_deterministic_algorithms_enabled()


@needs_cuda
def test_an_operation_that_no_gpu_repeats_is_named() -> None:
    cuda = torch.device("cuda")
    x = torch.rand(1, 1, 4, 4, device=cuda, requires_grad=True)
    with pytest.raises(ConfigError, match=r"training\.deterministic=false"), determinism(True, cuda):
        torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear").sum().backward()  # type: ignore[no-untyped-call]


def test_threads_that_do_not_pay_are_not_taken() -> None:
    assert fewest_that_pay({1: 1.0, 2: 0.5, 4: 0.3}) == 4
    assert fewest_that_pay({1: 1.0, 2: 0.95, 4: 0.92}) == 1
    assert fewest_that_pay({1: 1.0, 2: 0.6, 4: 0.59}) == 2
    assert fewest_that_pay({1: 1.0}) == 1  # those that fell behind are left out


def test_automatic_threads_obey_the_environment_and_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    chosen = use_threads("auto", CPU)
    assert chosen in (1, 2)
    assert torch.get_num_threads() == chosen
    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert use_threads("auto", CPU) == 2
    assert use_threads(1, CPU) == torch.get_num_threads() == 1
