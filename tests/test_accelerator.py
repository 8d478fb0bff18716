"""Every recipe on an accelerator: one without arithmetic (``accelerator.py``), in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from i2i.batch import Batch
from i2i.config.resolve import read_recipe
from i2i.inference.load import load
from i2i.inference.translator import Translator
from i2i.planning.fake import NAME, is_fake
from i2i.training.engine import Engine
from i2i.training.start import resume, train

from .accelerator import Event, Log, device, register
from .conftest import make_set, small_config
from .toys import OF_PAPERS, TRANSLATORS, augmented, dataset_of, prepare, stream_of

DataFor = Callable[[str], Path]
Result = TypeVar("Result")
every_recipe = pytest.mark.parametrize("arch", OF_PAPERS)

ASKING_RMSPROP = ("dualgan", "wgan")
"""torch has no fused RMSprop, which would leave out an overflowed step on the device: GradScaler asks the host once for
each of its steps, and its count of steps stays on the host."""
DRAWS_ON_HOST = ("cyclegan", "fastcut")
"""Which image of the history is shown, and whether the input is mirrored, is drawn on the host from the step's seed."""
CHANGES_FROM_STEP_TO_STEP = {
    "fastcut": "the input is mirrored or not",
    "enco": "its identity loss ends halfway",
}
"""Recipes whose operators differ between steps, and why: a recording is made for each case."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process that has the accelerator: registering it is for good, and changes what "auto" means."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=register) as pool:
        yield pool


@pytest.fixture
def on_the_device(elsewhere: ProcessPoolExecutor) -> Callable[..., Any]:
    """Calls a function in the process that has the accelerator."""
    return lambda function, *args: elsewhere.submit(function, *args).result()


FEW = 2
"""How many steps of a critic there are in a step."""


def engine_on_the_device(arch: str, data: Path, *settings: str) -> tuple[Engine, Iterator[Batch]]:
    """A recipe that is built on the device, and its batches; a history of two images is soon full."""
    fewer = {"history": 2, "unrolled_steps": 2, "critic_steps": FEW, "discriminator_steps": FEW}
    method = read_recipe(arch)["method"]
    known = [f"method.{name}={min(count, method[name])}" for name, count in fewer.items() if name in method]
    config, training_data = prepare(arch, data, *known, *settings)
    return Engine(config, torch.device(NAME, 0)), batches_on_the_device(stream_of(config, training_data))


def batches_on_the_device(stream: Iterator[Batch]) -> Iterator[Batch]:
    """What loading and moving a batch does is not written down."""

    while True:
        with device().paused():
            batch = next(stream)
            moved = batch.to(torch.device(NAME))
        yield moved


def steps_of(arch: str, data: Path, count: int, *settings: str) -> list[Log]:
    """What ``count`` steps do on the device."""
    engine, batches = engine_on_the_device(arch, data, *settings)
    logs = []
    for step in range(count):
        with device().recorded(host=True) as log:
            values = engine.step(batches, step / count)
        assert all(map(is_fake, values.values()))
        logs.append(log)
    assert all(is_fake(tensor) for tensor in (*engine.method.parameters(), *engine.method.buffers()))
    return logs


SETTINGS: dict[str, tuple[int, list[str]]] = {
    "bf16": (1, []),
    "fp16": (3, ["training.clip_norm=1", "training.ema.half_life=10", "training.ema.start=0"]),
}
"""For each precision how many steps, and what is tried with it, in fp16 augmentation too; whole runs are in float32."""
Steps = Callable[[str, str], list[Log]]


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, str], list[Log]]:
    """What was found out about steps, by recipe and precision."""
    return {}


@pytest.fixture
def steps(known: dict[tuple[str, str], list[Log]], data_for: DataFor, on_the_device: Callable[..., list[Log]]) -> Steps:
    """The steps of a recipe in a precision, as ``SETTINGS`` has them."""

    def find(arch: str, precision: str) -> list[Log]:
        if (arch, precision) not in known:
            count, settings = SETTINGS[precision]
            named = [f"training.precision={precision}", *settings, *([augmented(arch)] if precision == "fp16" else [])]
            known[arch, precision] = on_the_device(steps_of, arch, data_for(arch), count, *named)
        return known[arch, precision]

    return find


@every_recipe
@pytest.mark.parametrize("precision", SETTINGS)
def test_a_step_stays_on_the_device(arch: str, precision: str, steps: Steps) -> None:
    for log in steps(arch, precision):
        assert log.operators
        asked = log.of("read")
        if arch in ASKING_RMSPROP and precision == "fp16":
            assert {event.functions[-1].rpartition(":")[0] for event in asked} == {"engine._apply"}
            assert len(asked) == optimizer_steps(arch)
            asked = []
        crossed = [event for event in log.of("copy", "mixed", "host") if not is_expected(arch, event)]
        assert not asked + crossed, "\n".join(map(str, asked + crossed))


def optimizer_steps(arch: str) -> int:
    """Of one step of a recipe with a critic."""
    method = read_recipe(arch)["method"]
    return min(FEW, int(method.get("critic_steps", method.get("discriminator_steps", 1)))) + 1


def is_expected(arch: str, event: Event) -> bool:
    """What may stay on the host: draws of single numbers, and RMSprop's count of steps; draws may come from there."""
    where = event.functions[-1].rpartition(":")[0] if event.functions else ""
    if event.kind == "copy":
        return is_drawn(event)
    drawing = arch in DRAWS_ON_HOST and where in ("history._draw", "history._exchanges", "cut._mirrors")
    stepping = arch in ASKING_RMSPROP and where in ("engine._apply", "engine.step_where")
    return event.kind == "host" and (drawing or stepping)


