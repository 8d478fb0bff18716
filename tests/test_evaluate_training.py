"""Evaluation during training: it changes no bit, keeps the best weights, stops early, is reported on other images."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import i2i as package
from i2i.errors import ConfigError, DataError
from i2i.evaluation.held_out import in_half
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_weights
from i2i.training.evaluating import Best

from .conftest import Run, make_set, small_config

WATCHING = ("evaluation.every=2", "evaluation.metrics=[l1, alignment]", "evaluation.watch=l1")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve held-out pairs, so that each half has some."""
    return make_set(tmp_path_factory.mktemp("data") / "pairs", trainA=4, trainB=4, testA=12, testB=12)


def train(data: Path, folder: Path, *settings: str, steps: int = 6) -> RunFolder:
    config = small_config("pix2pix", data, "health.enabled=false", f"training.steps={steps}", *settings)
    return package.train(config, folder).run


@pytest.fixture(scope="module")
def watched(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(pairs, tmp_path_factory.mktemp("runs") / "watched", *WATCHING)


def metric_records(run: RunFolder) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [record for record in records if any(tag.startswith("metric/") for tag in record)]


def test_evaluation_changes_no_bit(pairs: Path, watched: RunFolder, tmp_path: Path) -> None:
    plain = train(pairs, tmp_path / "plain")
    assert plain.model.read_bytes() == watched.model.read_bytes()
    assert not plain.best.exists()
    state = "checkpoints/step-00000006.safetensors"
    one, other = (load_file(run.root / state) for run in (plain, watched))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_interrupted_run_chooses_as_one_in_a_piece(pairs: Path, watched: RunFolder, tmp_path: Path) -> None:
    stop = package.Callback(lambda position: position.step == 3, lambda _: os.kill(os.getpid(), signal.SIGINT))
    config = small_config("pix2pix", pairs, "health.enabled=false", "training.steps=6", *WATCHING)
    run = package.train(config, tmp_path / "run", callbacks=[stop]).run
    assert run.checkpoints()[-1] < run.checkpoint(6)
    package.resume(run.root)
    assert metric_records(run) == metric_records(watched)
    assert run.model.read_bytes() == watched.model.read_bytes()
    assert run.best.read_bytes() == watched.best.read_bytes()


def test_the_best_weights_are_kept_and_used(pairs: Path, watched: RunFolder, tmp_path: Path, i2i: Run) -> None:
    records = metric_records(watched)
    assert [record["step"] for record in records] == [2, 4, 6]
    assert all({"metric/l1_AtoB", "metric/alignment_AtoB"} <= record.keys() for record in records)
    best = min(records, key=lambda record: record["metric/l1_AtoB"])["step"]
    assert load_weights(watched.best).step == best
    assert package.load_translator(watched.root).step == best
    assert package.load_translator(watched.model).step == 6
    result = i2i("translate", pairs / "testA", "-o", tmp_path / "out", "--model", watched.root)
    assert result.code == 0, result.err
    assert "best.safetensors" in result.err
    assert f"({best} steps)" in result.out
    assert "best.safetensors" in i2i("info", "--model", watched.root).out
    plain = i2i("translate", pairs / "testA", "-o", tmp_path / "last", "--model", watched.model)
    assert "best.safetensors" not in plain.err


def test_the_report_is_on_the_other_half(watched: RunFolder, tmp_path: Path, i2i: Run) -> None:
    file = tmp_path / "report.json"
    result = i2i("evaluate", "--model", watched.root, "--metrics", "l1", "--json", file)
    assert result.code == 0, result.err
    assert "reported on one half" in result.out
    [part] = json.loads(file.read_bytes())["directions"]
    names = {Path(name).stem for name in part["names"]["A"]}
    everything = {f"image{number:02}" for number in range(12)}
    assert names == {name for name in everything if in_half(name, "reporting")}
    assert 0 < len(names) < 12
    assert {name for name in everything if in_half(name, "choosing")} == everything - names
    best, last = part["models"]
    assert (best["title"], last["title"]) == ("watched best", "watched last")
    assert (best["step"], last["step"]) == (load_weights(watched.best).step, 6)
    [gap] = part["comparisons"]
    assert gap["difference"] == pytest.approx(best["figures"]["l1"]["value"] - last["figures"]["l1"]["value"])
    assert part["seeds"] == []


def test_a_run_ends_where_nothing_becomes_better(pairs: Path, tmp_path: Path, i2i: Run) -> None:
    still = ("optimizers.generator.lr=1e-12", "optimizers.discriminator.lr=1e-12")  # float32 weights do not move
    patient = ("evaluation.every=1", "evaluation.metrics=[l1]", "evaluation.watch=l1", "evaluation.patience=2")
    run = train(pairs, tmp_path / "run", *patient, *still, "training.ema=null", "inference.statistics=image", steps=30)
    steps = [record["step"] for record in metric_records(run)]
    assert len(steps) < 30
    assert load_weights(run.model).step == steps[-1]
    assert load_weights(run.best).step == steps[-1] - 2
    assert run.checkpoints()[-1] == run.checkpoint(steps[-1])
    again = i2i("train", "--resume", run.root)
    assert again.code == 0, again.err
    assert "evaluation.patience" in again.err
    assert load_weights(run.model).step == steps[-1]
    on = i2i("train", "--resume", run.root, "--set", "evaluation.patience=9", "--steps", steps[-1] + 1)
    assert on.code == 0, on.err
    assert load_weights(run.model).step == steps[-1] + 1


def test_a_run_that_a_callback_ends_has_what_is_due_at_the_end(pairs: Path, tmp_path: Path) -> None:
    ending = package.Callback(lambda position: position.step == 3, lambda trainer: trainer.end())
    config = small_config("cyclegan", pairs, *WATCHING, "training.log_every=4", "training.sample_every=4")
    outcome = package.train(config, tmp_path / "run", callbacks=[ending])
    assert (outcome.step, outcome.interrupted) == (3, False)
    records = [json.loads(line) for line in outcome.run.metrics.read_text().splitlines()]
    assert [record["step"] for record in records if "metric/l1_AtoB" in record] == [2, 3]
    assert [record["step"] for record in records if "loss/generator/gan_A" in record] == [3]
    assert (outcome.run.samples / "step-00000003-AtoB.png").is_file()


def test_samples_are_evaluated_too(labelled_set: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_set(data, train=4, test=8)
    settings = ("evaluation.every=2", "evaluation.metrics=[swd, memorisation]", "evaluation.watch=swd")
    config = small_config("dcgan", data, "training.steps=2", "health.enabled=false", *settings, image_size=28)
    run = package.train(config, tmp_path / "run").run
    [record] = metric_records(run)
    assert {"metric/swd", "metric/memorisation"} <= record.keys()
    assert package.load_sampler(run.root).step == 2


def test_hyper_parameters_are_what_differs_and_the_metrics(watched: RunFolder) -> None:
    events = EventAccumulator(str(watched.events))
    events.Reload()
    content = {}
    for tag, metadata in events.summary_metadata.items():
        if metadata.plugin_data.plugin_name == "hparams":
            content[tag] = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    started = content["_hparams_/session_start_info"].session_start_info.hparams
    names = list(started)
    assert "about" not in names
    assert started["arch"].string_value == "pix2pix"
    assert started["training.batch_size"].number_value == 2
    assert started["evaluation.watch"].string_value == "l1"
    assert "optimizers.generator.betas" not in names  # as the recipe has it
    experiment = content["_hparams_/experiment"].experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["metric/alignment_AtoB", "metric/l1_AtoB"]
    assert "metric/l1_AtoB" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["evaluation.every=1", "evaluation.watch=kid"], "evaluation.watch kid is none of evaluation.metrics"),
        (["evaluation.watch=l1"], "give evaluation.every"),
        (["evaluation.every=1", "evaluation.patience=3"], "give evaluation.watch"),
        (["evaluation.every=1", "evaluation.metrics=[l2]"], "no metric 'l2'"),
        (
            ["evaluation.every=1", "evaluation.metrics=[memorisation]", "evaluation.watch=memorisation"],
            "no value of it is better",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_run(
    pairs: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        train(pairs, tmp_path / "run", *settings)
    assert not (tmp_path / "run").exists()


def test_a_watched_metric_needs_what_it_needs(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", trainA=3, trainB=3, testA=12, testB=12)
    for path in (data / "testB").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    config = small_config("cyclegan", data, *WATCHING)
    with pytest.raises(ConfigError, match=r"evaluation\.watch l1 cannot be measured: no pairs are known"):
        package.train(config, tmp_path / "run")
    for number in range(7, 12):  # of the others, image06 alone is in the half that weights are chosen on
        (data / "testA" / f"image{number:02}.png").unlink()
    with pytest.raises(DataError, match=r"1 of the held-out images can be taken to choose weights on, for which one"):
        package.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_not_a_number_is_never_the_best() -> None:
    best = Best(lower_is_better=True)
    assert [best.add(value, step) for step, value in enumerate([float("nan"), 0.5, float("nan"), 9.0, 0.4])] == [
        *(False, True, False, False, True)
    ]
    assert (best.value, best.step, best.since) == (0.4, 4, 0)
