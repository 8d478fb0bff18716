"""What a person sees of a run: TensorBoard's tags and images, metrics.jsonl, samples/, and plain lines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from i2i.config.schema import ScheduleConfig
from i2i.display import on_terminal, say
from i2i.storage.runs import RunFolder
from i2i.training.logging import Meters, RunLog
from i2i.training.schedule import describe, rate_factor

from .conftest import Run, small_arguments


@pytest.fixture
def run(toy_set: Path, tmp_path: Path, i2i: Run) -> Path:
    result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run"))
    assert result.code == 0
    assert "step 6/6" in result.err
    assert "images/s" in result.err
    assert "constant for 50% of 6 steps, then linear to 0" in result.err
    assert f"i2i translate INPUT --model {tmp_path / 'run'}" in result.out
    return tmp_path / "run"


def test_tensorboard_has_the_tags_the_images_and_the_configuration(run: Path) -> None:
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    tags = events.Tags()
    names = ("gan_A", "gan_B", "cycle_A", "cycle_B", "identity_A", "identity_B")
    expected = {f"loss/generator/{name}" for name in names}
    expected |= {"loss/discriminator/gan_A", "loss/discriminator/gan_B", "lr/generator", "lr/discriminator"}
    expected |= {f"health/gradient_norm_{player}" for player in ("generator", "discriminator")}
    expected |= {f"score/{kind}_{domain}" for kind in ("real", "fake") for domain in "AB"}
    assert expected | {"speed/images_per_second"} == set(tags["scalars"])
    assert tags["images"] == ["images/AtoB", "images/BtoA"]
    assert [event.step for event in events.Images("images/AtoB")] == [0, 3, 6]
    assert (events.Images("images/AtoB")[0].width, events.Images("images/AtoB")[0].height) == (48, 32)
    assert [event.step for event in events.Scalars("lr/generator")] == [2, 4, 6]
    assert "config/text_summary" in tags["tensors"]
    assert any("hparams" in tag for tag in events.summary_metadata)


def test_metrics_are_the_same_figures_a_line_each(run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    assert [record["step"] for record in records] == [2, 4, 6]
    curve = [np.float32(event.value) for event in events.Scalars("loss/generator/cycle_A")]
    assert [np.float32(record["loss/generator/cycle_A"]) for record in records] == curve


def test_samples_and_the_resolved_configuration_lie_in_the_run(run: Path) -> None:
    names = sorted(path.name for path in (run / "samples").iterdir())
    assert names == [f"step-{step:08}-{name}.png" for step in (0, 3, 6) for name in ("AtoB", "BtoA")]
    with Image.open(run / "samples" / names[0]) as sheet:
        assert sheet.size == (48, 32)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["training"]["device"] == "cpu"
    assert config["image_size"] == 16


def test_meters_average_and_carry_over() -> None:
    meters, other = Meters(), Meters()
    meters.add({"loss/x": torch.tensor(1.0)})
    other.load_state_dict(meters.state_dict(), torch.device("cpu"))
    other.add({"loss/x": torch.tensor(4.0)})
    assert other.take() == {"loss/x": 2.5}
    assert other.take() == {}


def test_the_schedule_is_constant_and_then_linear() -> None:
    half = ScheduleConfig(constant=0.5)
    assert [rate_factor(p, half) for p in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]
    assert rate_factor(1.0, ScheduleConfig(constant=1.0)) == 1.0
    assert describe(ScheduleConfig(constant=1.0), 10, None) == "constant over 10 steps"
    assert "or 2 min, whichever is nearer" in describe(ScheduleConfig(over="budget"), 10, 120)


def test_curves_of_a_run_resumed_within_a_second_are_read_in_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    first = RunLog(run, 0)
    first.scalars(1, {"loss": 1.0})
    first.close()
    (file,) = run.events.iterdir()
    second_of_start = file.name.split(".")[3]
    file.rename(file.with_name(f"events.out.tfevents.{second_of_start}.zzz.9.9"))  # sorts last within its second
    second = RunLog(run, 1)
    second.scalars(2, {"loss": 2.0})
    second.close()
    events = EventAccumulator(str(run.events))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_curves_stay_in_order_when_the_clock_is_set_back(run: Path, i2i: Run) -> None:
    for steps, second in ((8, "4102444800"), (10, "4102444801"), (12, None)):
        assert i2i("train", "--resume", run, "--steps", steps).code == 0
        if second is not None:  # as a clock that is far ahead names it
            newest = max((run / "tb").iterdir(), key=lambda path: path.stat().st_mtime_ns)
            newest.rename(newest.with_name(newest.name.replace(newest.name.split(".")[3], second)))
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars("lr/generator")] == [2, 4, 6, 8, 10, 12]


def test_a_reader_that_has_gone_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        with on_terminal():
            for line in ("step 1", "step 2"):
                say(line)