def is_drawn(event: Event) -> bool:
    """Whether what crosses are a few numbers that the host draws; it does not wait for them."""
    return event.functions[-1].rpartition(":")[0] == "deciding._now"


@every_recipe
def test_steps_are_alike(arch: str, steps: Steps) -> None:
    # Those after the first, in which optimisers and the loss scaling make their state.
    _, second, third = steps(arch, "fp16")
    if arch not in CHANGES_FROM_STEP_TO_STEP:
        assert second.operators == third.operators


def test_steps_that_draw_what_they_do_are_of_few_kinds(
    data_for: DataFor, on_the_device: Callable[..., list[Log]]
) -> None:
    logs = on_the_device(steps_of, "fastcut", data_for("fastcut"), 7, "training.batch_size=1", augmented("fastcut"))
    assert len({tuple(log.operators) for log in logs[1:]}) == 2  # mirrored or not


@every_recipe
@pytest.mark.parametrize("precision", SETTINGS)
def test_products_are_computed_in_the_precision(arch: str, precision: str, steps: Steps) -> None:
    # But for those that are kept in float32: gradient penalties, spectral norm, similarities.
    name = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert any(PRODUCT.match(line) and f"-> {name}[" in line for line in steps(arch, precision)[0].operators)


PRODUCT = re.compile(r"aten\.(convolution|addmm|mm|bmm)\.")


def run_of(arch: str, data: Path, root: Path) -> tuple[Log, Log, Log, list[Any]]:
    """Two steps, one more after a resume, and what the model then makes, with what each of the three does."""
    settings = ["data.workers=0", "training.sample_every=9", "training.ema.half_life=10", "health.enabled=true"]
    settings += ["evaluation.every=2", "evaluation.images=2", "evaluation.metrics=[swd]"]
    config = small_config(arch, data, *settings, **{"training.device": NAME, "training.steps": 2})
    with device().recorded() as trained:
        train(config, root)
    with device().recorded() as resumed:
        resume(root, 3)
    with device().recorded() as used:
        model = load(root, device=NAME)
        if isinstance(model, Translator):
            image = np.zeros((17, 33, 3), np.uint8)
            outputs = [model(image, direction).shape for direction in model.directions]
        else:
            outputs = [image.shape for image in model.sample(3)]
    return trained, resumed, used, outputs


OF_EACH_KIND = ("cyclegan", "pix2pix", "bicyclegan", "infogan")
"""Recipes that differ in what a run does beside its steps: directions, dropout and latents at inference, samples."""
MAY_ASK = ("trainer._log", "trainer._save", "trainer.write_previews", "health.look", "evaluating.measure")


@pytest.mark.parametrize("arch", OF_EACH_KIND)
def test_a_run_asks_the_device_once_for_each_logging_interval(
    arch: str, data_for: DataFor, tmp_path: Path, on_the_device: Callable[..., tuple[Log, Log, Log, list[Any]]]
) -> None:
    data = data_for(arch)
    if arch in TRANSLATORS:  # with images on which weights are chosen
        data = make_set(tmp_path / "data", trainA=3, trainB=3, testA=12, testB=12)
    trained, resumed, used, outputs = on_the_device(run_of, arch, data, tmp_path / "run")
    assert any(event.within("evaluating.measure") for event in trained.of("read"))
    for log in (trained, resumed):
        asked = log.of("read")
        assert all("float16[" not in line for line in log.operators)
        assert sum(event.within("trainer._log") for event in asked) == 1
        others = [event for event in asked if event.within("engine.step") or not any(map(event.within, MAY_ASK))]
        assert not others, "\n".join(map(str, others))
        moved = [e for e in log.of("copy", "mixed") if e.within("engine.step") and not e.within("batches.batches_from")]
        moved = [event for event in moved if not is_drawn(event)]
        assert not moved, "\n".join(map(str, moved))
        # The mode is on before the device starts, and until it is done; in between, checkpoint and model are copied.
        copies = ("aten.copy_.", "aten._to_copy.", "aten.detach.", "aten.clone.")
        assert not [line for line in log.free if not line.startswith(copies)]
    assert used.operators
    assert outputs == ([(17, 33, 3)] * len(outputs) if arch in TRANSLATORS else [(16, 16, 3)] * 3)


def cut_out(arch: str, data: Path, count: int) -> tuple[Log, Log, list[bool]]:
    """What copying all images to the device does, and what batches do that are cut out there."""
    config, training_data = prepare(arch, data, "data.on_device=true")
    dataset = dataset_of(config, training_data)
    with device().recorded() as filled:
        batches = training_data.batches(dataset, 0, workers=0, device=torch.device(NAME, 0))
    with device().recorded() as drawn:
        found = [next(batches) for _ in range(count)]
    return filled, drawn, [is_fake(each) for batch in found for each in vars(batch).values() if each is not None]


@pytest.mark.parametrize("arch", ["cyclegan", "cgan"])
def test_images_on_the_device_are_copied_once_and_batches_are_numbers(
    arch: str, data_for: DataFor, on_the_device: Callable[..., tuple[Log, Log, list[bool]]]
) -> None:
    filled, drawn, there = on_the_device(cut_out, arch, data_for(arch), 3)
    assert len(filled.of("copy")) == {"cyclegan": 14, "cgan": 12}[arch]
    assert len(drawn.of("copy")) == 3
    assert not filled.of("read", "mixed") + drawn.of("read", "mixed")
    assert there == [True] * 6  # both domains, or images and labels


THROWING = {
    "torch.nn.AvgPool3d": r"avg_pool3d_backward",
    "torch.nn.AdaptiveAvgPool2d": r"_adaptive_avg_pool2d_backward",
    "torch.nn.AdaptiveAvgPool3d": r"_adaptive_avg_pool3d_backward",
    "torch.nn.AdaptiveMaxPool2d": r"adaptive_max_pool2d_backward",
    "torch.nn.FractionalMaxPool2d": r"fractional_max_pool2d_backward",
    "torch.nn.FractionalMaxPool3d": r"fractional_max_pool3d_backward",
    "torch.nn.MaxUnpool1d": r"max_unpool2d",
    "torch.nn.MaxUnpool2d": r"max_unpool2d",
    "torch.nn.MaxUnpool3d": r"max_unpool3d",
    "torch.nn.functional.interpolate": r"_?upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)\w*_backward",
    "torch.nn.ReflectionPad1d": r"reflection_pad1d_backward",
    "torch.nn.ReflectionPad2d": r"reflection_pad2d_backward",
    "torch.nn.ReflectionPad3d": r"reflection_pad3d_backward",
    # Of maps alone: their kernel adds up by atomics, and that of (N, C), which the recipes call, in one block.
    "torch.nn.NLLLoss": r"nll_loss2d_forward",
    "torch.nn.CTCLoss": r"(_cudnn|_)ctc_loss\w*_backward",
    "torch.nn.EmbeddingBag": r"_embedding_bag\w*_backward",
    "torch.Tensor.put_": r"put_?",
    "torch.histc": r"histc",
    "torch.bincount": r"bincount",
    "torch.median": r"median",
    "torch.nn.functional.grid_sample": r"(_?grid_sampler_[23]d|cudnn_grid_sampler)\w*_backward",
    "torch.Tensor.scatter_reduce": r"scatter_reduce_?",
    "torch.Tensor.resize_": r"_?resize_",
}
"""What torch names as having no deterministic form on CUDA, and the operator that it means. Max pooling in the plane is
not named: its backward pass gathers."""


def test_torch_names_the_operators_that_are_known_here() -> None:
    assert set(throwing_by_torch()) == set(THROWING)


def throwing_by_torch() -> list[str]:
    """What torch's documentation says would raise in deterministic mode; the list before it has what would not."""
    text = torch.use_deterministic_algorithms.__doc__ or ""
    heading = r"will throw a\s+:class:`RuntimeError` when ``mode=True``:"
    _, found = re.split(heading, text)
    return re.findall(r"^ +\* :\w+:`([\w.]+)`", found.partition("In addition,")[0], re.MULTILINE)


@every_recipe
def test_every_operator_has_a_deterministic_form(arch: str, steps: Steps) -> None:
    ran = {line.partition(":")[0].removeprefix("aten.").partition(".")[0] for line in steps(arch, "bf16")[0].operators}
    assert any(name.endswith("_backward") for name in ran)
    without = {name for name in ran for pattern in THROWING.values() if re.fullmatch(pattern, name)}
    assert not without


@pytest.mark.parametrize("arch", ["cyclegan", "cut", "fastcut", "enco"])
def test_accelerators_reflect_repeatably(arch: str, steps: Steps) -> None:
    ran = " ".join(steps(arch, "bf16")[0].operators)
    assert "reflection_pad2d." in ran
    assert "reflection_pad2d_backward" not in ran
